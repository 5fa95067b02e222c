"""Intervals: bootstrap over patients, paired comparison of two runs, several seeds.

Samples of one patient are not independent, so patients are resampled, not samples. The spread of the resamplings is the
standard error. What is read off it depends on what the statistic can be:

- between 0 and 1: Wilson's score interval for as many trials as would give that standard error (Kott and Carr 1997; for
  AUROC Kottas, Kuss and Zapf 2014); exact where all patients agree (Clopper and Pearson);
- a difference of two of these: Student's;
- unbounded: Hall's cubic transformation, which takes the skewness out (Hall 1992).

The quantile is Student's t with as many degrees of freedom as the standard error itself has: few where few patients
bear all of the spread (from the kurtosis, as Satterthwaite 1946). Skewness and kurtosis come from leaving each patient
out.
`benchmarks/evaluation.py --coverage` measures how often the intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
_JACKKNIFE = 1000
"""Most groups of patients left out in turn."""
_SAME = 1e-9
"""Relative difference from which two spreads are two."""

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
    bounds are NaN. Where all patients agree on 0 or 1 and these are the limits of the statistic, the open bound is the
    exact binomial one for as many trials as there are patients of whom the statistic speaks.
    """
    weighted = weighted_statistic(sample, statistic)
    groups = clustered(sample, clusters)
    form = _share if _bounded(sample, statistic) else _skewed
    return _interval(weighted, groups, seed, draws, level, form)


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
    form = _difference if _bounded(a, statistic) and _bounded(b, statistic) else _skewed
    difference = _interval(lambda weights: of_a(weights) - of_b(weights), groups, seed, draws, level, form)
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
        _share if all(_bounded(run, statistic) for run in runs) else _skewed,
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


class _Spread(NamedTuple):
    """How a statistic varies between patients.

    Attributes:
        value: Of the whole sample.
        error: Standard error, from resampling.
        away: What each patient (or group of them) adds to the value, times their number; mean about 0, [units].
        trials: Patients of whom the statistic speaks.
        tail: Chance left out on each side.
    """

    value: float
    error: float
    away: Array
    trials: int
    tail: float

    @property
    def quantile(self) -> float:
        """Of Student's t with the degrees of freedom of the standard error."""
        from scipy.special import stdtrit

        squares = _unit(self.away) ** 2
        tailed = len(self.away) * float((squares**2).sum()) / float(squares.sum()) ** 2
        freedom = min(len(self.away) - 1.0, 2 + 2 * len(self.away) / max(tailed - 1, 1e-9))
        return float(stdtrit(freedom, 1 - self.tail))


def _unit(values: Array) -> Array:
    """The values over the largest of them: their powers then fit, whatever number a model said."""
    return values / (np.abs(values).max() or 1.0)


Form = Callable[[_Spread], tuple[float, float]]


def _interval(
    weighted: Weighted, groups: NDArray[np.int64], seed: int, draws: int, level: float, form: Form
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
    error, away = float(np.abs(drawn).max() * _unit(drawn).std()), np.zeros(0)
    if float(np.ptp(drawn)) > 1e-12 * max(1.0, abs(value)):
        away = _away(weighted, groups)
    if not away.any():
        error = 0.0
    trials = count if error else _spoken_of(weighted, groups)
    low, high = form(_Spread(value, error, away, trials, (1 - level) / 2))
    return Interval(min(low, value), value, max(high, value))


def _share(of: _Spread) -> tuple[float, float]:
    """Wilson's score interval."""
    value, all_agree = of.value, of.tail ** (1 / max(1, of.trials))
    if not of.error or not 0 < value < 1:
        return (all_agree if value == 1 else value), (1 - all_agree if value == 0 else value)
    count, spread = len(of.away), float((of.away**2).mean())
    if abs(spread / (value * (1 - value)) - 1) < _SAME:  # one yes or no a patient: the spread follows from the value
        trials, z = float(count), NormalDist().inv_cdf(1 - of.tail)
    else:
        trials, z = value * (1 - value) / of.error**2, of.quantile
    middle = (value + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z * math.sqrt(value * (1 - value) / trials + (z / (2 * trials)) ** 2) / (1 + z**2 / trials)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _difference(of: _Spread) -> tuple[float, float]:
    """Student's interval; where no patient differs, as many as could have stayed unseen."""
    reach = of.quantile * of.error if of.error else 1 - of.tail ** (1 / max(1, of.trials))
    return max(-1.0, of.value - reach), min(1.0, of.value + reach)


def _skewed(of: _Spread) -> tuple[float, float]:
    """Hall's interval: Student's where nothing is skewed."""
    if not of.error:
        return of.value, of.value
    away = _unit(of.away)
    skew = float((away**3).mean() / (away**2).mean() ** 1.5) / math.sqrt(len(away))

    def plain(quantile: float) -> float:
        """The studentised value whose transformed one is `quantile`."""
        shifted = quantile - skew / 6
        return shifted if abs(skew) < _SAME else 3 * (float(np.cbrt(1 + skew * shifted)) - 1) / skew

    quantile = of.quantile
    return of.value - of.error * plain(quantile), of.value - of.error * plain(-quantile)


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


def _away(weighted: Weighted, groups: NDArray[np.int64]) -> Array:
    """What each patient adds, by leaving them out in turn; patients in groups where there are many, [units]."""
    count = int(groups.max()) + 1
    folds = min(count, _JACKKNIFE)
    fold = np.random.default_rng(0).permutation(count) % folds if folds < count else np.arange(count)
    left = _each(lambda units: weighted((units[:, None] != fold[groups][None]).astype(np.float64)), folds, len(groups))
    left = left[np.isfinite(left)]
    away: Array = (len(left) - 1) * (left.mean() - left) if len(left) else left
    return away if np.abs(away).max(initial=0.0) > 1e-12 else np.zeros(0)


def _spoken_of(weighted: Weighted, groups: NDArray[np.int64]) -> int:
    """Patients from whom alone the statistic is defined: those with a positive, for a sensitivity.

    Where it is of none alone, as AUROC, which needs a yes and a no: the fewer of those like the first and those unlike.
    """
    count = int(groups.max()) + 1
    looked = min(count, _JACKKNIFE)

    def defined(first: float) -> float:
        """Share of the patients with whom it is, beside `first` times the first one."""
        beside = first * (groups == 0)
        found = _each(lambda units: weighted((units[:, None] == groups[None]) + beside[None]), looked, len(groups))
        return float(np.isfinite(found).mean())

    alone = defined(0.0)
    unlike = 0.0 if alone else defined(1.0)
    return round(count * (alone or min(unlike, 1 - unlike)))


def _each(value: Callable[[NDArray[np.int64]], Array], units: int, samples: int) -> Array:
    """A function of the numbers of units, in blocks of bounded size, [units]."""
    step = max(1, BLOCK // samples)
    return np.concatenate([value(np.arange(start, min(start + step, units))) for start in range(0, units, step)])


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


def _bounded(sample: Sample, statistic: Metric | None) -> bool:
    """Whether the statistic lies between 0 and 1: a metric says so, a mean of numbers does when all of them do."""
    if statistic is not None:
        return statistic.bounded
    values = _values(sample)
    return bool(((values >= 0) & (values <= 1)).all())


def _is_binary(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
