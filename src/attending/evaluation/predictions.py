"""Predictions: answers that were made elsewhere, read from the published formats and scored like our own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attending.errors import InputError
from attending.evaluation.asking import Condition
from attending.evaluation.controls import MAIN
from attending.evaluation.reference import (
    MEASURES,
    Answered,
    read_class_csv,
    read_mimic_vqa,
    read_pathvqa,
    read_reports,
    read_vqa,
)
from attending.evaluation.results import Records, evaluate
from attending.evaluation.runner import Work
from attending.evaluation.sources import Samples
from attending.evaluation.task import Task

_IDS = ("question_id", "id", "qid", "sample")
_TEXTS = ("text", "prediction", "answer", "response", "output")
_LARGEST = 1 << 30  # bytes
_COLUMNS = {
    "chestxray14": {"fracture": -5, "pneumothorax": -4, "lung_opacity": -3},
    "chexpert": {"Atelectasis": -6, "Cardiomegaly": -12, "Consolidation": -8, "Edema": -9, "pleural_effusion": -4},
}
"""Where the label of each class stands in the reference's tables, from the right."""
_OWN_IDS = ("reference id", "original id")
"""Facts by which others may name a sample."""


def score_predictions(work: Work, path: Path) -> dict[str, Any]:
    """Judge a file of predictions; what `evaluate` gives.

    A sample without a prediction counts as invalid, a prediction without a sample is counted in the notes.

    Args:
        work: The task and its samples.
        path: JSON lines or a JSON list with `question_id` (or `id`) and `text` (or `prediction`, `answer`), a JSON
            table of ids and texts, a CSV with such columns, or a folder of `<id>.txt`.

    Raises:
        InputError: A format that is not known, a broken line, an id twice, or predictions of another task.
    """
    texts = read_predictions(path)
    ids = sample_ids(work.samples)
    matched = {ids[name]: text for name, text in texts.items() if name in ids}
    unknown = [name for name in texts if name not in ids]
    if len(unknown) > len(matched):
        problem = (
            f"{len(unknown)} of {len(texts)} predictions are of no sample of {work.task.name}, such as {unknown[0]!r}; "
            "is it a file of another task?"
        )
        raise InputError(problem, path=path)
    answers: dict[int, dict[str, Any]] = {}
    for index, sample in enumerate(work.samples):
        missing = "" if index in matched else "no prediction"
        answers[index] = {"answer": matched.get(index, ""), "error": sample.problem or missing}
    records: Records = {Condition(MAIN): answers}
    told = evaluate(replace(work, plan=replace(work.plan, controls=("majority",), experts=())), records)
    if unknown:
        told["notes"].append(f"{len(unknown)} predictions are of no sample and were left out, such as {unknown[0]!r}")
    return told


def score_published(task: Task, path: Path, questions: Path | None) -> Mapping[str, float]:
    """The reference's numbers from its own files alone.

    Args:
        task: Of the reference protocol.
        path: Predictions: JSON lines for questions; a folder of `<class>.csv` for classification, of `.txt` for
            reports.
        questions: The reference's questions (JSON, or PathVQA's pickle), or the folder of reference reports; for
            MIMIC-VQA the folder of `<type>.json`, with predictions in a folder of `<type>.jsonl`. Classification needs
            none.

    Raises:
        InputError: A file that is not of its format; a task of the other protocol.
    """
    if task.protocol != "reference":
        raise InputError("is not of the reference protocol; give --data instead", field="task", value=task.name)
    rows: list[Answered] = []
    if task.measure in _COLUMNS:
        for name, column in _COLUMNS[task.measure].items():
            rows += read_class_csv(path / f"{name}.csv", name, column)
    elif questions is None:
        raise InputError(
            "needs the reference's questions (--questions) or the dataset (--data)", field="task", value=task.name
        )
    elif task.measure == "mimic_vqa":
        for kind in ("abnormality", "presence", "view", "location", "level", "type"):
            rows += read_mimic_vqa(questions / f"{kind}.json", path / f"{kind}.jsonl", kind)
    elif task.measure == "report":
        rows = read_reports(questions, path)
    else:
        rows = (read_pathvqa if task.measure == "pathvqa" else read_vqa)(questions, path)
    return MEASURES[task.measure](rows)


def sample_ids(samples: Samples) -> dict[str, int]:
    """Every name of each sample; a name that two samples share is no name, unless it is the id of one."""
    found: dict[str, int] = {}
    shared: set[str] = set()
    for index, sample in enumerate(samples):
        for name in {sample.facts.get(fact, "") for fact in _OWN_IDS} - {"", sample.id}:
            if name in found:
                shared.add(name)
            found[name] = index
    for name in shared:
        del found[name]
    return found | {sample.id: index for index, sample in enumerate(samples) if not sample.problem}


def read_predictions(path: Path) -> dict[str, str]:
    """Texts by id; see `score_predictions`."""
    found: dict[str, str] = {}
    for where, name, text in _rows(path):
        if not isinstance(text, str):
            text = "" if text is None else str(text)
        if name in found:
            raise InputError(f"{where}: this id is there twice", path=path, field="id", value=name)
        found[name] = text
    if not found:
        raise InputError("holds no predictions", path=path)
    return found


def _rows(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Where, id and text of each prediction."""
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield file.name, file.stem, _text(file)
        return
    text = _text(path)
    if path.suffix == ".csv":
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            yield _named(row, f"line {number}", path)
    elif path.suffix == ".json":
        held = _json(text, path, "the file")
        if isinstance(held, dict):
            yield from (("the table", str(name), value) for name, value in held.items())
            return
        if not isinstance(held, list):
            raise InputError("expected a list, or a table of ids and texts", path=path)
        for number, item in enumerate(held, 1):
            yield _named(item, f"entry {number}", path)
    elif path.suffix in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _named(_json(line, path, f"line {number}"), f"line {number}", path)
    else:
        raise InputError("expected .jsonl, .json, .csv, or a folder of .txt", path=path)


def _named(item: Any, where: str, path: Path) -> tuple[str, str, Any]:
    """Id and text of one prediction."""
    if not isinstance(item, dict):
        raise InputError(f"{where}: expected a table", path=path)
    name = next((item[key] for key in _IDS if item.get(key) not in (None, "")), None)
    key = next((key for key in _TEXTS if key in item), None)
    if name is None or key is None:
        wanted = f"{_one_of(_IDS)} and {_one_of(_TEXTS)}"
        raise InputError(f"{where}: expected {wanted}; found {', '.join(map(str, list(item)[:8]))}", path=path)
    return where, str(name), item[key]


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(names)


def _json(text: str, path: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is no JSON", path=path) from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"is larger than {_LARGEST} bytes", path=path)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", path=path) from error
