"""Numbers: absolute and relative error in the unit of the question, with failures counted.

An answer without a valid number counts as the answer 0: its absolute error is the whole reference, its relative one 1.
Leaving it out would reward a model for answering only the easy questions. `mae_answered` and `mre_answered` do leave it
out; read them beside `invalid_rate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, mean_of, ratio
from attending.evaluation.parse import Parsed


def within(share: float) -> Callable[[Parsed, float], float]:
    """A scorer: 1 when the number is within `share` of the reference (exactly 0 where the reference is 0)."""

    def score(parsed: Parsed, reference: float) -> float:
        return float(
            parsed.valid and abs(parsed.value - float(reference)) <= share * abs(float(reference)) * (1 + 1e-9)
        )

    return score


def _error(row: Row) -> float:
    truth = float(row.reference)
    return abs((float(row.prediction.value) if row.prediction.valid else 0.0) - truth)


def _relative(row: Row) -> float:
    """NaN where the reference is 0: no relative error exists there."""
    truth = abs(float(row.reference))
    return _error(row) / truth if truth else float("nan")


def _mean_where(value: Callable[[Row], float], answered: bool) -> Callable[[Sequence[Row]], Weighted]:
    """The mean over rows where the value exists, all or only the answered ones."""

    def prepare(rows: Sequence[Row]) -> Weighted:
        values = np.array([value(row) for row in rows], dtype=np.float64)
        asked = np.array([row.prediction.valid or not answered for row in rows])
        counted: Array = (asked & ~np.isnan(values)).astype(np.float64)
        kept = np.where(counted > 0, values, 0.0)
        return lambda weights: ratio(weights @ kept, weights @ counted)

    return prepare


QUANTITY_SCORERS: dict[str, Callable[[Parsed, float], float]] = {
    "within_10_percent": within(0.10),
    "within_20_percent": within(0.20),
}
QUANTITY_METRICS = (
    Metric("mae", mean_of(_error), higher_is_better=False, bounded=False),
    Metric("mre", _mean_where(_relative, answered=False), higher_is_better=False, bounded=False),
    Metric("mae_answered", _mean_where(_error, answered=True), higher_is_better=False, bounded=False),
    Metric("mre_answered", _mean_where(_relative, answered=True), higher_is_better=False, bounded=False),
)
