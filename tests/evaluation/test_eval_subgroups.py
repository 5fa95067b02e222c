"""Subgroups: a planted gap is found, chance is not reported, small cells are not shown."""

import numpy as np
import pytest

from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found
from attending.evaluation.subgroups import cells, gaps


def data(seed, size=1000, gap=0.0):
    rng = np.random.default_rng(seed)
    sex, site = rng.choice(["F", "M"], size), rng.choice(["x", "y", "z"], size)
    right = (rng.random(size) < np.where(sex == "F", 0.85 - gap, 0.85)).astype(float)
    return right, {"sex": list(sex), "hospital": list(site)}


def test_a_planted_gap_of_ten_points_is_found_and_named():
    for seed in range(5):
        listed = gaps(*data(seed, gap=0.1), draws=400)
        (sex,) = [gap for gap in listed if gap.attribute == "sex"]
        assert sex.found
        assert sex.group == "F"
        assert sex.difference.low < sex.difference.value < sex.difference.high < 0
        assert [gap.attribute for gap in listed] == ["sex", "hospital", "hospital", "hospital"]


def test_chance_is_reported_in_at_most_one_in_twenty_of_200_data_sets():
    reported = sum(any(gap.found for gap in gaps(*data(seed, size=240), draws=200)) for seed in range(200))
    assert reported <= 10


@pytest.mark.slow
@pytest.mark.parametrize("size", [120, 600])
@pytest.mark.parametrize("repeats", [1, 3])
def test_chance_with_few_patients_and_with_several_samples_each(size, repeats):
    reported = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        ease = np.clip(0.9 + rng.normal(0, 0.1, size), 0, 1)
        right = (rng.random((size, repeats)) < ease[:, None]).astype(float).ravel()
        names = {"age": list(np.repeat(rng.choice(["a", "b", "c", "d"], size), repeats))}
        who = list(np.repeat([str(number) for number in range(size)], repeats))
        reported += any(gap.found for gap in gaps(right, names, clusters=who, seed=seed, draws=250))
    assert reported <= 10


def test_small_cells_are_suppressed_and_unknown_is_no_group():
    right = np.ones(103)
    names = {"sex": ["F"] * 50 + ["M"] * 40 + ["X"] * 5 + [""] * 8}
    shown = {cell.group: cell for cell in cells(right, names)}
    assert list(shown) == ["F", "M", "X"]
    assert shown["X"].interval is None
    assert (shown["X"].samples, shown["F"].samples) == (5, 50)
    assert shown["F"].interval.value == 1
    assert [gap.group for gap in gaps(right, names)] == ["F"]


def test_many_samples_of_few_patients_are_a_small_cell():
    right, names = np.ones(200), {"sex": ["F"] * 100 + ["M"] * 100}
    who = ["only"] * 100 + [str(number) for number in range(100)]
    assert cells(right, names, clusters=who)[0].interval is None
    assert gaps(right, names, clusters=who) == []


def test_small_groups_that_are_all_right_are_no_finding():
    right = np.array([1.0] * 20 + [1.0, 0.0, 1.0, 1.0, 1.0] * 8)
    assert not gaps(right, {"sex": ["F"] * 20 + ["M"] * 40})[0].found


def test_gaps_of_metrics_that_are_no_means():
    rng = np.random.default_rng(0)
    true = rng.random(600) < 0.5
    women = rng.random(600) < 0.5
    said = np.where(women, rng.random(600), true * 0.5 + 0.5 * rng.random(600))
    rows = [Row(found(True), bool(t), probability=float(p)) for t, p in zip(true, said, strict=True)]
    (gap,) = gaps(rows, {"sex": list(np.where(women, "F", "M"))}, METRICS["auroc"], draws=300)
    assert gap.found
    assert gap.difference.value < -0.3


def test_no_attribute_and_wrong_lengths():
    assert gaps([1.0, 0.0], {}) == []
    with pytest.raises(ValueError, match="sex has 1 groups for 2 samples"):
        gaps([1.0, 0.0], {"sex": ["F"]})
