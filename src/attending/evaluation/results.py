"""Results: the answers of a run, judged part by part, with everything needed to know what was run."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from attending import __version__
from attending.errors import InputError
from attending.evaluation import shifts
from attending.evaluation.asking import Condition
from attending.evaluation.controls import ANSWERS, AUDIT, MAIN, common_answers
from attending.evaluation.journal import entries, write_whole
from attending.evaluation.judging import Rows, judge
from attending.evaluation.runner import Work
from attending.evaluation.scoring import row_of
from attending.evaluation.sources import Sample, listed

LAYOUT = 1
_PACKAGES = ("attending", "numpy", "torch", "transformers", "monai", "pydicom", "nibabel", "pillow")
_EXAMPLES = 3

Records = dict[Condition, dict[int, dict[str, Any]]]
"""By condition and index of the sample: the answer as it is on disk."""


def read_records(out: Path, size: int) -> Records:
    """All answers of a run.

    Raises:
        InputError: A record that is no answer, or is of no sample here.
    """
    found: Records = {}
    for path in sorted(out.glob("answers-*.jsonl")):
        for told in entries(path):
            try:
                condition, index = Condition(str(told["condition"]), int(told["seed"])), int(told["i"])
                brief = {key: told.get(key) for key in ("answer", "error", "experts", "contradicted", "seconds")}
            except (KeyError, TypeError, ValueError) as error:
                raise InputError("holds a record that is no answer", path=path) from error
            if not 0 <= index < size:
                raise InputError("is of no sample here", path=path, field="record", value=told.get("id"))
            found.setdefault(condition, {})[index] = brief
    return found


def evaluate(work: Work, records: Records | None = None) -> dict[str, Any]:
    """Judge the answers of a task; plain JSON values.

    Args:
        work: The run.
        records: Its answers; None reads them from the run's folder.
    """
    task, samples, plan = work.task, work.samples, work.plan
    records = read_records(plan.out, len(samples)) if records is None else records
    # Text and pictures are let go; what is kept of a sample is small.
    brief = [replace(sample, prompt="", expert_prompt="", images=sample.images[:1]) for sample in samples]
    runs = [condition for condition in records if condition.name == MAIN]
    if not runs:
        raise InputError("holds no answers yet; run attending eval", path=plan.out)
    notes = [*samples.notes, *_incomplete(work, records)]
    parts: dict[str, Any] = {}
    guesses = {name: common_answers(brief, by_question=name == "by_question") for name in _wanted(work)}
    for name, part in task.parts.items():
        inside = [index for index, sample in enumerate(brief) if sample.part == name]
        asked = [index for index in inside if index in records[runs[0]]]
        if not asked:
            continue
        judged: dict[str, Rows] = {
            condition.name: _judged(part, brief, answers, asked)
            for condition, answers in records.items()
            if condition.name not in (MAIN, *AUDIT)
        }
        for guess, answers in guesses.items():
            judged[guess] = {i: row_of(part, brief[i], answers[i], brief[i].problem) for i in asked}
        main = [_judged(part, brief, records[condition], asked) for condition in runs]
        groups = [*task.subgroups, *([task.classes] if task.classes and task.classes not in task.subgroups else [])]
        apart = {key: judged.pop(key) for key in list(judged) if shifts.told(key)}
        parts[name] = judge(part, main, judged, {i: brief[i].facts for i in asked}, groups, apart)
        parts[name]["examples"] = _examples(brief, main[0], records[runs[0]])
    told = {
        **task.identity,
        "title": task.title,
        "source": task.source,
        "model": plan.model,
        "experts": sorted({str(e["expert"]) for a in records[runs[0]].values() for e in a.get("experts") or ()}),
        "seeds": [condition.seed for condition in runs],
        "samples": {"answered": len(records[runs[0]]), "all": len(samples), **samples.counts},
        "data": samples.digest,
        "notes": notes,
        "errors": _errors(records[runs[0]]),
        "parts": parts,
        "use": _use(records[runs[0]]),
    }
    if task.protocol == "reference":
        try:
            told["reference"] = _published(work, brief, records[runs[0]])
        except InputError as error:  # the reference's script would have stopped here
            notes.append(f"the published measure has no number for this run: {error}")
    if any(condition.name in AUDIT for condition in records):
        from attending.evaluation.reliance import audit

        told["reliance"] = audit(work, brief, records)
    return told


def write_results(out: Path, tasks: Mapping[str, Any], model: str, command: Sequence[str] = ()) -> Path:
    """`results.json`: what was run with what, and what came out."""
    told = {
        "layout": LAYOUT,
        "command": list(command),
        "model": {"name": model, **fingerprint(model)},
        "versions": {**versions(), "python": platform.python_version()},
        "machine": {"system": platform.system(), "processor": platform.machine()},
        "tasks": dict(tasks),
    }
    path = out / "results.json"
    write_whole(path, json.dumps(told, indent=1, allow_nan=False) + "\n")
    return path


def read_results(out: Path) -> dict[str, Any]:
    """A folder's `results.json`.

    Raises:
        InputError: It is not there, or was written by another version.
    """
    path = out / "results.json" if out.is_dir() else out
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("expected a folder that attending eval has written", path=path) from error
    except ValueError as error:
        raise InputError("is no JSON file", path=path) from error
    if not isinstance(told, dict) or told.get("layout") != LAYOUT or not isinstance(told.get("tasks"), dict):
        raise InputError("was not written by this version of attending eval", path=path, field="layout")
    return told


def versions() -> dict[str, str]:
    """Of what computes, by package name, those installed."""
    found = {"attending": __version__}
    for name in _PACKAGES[1:]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def fingerprint(model: str) -> dict[str, str]:
    """SHA-256 over names and contents of a model folder's files; nothing for a model that is elsewhere."""
    folder = Path(model)
    if not model or not folder.is_dir():
        return {}
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return {"sha256": found.hexdigest()}


def command_line() -> list[str]:
    """The command as it was given."""
    return ["attending", *sys.argv[1:]]


def _judged(part: Any, samples: Sequence[Sample], answers: Mapping[int, dict[str, Any]], asked: Iterable[int]) -> Rows:
    return {
        i: row_of(part, samples[i], str(answers[i]["answer"] or ""), str(answers[i].get("error") or ""))
        for i in asked
        if i in answers
    }


def _published(work: Work, samples: Sequence[Sample], answers: Mapping[int, dict[str, Any]]) -> dict[str, float | None]:
    """The numbers that the reference's own script would write.

    Raises:
        InputError: It would have stopped instead.
    """
    from attending.evaluation.reference import MEASURES, Answered

    positive = {"chestxray14": {"yes": "YES", "no": "NO"}, "chexpert": {"yes": "1.0", "no": "0.0"}}
    labels = positive.get(work.task.measure, {})
    rows = []
    for index, told in answers.items():
        sample = samples[index]
        facts = {name.replace(" ", "_"): value for name, value in sample.facts.items()}
        facts["class"] = sample.facts.get("question type", "").replace(" ", "_")
        text = None if told.get("error") else str(told["answer"] or "")
        rows.append(Answered(sample.id, text, labels.get(sample.answer.lower(), sample.answer), facts))
    found = MEASURES[work.task.measure](rows)
    return {name: float(value) if math.isfinite(value) else None for name, value in found.items()}


def _wanted(work: Work) -> tuple[str, ...]:
    controls = work.task.controls if work.plan.controls is None else work.plan.controls
    return ANSWERS if "majority" in controls else ()


def _incomplete(work: Work, records: Records) -> list[str]:
    found = []
    for condition in work.plan.conditions(work.task):
        wanted = sum(1 for _ in work.asked(condition))
        missing = wanted - len(records.get(condition, {}))
        if missing > 0:
            found.append(f"{condition.name}: {missing} of {wanted} samples are not answered yet and are left out")
    return found


def _examples(samples: Sequence[Sample], rows: Rows, answers: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The first few answers that are right, wrong and invalid."""
    kinds: dict[str, list[int]] = {"right": [], "wrong": [], "invalid": []}
    for index, row in rows.items():
        kind = "invalid" if not row.prediction.valid else "right" if row.score >= 0.5 else "wrong"
        if len(kinds[kind]) < _EXAMPLES:
            kinds[kind].append(index)
    return [
        {
            "i": index,
            "id": samples[index].id,
            "verdict": kind,
            "why": rows[index].prediction.why,
            "score": rows[index].score,
            "question": samples[index].question[:2000],
            "options": listed(samples[index].options),
            "reference": samples[index].answer[:2000],
            "answer": str(answers[index]["answer"] or "")[:4000],
            "error": str(answers[index].get("error") or ""),
            "experts": answers[index].get("experts") or [],
        }
        for kind, indices in kinds.items()
        for index in indices
    ]


def _errors(answers: Mapping[int, dict[str, Any]]) -> dict[str, int]:
    """Why samples could not be asked, the commonest reasons first."""
    return dict(Counter(str(told["error"])[:200] for told in answers.values() if told.get("error")).most_common(20))


def _use(answers: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """How experts were used and what an answer cost."""
    told = list(answers.values())
    statuses = Counter(f"{e['expert']} {e['status']}" for one in told for e in one.get("experts") or ())
    timed = [one["seconds"] for one in told if one.get("seconds")]
    mean = (
        {
            key: round(sum(float(t.get(key, 0.0)) for t in timed) / len(timed), 4)
            for key in ("total", "model", "experts")
        }
        if timed
        else {}
    )
    return {
        "asked an expert": sum(bool(one.get("experts")) for one in told),
        "calls": dict(statuses),
        "contradicted an expert": sum(bool(one.get("contradicted")) for one in told),
        "mean seconds": mean,
    }
