"""Reliance: how often an answer follows an expert's result that is true, of another study, or contrary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from attending.evaluation.controls import AUDIT, MAIN, NO_EXPERTS, normal
from attending.evaluation.intervals import bootstrap
from attending.evaluation.metrics import Row
from attending.evaluation.runner import Work
from attending.evaluation.scoring import SCORERS, reference_of, row_of, shown
from attending.evaluation.sources import Sample
from attending.evaluation.task import Part

CONFIDENCE = ("0.5 to 0.6", "0.6 to 0.7", "0.7 to 0.8", "0.8 to 0.9", "0.9 to 1", "not stated")
"""Bins of an expert's confidence: the probability of what it says. Segmentations state none."""
_FOLLOWS = 0.5
"""Score beside what the result stands for from which an answer follows it."""


def audit(work: Work, samples: Sequence[Sample], records: Mapping[Any, Mapping[int, dict[str, Any]]]) -> dict[str, Any]:
    """How answers go with experts' results; plain JSON values.

    A result stands for its probability where it gives one for what is asked, else for the right answer of the study it
    was made from. Only questions of which the results speak are counted.

    Args:
        work: The run.
        samples: Of the task.
        records: Answers by condition and index.
    """
    by_name = {condition.name: answers for condition, answers in reversed(list(records.items()))}
    without = _rows(work, samples, by_name.get(NO_EXPERTS, {}))
    conditions: dict[str, Any] = {}
    spoken: set[int] = set()
    for name in (MAIN, *AUDIT):
        if name in by_name:
            told, about = _condition(work, samples, by_name[name], name, without)
            conditions["expert_true" if name == MAIN else name] = told
            spoken |= about
    alone = [row for index, row in without.items() if index in spoken]
    if alone:
        none = {"samples": len(alone), "right": _mean(alone), "follows": None, "switched": None}
        conditions = {NO_EXPERTS: none, **conditions}
    silent = sum(told.get("without a result", 0) for told in conditions.values())
    said = f"{silent} answers came without any expert's result and are not among those that may follow."
    return {"confidence": list(CONFIDENCE), "conditions": conditions, "notes": [said] if silent else []}


def _condition(
    work: Work, samples: Sequence[Sample], answers: Mapping[int, dict[str, Any]], name: str, without: Mapping[int, Row]
) -> tuple[dict[str, Any], set[int]]:
    """One condition, and the samples of which the results speak."""
    rows = _rows(work, samples, answers)
    followed: dict[str, list[tuple[float, str]]] = defaultdict(list)
    switched: list[tuple[float, str]] = []
    about: set[int] = set()
    silent = 0
    for index, row in rows.items():
        sample = samples[index]
        done = [expert for expert in answers[index].get("experts") or () if expert["status"] == "done"]
        if not done:
            silent += 1
            continue
        lender = sample if name == MAIN else samples[work.donor(index, name)]
        stands, confidence = claim(work.task.parts[sample.part], sample, lender, done)
        if stands is None:
            continue
        about.add(index)
        score = SCORERS[work.task.parts[sample.part].scorer](row.prediction, stands) if row.prediction.valid else 0.0
        followed[confidence].append((float(score >= _FOLLOWS), row.cluster))
        if index in without:
            switched.append((float(_told(row) != _told(without[index])), row.cluster))
    told = {
        "samples": len(about),
        "without a result": silent,
        "right": _mean([rows[index] for index in sorted(about)]),
        "follows": _share([one for listed in followed.values() for one in listed]),
        "switched": _share(switched),
        "by": {label: _share(followed[label]) or _NONE for label in CONFIDENCE},
    }
    return told, about


def claim(part: Part, sample: Sample, lender: Sample, done: Sequence[Mapping[str, Any]]) -> tuple[Any, str]:
    """What experts' results stand for, as a value of the part's parser, and the bin of their confidence.

    None where they do not speak of what is asked: probabilities of other things, or a question without an answer.

    Args:
        part: Of the sample.
        sample: What was asked.
        lender: The sample from whose study the results are.
        done: The results, as recorded.
    """
    about = normal(sample.facts.get("about") or sample.facts.get("question type") or "")
    if about and part.parser["kind"] == "yes_no":
        for expert in done:
            for name, score in (expert.get("scores") or {}).items():
                if normal(name.replace("_", " ")) == about:
                    sure = max(float(score), 1 - float(score))
                    return float(score) >= 0.5, CONFIDENCE[min(4, int((sure - 0.5) * 10 + 1e-9))]
    if part.scorer == "declines" or any(expert.get("scores") for expert in done):
        return None, CONFIDENCE[-1]
    return reference_of(part, lender), CONFIDENCE[-1]


_NONE: dict[str, Any] = {"value": None, "low": None, "high": None, "samples": 0}


def _rows(work: Work, samples: Sequence[Sample], answers: Mapping[int, dict[str, Any]]) -> dict[int, Row]:
    return {
        index: row_of(
            work.task.parts[samples[index].part],
            samples[index],
            str(told["answer"] or ""),
            str(told.get("error") or ""),
        )
        for index, told in answers.items()
    }


def _told(row: Row) -> str:
    return shown(row.prediction.value) if row.prediction.valid else "(invalid)"


def _mean(rows: Sequence[Row]) -> dict[str, Any]:
    return _share([(row.score, row.cluster) for row in rows]) or _NONE


def _share(listed: Sequence[tuple[float, str]]) -> dict[str, Any] | None:
    if not listed:
        return None
    found = bootstrap([value for value, _ in listed], clusters=[cluster for _, cluster in listed])
    bounds = {name: None if number != number else float(number) for name, number in found._asdict().items()}
    return {**bounds, "samples": len(listed)}
