"""Intervals hold the truth as often as they say, know patients, and comparisons find what is there."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from attending.evaluation.intervals import bootstrap, mcnemar, over_seeds, paired
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found


def benchmark(name):
    """A file of the benchmarks as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COVERAGE = benchmark("coverage")


@pytest.mark.parametrize("truth", [0.5, 0.85, 0.95])
@pytest.mark.parametrize("patients", [30, 50, 100, 200])
def test_95_percent_intervals_hold_the_truth_of_proportions(patients, truth):
    assert 0.93 <= COVERAGE.proportion(patients, truth) <= 0.97


@pytest.mark.parametrize(
    "name",
    [
        "right or wrong, 30 patients with 1 to 5 questions, 0.5",
        "exponential, 30 patients",
        "AUROC 0.76, 60 patients",
        "difference 0.8 - 0.7, 60 patients",
    ],
)
def test_95_percent_intervals_hold_the_truth_of_some_cases(name):
    assert 0.93 <= COVERAGE.coverage(COVERAGE.PROMISED[name], 400) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERAGE.PROMISED)
def test_95_percent_intervals_hold_the_truth_in_every_case_promised(name):
    assert 0.93 <= COVERAGE.coverage(COVERAGE.PROMISED[name]) <= 0.97


def test_leaving_the_patients_out_makes_intervals_too_narrow():
    case = COVERAGE.PROMISED["right or wrong, 60 patients with 1 to 19 questions alike, 0.85"]
    alone = case._replace(draw=lambda rng: (case.draw(rng)[0], None))
    assert COVERAGE.coverage(alone, 200) < 0.85


def scored(rng, size=150):
    (rows,), _ = COVERAGE.scored(rng, size, 1.0)
    return rows


def answers(rng, size=200):
    return (rng.random(size) < 0.8).astype(float)


def test_one_answer_a_patient_gives_wilsons_interval():
    """Wilson 1927, worked by hand for 27 of 30."""
    z, p, n = 1.959963984540054, 0.9, 30
    middle, reach = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    low, value, high = bootstrap([1.0] * 27 + [0.0] * 3)
    assert value == 0.9
    assert (low, high) == pytest.approx(((middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)))


def test_patients_asked_alike_count_once():
    """Five questions to which a patient always gives one answer are as good as one, up to the resampling."""
    once = bootstrap([1.0] * 70 + [0.0] * 30)
    again = bootstrap([1.0] * 350 + [0.0] * 150, clusters=[str(i // 5) for i in range(500)])
    assert again == pytest.approx(once, abs=0.001)


def test_bounds_stay_within_what_the_statistic_can_be():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = (rng.random(12) < 0.95).astype(float)
        low, value, high = bootstrap(sample, draws=100)
        assert 0 <= low <= value <= high <= 1
        low, value, high = paired(sample, 1 - sample, draws=100).difference
        assert -1 <= low <= value <= high <= 1


def test_an_interval_of_skewed_errors_reaches_further_to_the_long_side():
    sample = np.random.default_rng(0).exponential(1, 40)
    low, value, high = bootstrap(10 * sample)
    assert high - value > 1.2 * (value - low)
    mirrored = bootstrap(-10 * sample)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((low, high), rel=1e-9)


def test_errors_in_another_unit_have_the_interval_in_that_unit():
    sample = 5 + np.random.default_rng(0).exponential(1, 40)
    assert np.array(bootstrap(1000 * sample)) == pytest.approx(1000 * np.array(bootstrap(sample)), rel=1e-9)


@pytest.mark.parametrize("huge", [1e100, 1e200])
def test_one_absurd_number_among_the_answers_breaks_nothing(huge):
    found = bootstrap(np.array([1.0, 2.0, 3.0, 4.0, huge]))
    assert found.value == pytest.approx(huge / 5)
    assert found.low <= found.value <= found.high
    assert np.isfinite([found.low, found.high]).all()


def test_two_runs_that_never_differ_could_still_do_so_unseen():
    """Of 20 patients none differs: a share of 0.168 could have stayed unseen in one time of 40."""
    same = [1.0, 0.0] * 10
    low, value, high = paired(same, same).difference
    assert (low, value, high) == pytest.approx((0.025 ** (1 / 20) - 1, 0, 1 - 0.025 ** (1 / 20)))
    assert paired([3.0, 50.0] * 10, [3.0, 50.0] * 10).difference == (0, 0, 0)  # errors have no such bound


def test_a_perfect_sensitivity_is_as_sure_as_there_are_patients_with_a_positive():
    rows = [Row(found(i < 10), i < 10, 1.0, cluster=str(i)) for i in range(100)]
    assert bootstrap(rows, METRICS["sensitivity"]).low == pytest.approx(0.025 ** (1 / 10))
    assert bootstrap(rows, METRICS["specificity"]).low == pytest.approx(0.025 ** (1 / 90))


def test_a_perfect_auroc_is_as_sure_as_the_rarer_class_has_patients():
    rows = [Row(found(True), i < 8, probability=0.9 if i < 8 else 0.1, cluster=str(i)) for i in range(100)]
    assert bootstrap(rows, METRICS["auroc"]) == pytest.approx((0.025 ** (1 / 8), 1, 1))
    assert bootstrap(rows[::-1], METRICS["auroc"]) == pytest.approx((0.025 ** (1 / 8), 1, 1))


def test_numbers_that_are_no_numbers_give_no_bounds():
    low, value, high = bootstrap([1.0, float("nan"), 0.5] * 10)
    assert all(math.isnan(one) for one in (low, value, high))


def test_the_same_seed_gives_the_same_interval():
    sample, clusters = answers(np.random.default_rng(0)), [str(i // 3) for i in range(200)]
    one, again, other = (bootstrap(sample, clusters=clusters, seed=seed) for seed in (3, 3, 4))
    assert one == again != other
    assert one == pytest.approx(other, abs=0.01)


def test_an_interval_holds_its_value_and_a_wider_level_is_wider():
    sample = answers(np.random.default_rng(0))
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
    rows = scored(rng, 300)
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
