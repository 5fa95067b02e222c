"""Intervals: bootstrap over patients, paired comparison of two runs, several seeds.

Samples of one patient are not independent, so patients are resampled, not samples. The interval is the bias-corrected
and accelerated bootstrap (Efron 1987) with the tails widened by Student's t for few patients (Hesterberg 2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, ratio

LEVEL = 0.95
DRAWS = 2000
BLOCK = 4_000_000
"""Largest block of weights held at once: draws x samples."""
_JACKKNIFE = 300
"""Most groups of patients left out in turn for the acceleration."""
_NORMAL = NormalDist()

Sample = Sequence[Row] | Sequence[float] | Array


class Interval(NamedTuple):
    """A value between its bounds; the bounds are NaN where they cannot be told (fewer than two patients)."""

    low: float
    value: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both bounds lie on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run A against run B on the same samples.

    Attributes:
        difference: A minus B, with its interval.
        p: Two-sided, from swapping the runs at random patient by patient.
        mcnemar: Exact two-sided p over samples, where every score is 0 or 1 and each patient has one sample; else None.
        only_a: Samples that A alone has right (a higher score where scores are not 0 or 1).
        only_b: Samples that B alone has right.
    """

    difference: Interval
    p: float
    mcnemar: float | None
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class Seeds:
    """One evaluation repeated with several seeds.

    Attributes:
        mean: Of the runs, with its interval over patients.
        values: Of each run.
        spread: Standard deviation between runs; NaN for one run.
    """

    mean: Interval
    values: tuple[float, ...]
    spread: float


def bootstrap(
    sample: Sample,
    statistic: Metric | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """The value of a statistic with its interval.

    Args:
        sample: Rows, or numbers.
        statistic: A metric of rows; None for the mean of numbers or of the rows' scores.
        clusters: The patient of each sample. None: the rows' own; numbers each stand alone. An empty name stands alone.
        seed: Of the resampling; the same seed gives the same interval.
        draws: Resamplings.
        level: Of confidence.

    Resamplings where the statistic is not defined (a class is missing) are left out; where they are more than half, the
    bounds are NaN. Where all resamplings agree on 0 or 1 and these are the limits of the statistic, the open bound is
    the exact binomial one for as many trials as there are patients.
    """
    weighted = weighted_statistic(sample, statistic)
    groups = clustered(sample, clusters)
    bounded = statistic.bounded if statistic is not None else _is_binary(_values(sample))
    return _interval(weighted, groups, seed, draws, level, bounded)


def paired(
    a: Sample,
    b: Sample,
    statistic: Metric | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Comparison:
    """Compare two runs on the same samples, in the same order; arguments as for `bootstrap`.

    Raises:
        ValueError: The runs do not have as many samples.
    """
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} samples, b {len(b)}; expected the same samples in the same order")
    of_a, of_b = weighted_statistic(a, statistic), weighted_statistic(b, statistic)
    groups = clustered(a, clusters)
    difference = _interval(lambda weights: of_a(weights) - of_b(weights), groups, seed, draws, level, bounded=False)
    scores_a, scores_b = _values(a), _values(b)
    only_a, only_b = int((scores_a > scores_b).sum()), int((scores_b > scores_a).sum())
    alone = len(groups) > 0 and int(groups.max()) + 1 == len(groups)
    binary = _is_binary(scores_a) and _is_binary(scores_b)
    return Comparison(
        difference,
        _swap_p(a, b, statistic, groups, abs(difference.value), seed, draws),
        mcnemar(only_a, only_b) if binary and alone else None,
        only_a,
        only_b,
    )


def over_seeds(
    runs: Sequence[Sample],
    statistic: Metric | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Seeds:
    """Runs of one evaluation with different seeds, on the same samples; arguments as for `bootstrap`.

    Raises:
        ValueError: No runs, or runs of different length.
    """
    if not runs or len({len(run) for run in runs}) > 1:
        raise ValueError(f"runs have {[len(run) for run in runs]} samples; expected one or more runs of equal length")
    parts = [weighted_statistic(run, statistic) for run in runs]
    groups = clustered(runs[0], clusters)
    mean = _interval(
        lambda weights: np.asarray(np.mean([part(weights) for part in parts], axis=0)),
        groups,
        seed,
        draws,
        level,
        bounded=False,
    )
    values = tuple(float(part(np.ones((1, len(groups))))[0]) for part in parts)
    return Seeds(mean, values, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that A and B are right equally often, from the samples that one alone has right."""
    total, fewer = only_a + only_b, min(only_a, only_b)
    if not total:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(value - total * math.log(2)) for value in logs)
    return min(1.0, 2 * tail)


def _interval(
    weighted: Weighted, groups: NDArray[np.int64], seed: int, draws: int, level: float, bounded: bool
) -> Interval:
    nan = float("nan")
    if not len(groups):
        return Interval(nan, nan, nan)
    value = float(weighted(np.ones((1, len(groups))))[0])
    count = int(groups.max()) + 1
    if count < 2 or not math.isfinite(value):
        return Interval(nan, value, nan)
    drawn = _draw(weighted, groups, seed, draws)
    if len(drawn) < draws / 2:
        return Interval(nan, value, nan)
    spread = float(drawn.max() - drawn.min())
    if spread <= 1e-12 * max(1.0, abs(value)):
        return _certain(value, count, level) if bounded else Interval(value, value, value)
    low, high = np.quantile(drawn, _tails(drawn, value, _acceleration(weighted, groups), count, level))
    return Interval(float(min(low, value)), value, float(max(high, value)))


def _draw(weighted: Weighted, groups: NDArray[np.int64], seed: int, draws: int) -> Array:
    drawn = np.concatenate([weighted(weights) for weights in drawn_weights(groups, seed, draws)])
    finite: Array = drawn[np.isfinite(drawn)]
    return finite


def drawn_weights(groups: NDArray[np.int64], seed: int, draws: int) -> Iterator[Array]:
    """Resamplings of patients as weights of samples, in blocks [draws, samples] of bounded size.

    Args:
        groups: The number of each sample's patient, from 0, [samples].
        seed: Of the resampling.
        draws: How many in all.
    """
    count = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // max(count, len(groups)))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        chosen = generator.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        times = np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, groups].astype(np.float64)


def _tails(drawn: Array, value: float, acceleration: float, count: int, level: float) -> tuple[float, float]:
    """The quantiles of the draws that bound the interval."""
    tolerance = 1e-12 * max(1.0, abs(value))
    below = float(np.mean(drawn < value - tolerance) + 0.5 * np.mean(np.abs(drawn - value) <= tolerance))
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (len(drawn) + 1)), len(drawn) / (len(drawn) + 1)))
    reach = _student((1 - level) / 2, count - 1) * math.sqrt(count / (count - 1))
    ends = []
    for z in (-reach, reach):
        shifted = bias + z
        ends.append(_NORMAL.cdf(bias + shifted / (1 - acceleration * shifted)) if acceleration * shifted < 1 else 1.0)
    return min(ends), max(ends)


def _acceleration(weighted: Weighted, groups: NDArray[np.int64]) -> float:
    """Skewness of the statistic, from leaving out (groups of) patients in turn."""
    count = int(groups.max()) + 1
    folds = min(count, _JACKKNIFE)
    fold = np.random.default_rng(0).permutation(count) % folds if folds < count else np.arange(count)
    step = max(1, BLOCK // len(groups))
    parts = [
        weighted((np.arange(start, min(start + step, folds))[:, None] != fold[groups][None]).astype(np.float64))
        for start in range(0, folds, step)
    ]
    left = np.concatenate(parts)
    left = left[np.isfinite(left)]
    if len(left) < 2:
        return 0.0
    away = left.mean() - left
    scale = float((away**2).sum()) ** 1.5
    return float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0


def _student(tail: float, freedom: int) -> float:
    """Upper quantile of Student's t: the Cornish-Fisher series, within 1% from 4 degrees of freedom on at 95%."""
    z = -_NORMAL.inv_cdf(tail)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _certain(value: float, count: int, level: float) -> Interval:
    """All of `count` trials went one way: the exact (Clopper-Pearson) bound on the other side."""
    reach = ((1 - level) / 2) ** (1 / count)
    if value == 1:
        return Interval(reach, 1.0, 1.0)
    return Interval(0.0, 0.0, 1 - reach) if value == 0 else Interval(value, value, value)


def _swap_p(
    a: Sample, b: Sample, statistic: Metric | None, groups: NDArray[np.int64], seen: float, seed: int, draws: int
) -> float:
    """How often swapping the two runs, patient by patient, gives a difference at least as large."""
    if not len(groups) or not math.isfinite(seen):
        return float("nan")
    both = weighted_statistic([*a, *b], statistic)
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // (2 * len(groups)))
    beyond = valid = 0
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        keep = generator.integers(0, 2, (rows, int(groups.max()) + 1)).astype(np.float64)[:, groups]
        first, second = np.hstack([keep, 1 - keep]), np.hstack([1 - keep, keep])
        moved = np.abs(both(first) - both(second))
        moved = moved[np.isfinite(moved)]
        beyond += int((moved >= seen - 1e-12).sum())
        valid += len(moved)
    return (beyond + 1) / (valid + 1)


def weighted_statistic(sample: Sample, statistic: Metric | None) -> Weighted:
    """The statistic as a function of weights [draws, samples]; None for the mean."""
    if statistic is not None:
        return statistic.prepare(sample)  # type: ignore[arg-type]  # a metric is asked of rows
    values = _values(sample)
    return lambda weights: ratio(np.asarray(weights @ values), weights.sum(axis=1))


def _values(sample: Sample) -> Array:
    return np.array([item.score if isinstance(item, Row) else item for item in sample], dtype=np.float64)


def clustered(sample: Sample, clusters: Sequence[str] | None) -> NDArray[np.int64]:
    """The number of each sample's patient, from 0, [samples]; `clusters` as for `bootstrap`."""
    if clusters is None:
        clusters = [item.cluster if isinstance(item, Row) else "" for item in sample]
    if len(clusters) != len(sample):
        raise ValueError(f"{len(clusters)} clusters for {len(sample)} samples; expected one each")
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(name or ("", i), len(seen)) for i, name in enumerate(clusters)], dtype=np.int64)


def _is_binary(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
