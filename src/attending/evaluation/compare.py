"""Compare: two runs of the same tasks, sample by sample: what the one has right and the other has not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attending.errors import InputError
from attending.evaluation.controls import MAIN
from attending.evaluation.intervals import paired
from attending.evaluation.metrics import METRICS
from attending.evaluation.results import read_records, read_results
from attending.evaluation.runner import Work, reopen
from attending.evaluation.scoring import row_of


def compare(a: Path, b: Path) -> dict[str, Any]:
    """The headline of each part that both runs have, and their difference with its interval over patients.

    Args:
        a: Folder of a run.
        b: Of the other.

    Returns:
        By task and part: samples, both values, `difference` (a less b) with `low` and `high`, `p`, and how many samples
        either alone has right.

    Raises:
        InputError: No task in common; or a task whose version, file or data differs.
    """
    first, second = read_results(a)["tasks"], read_results(b)["tasks"]
    both = [name for name in first if name in second]
    if not both:
        raise InputError(f"has no task in common with {a}", path=b)
    told = {}
    for name in both:
        for key in ("version", "protocol", "digest", "data"):
            if first[name][key] != second[name][key]:
                problem = f"{name} is another in the two runs ({first[name][key]} and {second[name][key]})"
                raise InputError(problem, path=b, field=key)
        told[name] = _task(reopen(a / name), reopen(b / name))
    return {"a": str(a), "b": str(b), "tasks": told}


def _task(a: Work, b: Work) -> dict[str, Any]:
    mine, theirs = _answers(a), _answers(b)
    parts: dict[str, Any] = {}
    for name, part in a.task.parts.items():
        rows: tuple[list[Any], list[Any]] = ([], [])
        for index in sorted(mine.keys() & theirs.keys()):
            sample = a.samples[index]
            if sample.part != name:
                continue
            pair = [
                row_of(part, sample, str(told["answer"] or ""), str(told.get("error") or ""))
                for told in (mine[index], theirs[index])
            ]
            if pair[0].reference is not None:
                rows[0].append(pair[0])
                rows[1].append(pair[1])
        if not rows[0]:
            continue
        metric = METRICS[part.metrics[0]]
        found = paired(*rows, metric)
        parts[name] = {
            "samples": len(rows[0]),
            "metric": metric.name,
            "a": metric(rows[0]),
            "b": metric(rows[1]),
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            "p": found.p,
            "only a": found.only_a,
            "only b": found.only_b,
        }
    return parts


def _answers(work: Work) -> Mapping[int, dict[str, Any]]:
    records = read_records(work.plan.out, len(work.samples))
    return next((answers for condition, answers in records.items() if condition.name == MAIN), {})
