"""Judging: one part of a task: its metrics with intervals, beside its controls, by class and by subgroup."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from attending.evaluation.controls import MAIN, NO_EXPERTS
from attending.evaluation.intervals import Interval, bootstrap, over_seeds, paired
from attending.evaluation.metrics import METRICS, Metric, Row
from attending.evaluation.metrics.calibration import reliability
from attending.evaluation.metrics.classes import confusion
from attending.evaluation.scoring import categories, shown
from attending.evaluation.task import Part

_WHOLE = ("mean_score", "accuracy", "invalid_rate")
"""Metrics over all samples, those included whose reference cannot be read; others need to know the class."""
_FEWEST = 10
"""Samples, and half as many patients, below which a cell is suppressed."""
_ALONE = 0.8
"""Share of the whole that text alone must reach to solve a dataset."""

Rows = dict[int, Row]
"""Judged answers by index of the sample."""


def judge(
    part: Part,
    runs: Sequence[Rows],
    controls: Mapping[str, Rows],
    facts: Mapping[int, Mapping[str, str]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Everything that is reported of one part, as plain JSON values.

    Args:
        part: Of the task.
        runs: Of the main condition, a seed each.
        controls: By name.
        facts: Of each sample.
        names: Facts to report by: the subgroups.
    """
    main = runs[0]
    rows = list(main.values())
    headline = METRICS[part.metrics[0]]
    told: dict[str, Any] = {
        "samples": len(rows),
        "patients": len({row.cluster for row in rows}),
        "headline": headline.name,
        "metrics": {name: value(rows, METRICS[name]) for name in (*part.metrics, "invalid_rate")},
        "invalid": dict(Counter(row.prediction.why for row in rows if not row.prediction.valid).most_common()),
        "controls": {name: _beside(part, main, other) for name, other in controls.items() if other},
        "subgroups": {name: found for name in names if (found := subgroups(main, facts, name, headline))},
        "confusion": _confusion(part, rows),
        "calibration": _calibration(rows),
    }
    if len(runs) > 1:
        spread = over_seeds([_usable(list(run.values()), headline) for run in runs], headline)
        told["seeds"] = {**_interval(spread.mean), "values": list(spread.values), "spread": _number(spread.spread)}
    told["flags"] = flags(told)
    return told


def value(rows: Sequence[Row], metric: Metric) -> dict[str, Any]:
    """A metric with its interval."""
    return {**_interval(bootstrap(_usable(rows, metric), metric)), "higher_is_better": metric.higher_is_better}


def subgroups(rows: Rows, facts: Mapping[int, Mapping[str, str]], name: str, metric: Metric) -> dict[str, Any] | None:
    """A metric by the values of one fact, with the widest gap; None where there are no two values.

    Cells of fewer than 10 samples or 5 patients are suppressed. The gap is between the best and the worst cell; its
    interval is at a level corrected for the number of pairs that could have been the widest (Bonferroni).
    """
    cells: dict[str, list[Row]] = defaultdict(list)
    for index, row in rows.items():
        cells[facts[index].get(name, "") or "not stated"].append(row)
    if len(cells) < 2:
        return None
    told: dict[str, Any] = {}
    large: dict[str, Sequence[Row]] = {}
    for key in sorted(cells):
        if len(cells[key]) < _FEWEST or len({row.cluster for row in cells[key]}) < _FEWEST // 2:
            told[key] = {"suppressed": f"fewer than {_FEWEST} samples or {_FEWEST // 2} patients"}
            continue
        told[key] = {"samples": len(cells[key]), **value(cells[key], metric)}
        if told[key]["value"] is not None:
            large[key] = _usable(cells[key], metric)
    return {"cells": told, "gap": _gap(large, metric)}


def flags(told: Mapping[str, Any]) -> list[str]:
    """What a reader must be warned of, a sentence each."""
    found = []
    controls = told["controls"]
    for name, what in (("shuffled", "another patient's images"), ("blank", "a blank picture")):
        beside = controls.get(name)
        if beside and beside["low"] is not None and beside["low"] <= 0:
            found.append(
                "The picture makes no difference that could be shown: "
                f"{beside['main']:.2f} with it, {beside['value']:.2f} with {what} ("
                f"difference {beside['difference']:+.2f} [{beside['low']:+.2f}, {beside['high']:+.2f}])."
            )
    floor = controls.get("majority", {}).get("value") or 0.0
    for name, what in (
        ("text_only", "The model without any picture"),
        ("by_question", "The commonest answer to the question"),
    ):
        beside = controls.get(name)
        if not beside or beside["value"] is None or beside["main"] is None:
            continue
        if beside["value"] >= _ALONE and beside["value"] > floor:
            found.append(f"Text alone solves this: {what.lower()} reaches {beside['value']:.2f}.")
        elif beside["low"] is not None and beside["low"] <= 0 and beside["value"] >= floor:
            found.append(
                f"{what} does as well as the model with it: {beside['value']:.2f} beside {beside['main']:.2f}."
            )
    rate = told["metrics"]["invalid_rate"]["value"] or 0.0
    if rate > 0.1:
        found.append(f"{rate:.0%} of the answers are invalid; they count as wrong.")
    return found


def _beside(part: Part, main: Rows, other: Rows) -> dict[str, Any]:
    """A control beside the main run on the samples that both asked; the difference is main less control."""
    metric = METRICS[part.metrics[0]]
    if not metric.higher_is_better:
        metric = METRICS["mean_score"]
    both = sorted(main.keys() & other.keys())
    kept = [index for index in both if metric.name in _WHOLE or main[index].reference is not None]
    mine, theirs = [main[index] for index in kept], [other[index] for index in kept]
    told: dict[str, Any] = {"metric": metric.name, "samples": len(kept)}
    if not kept:
        return {**told, "main": None, "value": None, "difference": None, "low": None, "high": None}
    compared = paired(mine, theirs, metric)
    low, difference, high = compared.difference
    return {
        **told,
        "main": _number(metric(mine)),
        "value": _number(metric(theirs)),
        "difference": _number(difference),
        "low": _number(low),
        "high": _number(high),
        "p": _number(compared.p),
    }


def _gap(cells: Mapping[str, Sequence[Row]], metric: Metric) -> dict[str, Any] | None:
    """The widest gap between two cells."""
    if len(cells) < 2:
        return None
    values = {key: metric(rows) for key, rows in cells.items()}
    best, worst = max(values, key=lambda key: values[key]), min(values, key=lambda key: values[key])
    pairs = len(cells) * (len(cells) - 1) // 2
    level = 1 - 0.05 / pairs
    a, b = (bootstrap(cells[key], metric, level=level, seed=seed) for seed, key in enumerate((best, worst)))
    difference = values[best] - values[worst]
    # Cells hold different patients: their errors are independent, so half-widths add in squares.
    low = difference - math.hypot(a.value - a.low, b.high - b.value)
    high = difference + math.hypot(a.high - a.value, b.value - b.low)
    shown_ = all(map(math.isfinite, (low, high))) and low > 0
    return {"from": worst, "to": best, "value": _number(difference), "low": _number(low), "high": _number(high),
            "shown": shown_}  # fmt: skip


def _confusion(part: Part, rows: Sequence[Row]) -> dict[str, Any] | None:
    known = [row for row in rows if row.reference is not None]
    if not known or not categories(part, known):
        return None
    truths, given, counts = confusion(known)
    return {"truth": list(map(shown, truths)), "answer": list(map(shown, given)), "counts": counts.tolist()}


def _calibration(rows: Sequence[Row]) -> dict[str, Any] | None:
    told = [row for row in rows if math.isfinite(row.probability) and isinstance(row.reference, bool)]
    if len(told) < _FEWEST:
        return None
    bins = [{key: _number(one) for key, one in bar._asdict().items()} for bar in reliability(told)]
    metrics = {name: value(told, METRICS[name]) for name in ("ece", "brier", "auroc")}
    return {"samples": len(told), "of": len(rows), "bins": bins, **metrics}


def _usable(rows: Sequence[Row], metric: Metric) -> list[Row]:
    return [row for row in rows if metric.name in _WHOLE or row.reference is not None]


def _interval(found: Interval) -> dict[str, float | None]:
    return {name: _number(number) for name, number in found._asdict().items()}


def _number(number: float) -> float | None:
    """JSON has no NaN."""
    return float(number) if math.isfinite(number) else None


__all__ = ["MAIN", "NO_EXPERTS", "Rows", "judge", "subgroups", "value"]
