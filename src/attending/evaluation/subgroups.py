"""Subgroups: a statistic by sex, age, scanner or hospital, and the gaps that hold up against chance and many looks.

Each group is compared with all others of its attribute. Two safeguards, both over all gaps at once (the max-T method,
Westfall and Young 1993): the intervals hold together, from resampling patients; and the p of a gap is the chance of one
so large anywhere when patients are dealt to the groups at random, which stays right for small groups that are all
correct. So where there is none, any at all is reported in fewer than one in twenty data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attending.evaluation.intervals import (
    BLOCK,
    DRAWS,
    Interval,
    Sample,
    bootstrap,
    clustered,
    drawn_weights,
    weighted_statistic,
)
from attending.evaluation.metrics.base import Array, Metric, Weighted

MIN_SAMPLES = 20
MIN_PATIENTS = 10
TOGETHER = 0.95
"""Confidence at which the intervals of all gaps hold together."""
ALPHA = 0.025
"""Largest p of a gap that is reported; half of 0.05, so that chance seldom shows more than one in twenty."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One group.

    Attributes:
        attribute: Such as `sex`.
        group: Such as `F`.
        samples: How many it has.
        patients: How many patients these are of.
        interval: The statistic with its own 95% interval; None where the group is too small to be shown.
    """

    attribute: str
    group: str
    samples: int
    patients: int
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Gap:
    """One group against the others of its attribute.

    Attributes:
        attribute: Such as `sex`.
        group: Such as `F`.
        difference: The group's value minus that of the others, with the interval that holds for all gaps together.
        p: Chance of a gap this large anywhere, were patients dealt to the groups at random.
        found: Whether the interval excludes 0 and p is at most `ALPHA`.
    """

    attribute: str
    group: str
    difference: Interval
    p: float
    found: bool


def cells(
    sample: Sample,
    attributes: Mapping[str, Sequence[str]],
    statistic: Metric | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    *,
    min_samples: int = MIN_SAMPLES,
    min_patients: int = MIN_PATIENTS,
    draws: int = DRAWS,
) -> list[Cell]:
    """The statistic in each group; arguments as for `gaps`. An empty group name is "not known", and no group."""
    patients = clustered(sample, clusters)
    listed = []
    for attribute, names in _checked(sample, attributes).items():
        for group in sorted(set(names) - {""}):
            inside = np.array([name == group for name in names])
            count, people = int(inside.sum()), len(np.unique(patients[inside]))
            interval = None
            if count >= min_samples and people >= min_patients:
                part = [item for item, kept in zip(sample, inside, strict=True) if kept]
                own = [str(number) for number in patients[inside]]
                interval = bootstrap(part, statistic, own, seed, draws=draws)
            listed.append(Cell(attribute, group, count, people, interval))
    return listed


def gaps(
    sample: Sample,
    attributes: Mapping[str, Sequence[str]],
    statistic: Metric | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    *,
    min_samples: int = MIN_SAMPLES,
    min_patients: int = MIN_PATIENTS,
    draws: int = DRAWS,
) -> list[Gap]:
    """Every shown group against the others of its attribute; of two groups only the first, as the second mirrors it.

    Args:
        sample: Rows, or numbers.
        attributes: For each attribute the group of every sample.
        statistic: A metric of rows; None for the mean.
        clusters: The patient of each sample; None: the rows' own.
        seed: Of the resampling.
        min_samples: Groups with fewer are suppressed, and leave the comparison.
        min_patients: See `min_samples`.
        draws: Resamplings.

    Raises:
        ValueError: An attribute that does not have one group name for each sample.
    """
    patients = clustered(sample, clusters)
    compared = []
    for attribute, names in _checked(sample, attributes).items():
        large = _large(np.array(names, dtype=object), patients, min_samples, min_patients)
        shown = np.isin(np.array(names, dtype=object), large)
        for group in large[:1] if len(large) == 2 else large if len(large) > 2 else []:
            inside = np.array([name == group for name in names])
            compared.append((attribute, group, inside, shown & ~inside))
    if not compared:
        return []
    weighted = weighted_statistic(sample, statistic)
    seen = _differences(weighted, np.ones((1, len(sample))), compared)[0]
    drawn = np.concatenate([_differences(weighted, w, compared) for w in drawn_weights(patients, seed, draws)])
    widths = _widths(seen, drawn, compared, patients)
    chances = _chances(seen, _dealt(weighted, compared, patients, seed, draws))
    listed = []
    for (attribute, group, _, _), value, width, p in zip(compared, seen, widths, chances, strict=True):
        interval = Interval(float(value - width), float(value), float(value + width))
        listed.append(Gap(attribute, group, interval, float(p), interval.excludes_zero and bool(p <= ALPHA)))
    return listed


Compared = list[tuple[str, str, NDArray[np.bool_], NDArray[np.bool_]]]


def _widths(seen: Array, drawn: Array, compared: Compared, patients: NDArray[np.int64]) -> Array:
    """Half the width of each gap's interval."""
    few = np.array([min(len(np.unique(patients[part])) for part in parts) for _, _, *parts in compared], dtype=float)
    spread = np.nanstd(drawn, axis=0) * np.sqrt(few / (few - 1))
    deviations = np.nanmax(_scaled(drawn - seen, spread), axis=1, initial=0.0)
    return np.asarray(np.quantile(deviations, TOGETHER) * spread)


def _chances(seen: Array, dealt: Array) -> Array:
    """For each gap, how often the largest of all gaps under random dealing is as far out."""
    spread = np.nanstd(dealt, axis=0)
    largest = np.nanmax(_scaled(dealt, spread), axis=1, initial=0.0)
    beyond = (largest[:, None] >= _scaled(seen[None], spread) - 1e-12).sum(axis=0)
    return np.asarray((1 + beyond) / (1 + len(dealt)))


def _scaled(values: Array, spread: Array) -> Array:
    """Absolute values in units of their spread; 0 where nothing varies."""
    return np.abs(np.divide(values, spread, out=np.zeros_like(values), where=spread > 0))


def _dealt(weighted: Weighted, compared: Compared, patients: NDArray[np.int64], seed: int, draws: int) -> Array:
    """The gaps when patients change places, [draws, gaps]; one in several groups counts for the commonest."""
    count = int(patients.max()) + 1
    sizes = np.bincount(patients)
    membership = [
        tuple(2 * np.bincount(patients, weights=part, minlength=count) > sizes for part in parts)
        for _, _, *parts in compared
    ]
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // max(count, len(patients)))
    blocks = []
    for start in range(0, draws, step):
        places = generator.permuted(np.tile(np.arange(count), (min(step, draws - start), 1)), axis=1)
        sides = [[weighted(member[places][:, patients].astype(np.float64)) for member in pair] for pair in membership]
        blocks.append(np.stack([inside - rest for inside, rest in sides], axis=1))
    return np.concatenate(blocks)


def _differences(weighted: Weighted, weights: Array, compared: Compared) -> Array:
    """Group minus rest for each gap, [draws, gaps]."""
    return np.stack([weighted(weights * inside) - weighted(weights * rest) for _, _, inside, rest in compared], axis=1)


def _large(names: NDArray[np.object_], patients: NDArray[np.int64], samples: int, people: int) -> list[str]:
    kept = []
    for group in sorted(set(names) - {""}):
        inside = names == group
        if inside.sum() >= samples and len(np.unique(patients[inside])) >= people:
            kept.append(str(group))
    return kept


def _checked(sample: Sample, attributes: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    for attribute, names in attributes.items():
        if len(names) != len(sample):
            raise ValueError(f"{attribute} has {len(names)} groups for {len(sample)} samples; expected one each")
    return attributes
