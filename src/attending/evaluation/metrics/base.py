"""Metric: one number for a set of answers, computed for many resamplings at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attending.evaluation.parse import Parsed

Array = NDArray[np.float64]
Weighted = Callable[[Array], Array]
"""Weights [draws, samples] (how often each sample is counted) to one value a draw, [draws]."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answered sample.

    Attributes:
        prediction: What was parsed from the answer.
        reference: The truth, of the same type as `prediction.value`; for `list` a sequence of strings.
        score: What the task's scorer gave, 0 to 1; 0 for an invalid answer. NaN before scoring.
        probability: The model's probability of yes, or its confidence in the answer, where it gives one; else NaN.
        cluster: The patient. Rows of one patient are resampled together.
        group: Samples that count as one for `set_accuracy` (the two orders of an image pair); empty: its own.
    """

    prediction: Parsed
    reference: Any
    score: float = float("nan")
    probability: float = float("nan")
    cluster: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A corpus metric: `metric(rows)` is its value; `prepare(rows)` gives its values under resampling weights.

    Attributes:
        name: As tasks call it.
        prepare: Rows to a function of weights [draws, samples] that gives [draws]; NaN where it is not defined.
        higher_is_better: False for errors.
        bounded: Whether it lies between 0 and 1.
    """

    name: str
    prepare: Callable[[Sequence[Row]], Weighted]
    higher_is_better: bool = True
    bounded: bool = True

    def __call__(self, rows: Sequence[Row], clusters: Sequence[str] | None = None) -> float:
        """The value; `clusters` does not change it. NaN where it is not defined (no rows, one class only)."""
        if not rows:
            return float("nan")
        return float(self.prepare(rows)(np.ones((1, len(rows))))[0])


def ratio(numerator: Array, denominator: Array) -> Array:
    """Element by element; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / np.where(denominator == 0, 1, denominator))


def mean_of(value: Callable[[Row], float]) -> Callable[[Sequence[Row]], Weighted]:
    """The mean of one number a row."""

    def prepare(rows: Sequence[Row]) -> Weighted:
        values = np.array([value(row) for row in rows], dtype=np.float64)
        return lambda weights: ratio(weights @ values, weights.sum(axis=1))

    return prepare
