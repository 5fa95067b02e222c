"""Intervals hold the truth as often as they say, know patients, and comparisons find what is there."""

import math

import numpy as np
import pytest

from attending.evaluation.intervals import bootstrap, mcnemar, over_seeds, paired
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found


def coverage(draw, truth, metric=None, runs=400, draws=400):
    held = 0
    for seed in range(runs):
        sample, clusters = draw(np.random.default_rng(seed))
        low, _, high = bootstrap(sample, metric, clusters, seed, draws=draws)
        held += low <= truth <= high
    return held / runs


def answers(rng, size=200):
    return (rng.random(size) < 0.8).astype(float), None


def patients(rng, size=100):
    """One to five answers a patient; patients differ by more than chance. The mean answer is right in 0.7."""
    counts = rng.integers(1, 6, size)
    who = np.repeat(np.arange(size), counts)
    ease = 0.7 + 0.25 * rng.choice([-1, 1], size)
    return (rng.random(len(who)) < ease[who]).astype(float), [str(number) for number in who]


def test_95_percent_intervals_hold_the_truth_of_proportions():
    assert 0.93 <= coverage(answers, 0.8) <= 0.97


def test_95_percent_intervals_hold_the_truth_when_patients_cluster():
    assert 0.93 <= coverage(patients, 0.7) <= 0.97


def test_leaving_the_patients_out_makes_intervals_too_narrow():
    assert coverage(lambda rng: (patients(rng)[0], None), 0.7) < 0.90


def scored(rng, size=150):
    true = rng.random(size) < 0.4
    said = 1 / (1 + np.exp(-rng.normal(true, 1)))
    return [Row(found(True), bool(t), probability=float(p)) for t, p in zip(true, said, strict=True)], None


def judged(rng, size=150):
    true = rng.random(size) < 0.3
    said = np.where(rng.random(size) < 0.8, true, ~true)
    return [Row(found(bool(s)), bool(t)) for t, s in zip(true, said, strict=True)], None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "truth", "metric"),
    [
        (answers, 0.8, None),
        (patients, 0.7, None),
        (lambda rng: answers(rng, 60), 0.8, None),
        (lambda rng: (rng.normal(0, 1, 20), None), 0, None),
        (scored, 0.76025, "auroc"),
        (judged, 2 * 0.24 / (0.3 + 0.24 + 0.14), "f1"),
    ],
)
def test_coverage_over_a_thousand_data_sets(draw, truth, metric):
    assert 0.93 <= coverage(draw, truth, metric and METRICS[metric], runs=1000, draws=1000) <= 0.975


def test_the_same_seed_gives_the_same_interval():
    sample = answers(np.random.default_rng(0))[0]
    assert bootstrap(sample, seed=3) == bootstrap(sample, seed=3) != bootstrap(sample, seed=4)


def test_an_interval_holds_its_value_and_a_wider_level_is_wider():
    sample = answers(np.random.default_rng(0))[0]
    narrow, wide = bootstrap(sample, level=0.8), bootstrap(sample, level=0.99)
    assert wide.low < narrow.low < narrow.value == sample.mean() < narrow.high < wide.high


def test_all_right_is_not_certain():
    """Of 20 patients all right: the exact bound is 0.025 to the power of 1/20."""
    assert bootstrap([1.0] * 20) == pytest.approx((0.025 ** (1 / 20), 1, 1))
    assert bootstrap([0.0] * 20) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))
    assert bootstrap([1.0] * 40, clusters=["a", "b"] * 20).low == pytest.approx(0.025**0.5)


def test_too_little_to_tell_gives_nan_bounds():
    for sample, clusters in (([], None), ([1.0], None), ([1.0, 0.0], ["a", "a"])):
        low, _, high = bootstrap(sample, clusters=clusters)
        assert math.isnan(low)
        assert math.isnan(high)
    with pytest.raises(ValueError, match="1 clusters for 2 samples"):
        bootstrap([1.0, 0.0], clusters=["a"])


def test_rows_bring_their_patients():
    rows = [Row(found(True), True, score=float(i % 2), cluster=str(i // 4)) for i in range(40)]
    named = bootstrap([row.score for row in rows], clusters=[row.cluster for row in rows])
    assert bootstrap(rows) == named != bootstrap([row.score for row in rows])


def test_a_planted_difference_is_found_and_its_sign_is_a_minus_b():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    better, worse = (hard < 0.8).astype(float), (hard < 0.7).astype(float)
    found_ = paired(better, worse)
    assert found_.difference.excludes_zero
    assert found_.difference.value == pytest.approx(better.mean() - worse.mean())
    assert found_.p < 0.01
    assert found_.mcnemar < 0.01
    assert (found_.only_a, found_.only_b) == (int((better > worse).sum()), 0)
    assert paired(worse, better).difference.value == -found_.difference.value


def test_no_difference_is_seldom_called_one():
    called = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a, b = ((rng.random(80) < 0.7).astype(float) for _ in range(2))
        called += paired(a, b, seed=seed, draws=300).p < 0.05
    assert called <= 10


def test_metrics_that_are_no_means_are_compared_too():
    rng = np.random.default_rng(1)
    rows, _ = scored(rng, 300)
    noise = [
        Row(row.prediction, row.reference, probability=float(p)) for row, p in zip(rows, rng.random(300), strict=True)
    ]
    assert paired(rows, noise, METRICS["auroc"]).difference.low > 0
    assert paired(rows, rows, METRICS["auroc"]).p == 1


def test_mcnemar_by_hand_and_only_where_it_holds():
    assert mcnemar(10, 0) == pytest.approx(2 / 2**10)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1
    assert mcnemar(5000, 5200) == pytest.approx(0.0487, abs=1e-3)
    assert paired([1.0, 0.0] * 9, [0.0, 0.0] * 9, clusters=["a", "b"] * 9).mcnemar is None
    assert paired([0.5, 0.0] * 9, [0.0, 0.0] * 9).mcnemar is None
    with pytest.raises(ValueError, match="same samples"):
        paired([1.0], [1.0, 0.0])


def test_several_seeds_give_their_mean_and_spread():
    rng = np.random.default_rng(0)
    runs = [(rng.random(200) < rate).astype(float) for rate in (0.7, 0.8, 0.9)]
    told = over_seeds(runs)
    assert told.values == tuple(run.mean() for run in runs)
    assert told.mean.value == pytest.approx(np.mean(told.values))
    assert told.spread == pytest.approx(np.std(told.values, ddof=1))
    assert told.mean.low < told.mean.value < told.mean.high
    assert math.isnan(over_seeds(runs[:1]).spread)
    with pytest.raises(ValueError, match="equal length"):
        over_seeds([[1.0], [1.0, 0.0]])
