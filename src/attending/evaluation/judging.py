"""Judging: one part of a task: its metrics with intervals, beside its controls, by class and by subgroup."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attending.evaluation.intervals import Interval, bootstrap, over_seeds, paired
from attending.evaluation.metrics import METRICS, Metric, Row
from attending.evaluation.metrics.calibration import reliability
from attending.evaluation.metrics.classes import confusion
from attending.evaluation.scoring import categories, shown
from attending.evaluation.shifts import STRENGTHS
from attending.evaluation.shifts import told as shift_of
from attending.evaluation.subgroups import cells, gaps
from attending.evaluation.task import Part

_WHOLE = ("mean_score", "accuracy", "invalid_rate")
"""Metrics over all samples, those included whose reference cannot be read; others need to know the class."""
_FEWEST = 10
"""Answers with a probability from which calibration is told."""
_OTHER_PICTURES = (("shuffled", "another patient's images"), ("blank", "a blank picture"))
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
    shifted: Mapping[str, Rows] | None = None,
) -> dict[str, Any]:
    """Everything that is reported of one part, as plain JSON values.

    Args:
        part: Of the task.
        runs: Of the main condition, a seed each.
        controls: By name.
        facts: Of each sample.
        names: Facts to report by: the subgroups.
        shifted: With changed pictures, by condition.
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
        "shifts": _shifts(part, main, shifted or {}),
        "subgroups": by_group(main, facts, names, headline),
        "confusion": _confusion(part, rows),
        "calibration": _calibration(rows),
    }
    if len(runs) > 1:
        spread = over_seeds([_usable(list(run.values()), headline) for run in runs], headline)
        told["seeds"] = {**_interval(spread.mean), "values": list(spread.values), "spread": _number(spread.spread)}
    if any(row.group for row in rows):
        told["sets"] = _sets(rows)
    told["one answer"] = len({str(row.reference) for row in rows}) == 1
    told["flags"] = flags(told)
    return told


def value(rows: Sequence[Row], metric: Metric) -> dict[str, Any]:
    """A metric with its interval."""
    return {**_interval(bootstrap(_usable(rows, metric), metric)), "higher_is_better": metric.higher_is_better}


def by_group(
    rows: Rows, facts: Mapping[int, Mapping[str, str]], names: Sequence[str], metric: Metric
) -> dict[str, Any]:
    """A metric by the values of facts, those with at least two, and the gaps; small cells are suppressed."""
    kept = [index for index in rows if metric.name in _WHOLE or rows[index].reference is not None]
    attributes = {name: [facts[index].get(name, "") for index in kept] for name in names}
    attributes = {name: values for name, values in attributes.items() if len(set(values) - {""}) > 1}
    sample = [rows[index] for index in kept]
    told: dict[str, Any] = {name: {"cells": {}, "gaps": []} for name in attributes}
    for cell in cells(sample, attributes, metric):
        shown_ = {"suppressed": "too few"} if cell.interval is None else _interval(cell.interval)
        told[cell.attribute]["cells"][cell.group] = {"samples": cell.samples, "patients": cell.patients, **shown_}
    for gap in gaps(sample, attributes, metric):
        difference = {"low": gap.difference.low, "value": gap.difference.value, "high": gap.difference.high}
        bounds = {key: _number(number) for key, number in difference.items()}
        told[gap.attribute]["gaps"].append({"group": gap.group, **bounds, "p": _number(gap.p), "found": gap.found})
    return {name: groups for name, groups in told.items() if any("value" in cell for cell in groups["cells"].values())}


def flags(told: Mapping[str, Any]) -> list[str]:
    """What a reader must be warned of, a sentence each."""
    found: list[str] = []
    controls = {} if told["one answer"] else told["controls"]  # where all answers are the same no picture can matter
    seen = [
        (controls[name], what)
        for name, what in _OTHER_PICTURES
        if name in controls and controls[name]["low"] is not None
    ]
    if seen and all(beside["low"] <= 0 for beside, _ in seen):
        beside, what = seen[0]
        found.append(
            f"The picture makes no difference that could be shown: {beside['main']:.2f} with it, {beside['value']:.2f} "
            f"with {what} (difference {beside['difference']:+.2f} [{beside['low']:+.2f}, {beside['high']:+.2f}])."
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
                f"{what} does as well as the model with it, for all that could be shown: "
                f"{beside['value']:.2f} beside {beside['main']:.2f}."
            )
    for name, groups in told["subgroups"].items():
        for gap in (gap for gap in groups["gaps"] if gap["found"]):
            found.append(
                f"{name} {gap['group']} differs from the others by {gap['value']:+.2f} "
                f"[{gap['low']:+.2f}, {gap['high']:+.2f}]."
            )
    mild = {name: by["mild"] for name, by in told["shifts"].items() if "mild" in by}
    for name, beside in mild.items():
        if (beside["low"] or 0.0) > 0 and beside["p"] <= 0.05 / len(mild):
            found.append(
                f"Mild {name} of the picture costs {beside['difference']:.2f} "
                f"[{beside['low']:.2f}, {beside['high']:.2f}]."
            )
    rate = told["metrics"]["invalid_rate"]["value"] or 0.0
    if rate > 0.1:
        found.append(f"{rate:.0%} of the answers are invalid; they count as wrong.")
    return found


def _shifts(part: Part, main: Rows, shifted: Mapping[str, Rows]) -> dict[str, Any]:
    """By shift and strength as a control is told; the difference is the fall from the unchanged pictures."""
    found: dict[str, Any] = {}
    for condition, other in shifted.items():
        shift = shift_of(condition)
        if shift and other:
            found.setdefault(shift[0], {})[shift[1]] = _beside(part, main, other)
    return {name: {key: by[key] for key in STRENGTHS if key in by} for name, by in found.items()}


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


def _sets(rows: Sequence[Row]) -> dict[str, Any]:
    """How many sets there are, and how often all of a set got one answer though their references differ."""
    sets: dict[str, list[Row]] = {}
    for row in rows:
        if row.group:
            sets.setdefault(row.group, []).append(row)
    apart = [held for held in sets.values() if len({str(row.reference) for row in held}) > 1]
    same = [float(len({str(row.prediction.value) for row in held}) == 1) for held in apart]
    return {"sets": len(sets), "confused": _interval(bootstrap(same))}


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
