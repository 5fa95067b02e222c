"""Calibration: whether probabilities of yes mean what they say: ECE, Brier score, reliability bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, ratio

BINS = 10


class Bin(NamedTuple):
    """One bar of a reliability plot.

    Attributes:
        low: Of the bin's probabilities; it holds low < p <= high (the first one also 0).
        high: See `low`.
        samples: How many it holds.
        probability: Mean probability; NaN when empty.
        rate: Share that is truly yes; NaN when empty.
    """

    low: float
    high: float
    samples: int
    probability: float
    rate: float


def reliability(rows: Sequence[Row], bins: int = BINS) -> list[Bin]:
    """Bins of equal width over the rows that have a probability."""
    said, true = _pairs(rows)
    number = _bin(said, bins)
    listed = []
    for i in range(bins):
        inside = number == i
        mean, rate = (said[inside].mean(), true[inside].mean()) if inside.any() else (np.nan, np.nan)
        listed.append(Bin(i / bins, (i + 1) / bins, int(inside.sum()), float(mean), float(rate)))
    return listed


def _pairs(rows: Sequence[Row]) -> tuple[Array, Array]:
    kept = [row for row in rows if 0 <= row.probability <= 1]
    return np.array([row.probability for row in kept]), np.array([float(row.reference is True) for row in kept])


def _bin(probability: Array, bins: int) -> Array:
    number: Array = np.clip(np.ceil(probability * bins) - 1, 0, bins - 1)
    return number


def _ece(rows: Sequence[Row]) -> Weighted:
    """Expected calibration error over the rows that have a probability."""
    has = np.array([0 <= row.probability <= 1 for row in rows])
    said, true = _pairs(rows)
    member = (_bin(said, BINS)[:, None] == np.arange(BINS)[None]).astype(np.float64)

    def value(weights: Array) -> Array:
        kept = weights[:, has]
        away: Array = np.abs(kept @ (member * (said - true)[:, None])).sum(axis=1)
        return ratio(away, kept.sum(axis=1))

    return value


def _brier(rows: Sequence[Row]) -> Weighted:
    """Mean squared difference of probability and truth over the rows that have a probability."""
    has = np.array([0 <= row.probability <= 1 for row in rows])
    said, true = _pairs(rows)
    away: Array = (said - true) ** 2
    return lambda weights: ratio(weights[:, has] @ away, weights[:, has].sum(axis=1))


CALIBRATION_METRICS = (Metric("ece", _ece, higher_is_better=False), Metric("brier", _brier, higher_is_better=False))
