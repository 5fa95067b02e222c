"""Classes: accuracy, balanced accuracy, F1 of several kinds, AUROC; an invalid answer is a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, mean_of, ratio

INVALID = "(invalid)"
"""The predicted class of an invalid answer; no reference has it."""


def confusion(rows: Sequence[Row]) -> tuple[list[Hashable], list[Hashable], NDArray[np.int64]]:
    """Counts by true and predicted class.

    Returns:
        The true classes, the predicted ones (with `INVALID` last where there is any), and counts [true, predicted].
    """
    truths = _classes(row.reference for row in rows)
    valid = _classes([*truths, *(row.prediction.value for row in rows if row.prediction.valid)])
    given = [*valid, *([INVALID] if any(not row.prediction.valid for row in rows) else [])]
    counts = np.zeros((len(truths), len(given)), dtype=np.int64)
    for row in rows:
        counts[truths.index(row.reference), given.index(_predicted(row))] += 1
    return truths, given, counts


def _classes(values: Iterable[Hashable]) -> list[Hashable]:
    return sorted(set(values), key=lambda value: (str(type(value)), value))


def _predicted(row: Row) -> Hashable:
    value: Hashable = row.prediction.value if row.prediction.valid else INVALID
    return value


def _right(row: Row) -> float:
    return float(row.prediction.valid and row.prediction.value == row.reference)


def _per_class(rows: Sequence[Row]) -> tuple[Array, Array, Array]:
    """Indicators [samples, classes] of right, true and predicted, over the classes that occur in either."""
    names = _classes([row.reference for row in rows] + [row.prediction.value for row in rows if row.prediction.valid])
    index = {name: number for number, name in enumerate(names)}
    true, given = np.zeros((len(rows), len(names))), np.zeros((len(rows), len(names)))
    for i, row in enumerate(rows):
        true[i, index[row.reference]] = 1
        if row.prediction.valid:
            given[i, index[row.prediction.value]] = 1
    return true * given, true, given


def _balanced(rows: Sequence[Row]) -> Weighted:
    right, true, _ = _per_class(rows)

    def value(weights: Array) -> Array:
        """Mean recall over the classes that have samples, as scikit-learn does."""
        recalls = ratio(weights @ right, weights @ true)
        return ratio(np.nansum(recalls, axis=1), (~np.isnan(recalls)).sum(axis=1).astype(np.float64))

    return value


def _macro_f1(rows: Sequence[Row]) -> Weighted:
    right, true, given = _per_class(rows)

    def value(weights: Array) -> Array:
        both, present = weights @ right, weights @ true + weights @ given
        f1 = ratio(2 * both, present)  # a class that a resampling has nowhere does not count
        return ratio(np.nansum(f1, axis=1), (~np.isnan(f1)).sum(axis=1).astype(np.float64))

    return value


def _micro_f1(rows: Sequence[Row]) -> Weighted:
    right, true, given = (part.sum(axis=1) for part in _per_class(rows))
    return lambda weights: ratio(2 * (weights @ right), weights @ true + weights @ given)


def _binary(of: Callable[[Array, Array], tuple[Array, Array]]) -> Callable[[Sequence[Row]], Weighted]:
    """A ratio of counts; `of` gives numerator and denominator of each row from (true, said yes, said no)."""

    def prepare(rows: Sequence[Row]) -> Weighted:
        true = np.array([float(row.reference is True) for row in rows])
        said = np.array([float(row.prediction.valid and row.prediction.value is True) for row in rows])
        above, below = of(true, said)
        return lambda weights: ratio(weights @ above, weights @ below)

    return prepare


def _specificity(rows: Sequence[Row]) -> Weighted:
    """An invalid answer about a negative is no true negative."""
    negative = np.array([float(row.reference is False) for row in rows])
    right = np.array([float(row.reference is False and _right(row)) for row in rows])
    return lambda weights: ratio(weights @ right, weights @ negative)


def _auroc(rows: Sequence[Row]) -> Weighted:
    """Rows without a probability count as 0.5, so a missing one neither helps nor vanishes."""
    scores = np.array([row.probability for row in rows], dtype=np.float64)
    return auroc(np.array([row.reference is True for row in rows]), np.where(np.isnan(scores), 0.5, scores))


def auroc(positive: NDArray[np.bool_], scores: Array) -> Weighted:
    """Area under the ROC curve: how likely a positive outscores a negative, ties as a half; NaN without both classes.

    Args:
        positive: [samples].
        scores: [samples], finite.
    """
    order = np.argsort(scores, kind="stable")
    ends = np.flatnonzero(np.concatenate([np.diff(scores[order]) > 0, [True]]))
    truth = positive[order].astype(np.float64)

    def value(weights: Array) -> Array:
        ordered = weights[:, order]
        ups = np.diff(np.cumsum(ordered * truth, axis=1)[:, ends], axis=1, prepend=0.0)
        downs = np.diff(np.cumsum(ordered * (1 - truth), axis=1)[:, ends], axis=1, prepend=0.0)
        below = np.cumsum(downs, axis=1) - 0.5 * downs
        return ratio((ups * below).sum(axis=1), ups.sum(axis=1) * downs.sum(axis=1))

    return value


def _set_accuracy(rows: Sequence[Row]) -> Weighted:
    """Share of groups whose rows are all right; a row without a group is its own.

    Under resampling a group counts as often as its rows do on average; rows of one group belong to one patient.
    """
    names: dict[object, int] = {}
    group = np.array([names.setdefault(row.group or ("", i), len(names)) for i, row in enumerate(rows)])
    size = np.bincount(group).astype(np.float64)
    right = np.bincount(group, weights=[_right(row) for row in rows]) == size
    share = 1 / size[group]
    return lambda weights: ratio(weights @ (share * right[group]), weights @ share)


CLASS_METRICS = (
    Metric("accuracy", mean_of(_right)),
    Metric("balanced_accuracy", _balanced),
    Metric("macro_f1", _macro_f1),
    Metric("micro_f1", _micro_f1),
    Metric("f1", _binary(lambda true, said: (2 * true * said, true + said))),
    Metric("precision", _binary(lambda true, said: (true * said, said))),
    Metric("sensitivity", _binary(lambda true, said: (true * said, true))),
    Metric("specificity", _specificity),
    Metric("auroc", _auroc),
    Metric("set_accuracy", _set_accuracy),
)
