"""How often 95% intervals hold the truth, on simulated data whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py
    OMP_NUM_THREADS=1 python benchmarks/coverage.py --sets 500 --case "macro F1"

Each case makes that many data sets (2,000), takes the interval of each, and counts those that hold the truth; with
2,000 the count itself is sure to about 0.01. Proportions with one answer a patient are not sampled: every possible
number of right answers is taken and weighed by its chance. `PROMISED` cases are to be within 0.93 and 0.97; `HARD` ones
show where that ends.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from attending.evaluation.intervals import bootstrap, paired
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found

DRAWS = 200
"""Resamplings of each data set: they give its standard error to 5%, which moves the coverage by about 0.001."""


class Case(NamedTuple):
    """What is drawn: (generator) to samples (two for a comparison), patients, and what the interval should hold."""

    draw: Callable[[np.random.Generator], tuple[list[Any], list[str] | None]]
    truth: float
    metric: str = ""


def coverage(case: Case, sets: int = 2000) -> float:
    """Share of the data sets whose interval holds the truth."""
    metric = METRICS[case.metric] if case.metric else None
    held = 0
    for seed in range(sets):
        samples, clusters = case.draw(np.random.default_rng(seed))
        if len(samples) == 2:
            low, _, high = paired(*samples, metric, clusters, seed, draws=DRAWS).difference
        else:
            low, _, high = bootstrap(samples[0], metric, clusters, seed, draws=DRAWS)
        held += bool(low <= case.truth <= high)
    return held / sets


def proportion(patients: int, truth: float) -> float:
    """Coverage of a proportion with one answer a patient, exactly: over all numbers of right answers."""
    chances = stats.binom.pmf(np.arange(patients + 1), patients, truth)
    held = 0.0
    for right in np.flatnonzero(chances > 1e-9):
        sample = np.arange(patients) < right
        low, _, high = bootstrap(sample.astype(float), draws=20)
        held += chances[right] * (low <= truth <= high)
    return float(held)


def _sizes(rng: np.random.Generator, patients: int, most: int) -> tuple[np.ndarray, list[str]]:
    """The patient of each sample, 1 to `most` samples each, as numbers and as names."""
    who = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    return who, [str(one) for one in who]


def clustered(rng: np.random.Generator, patients: int, truth: float, alike: float, most: int = 5) -> Any:
    """Right or wrong, several questions a patient, whose answers have an intra-patient correlation of `alike`."""
    who, names = _sizes(rng, patients, most)
    ease = rng.beta(truth * (1 - alike) / alike, (1 - truth) * (1 - alike) / alike, patients)
    return [(rng.random(len(who)) < ease[who]).astype(float)], names


def skewed(rng: np.random.Generator, patients: int, kind: str) -> Any:
    """Errors with mean 1, one a patient."""
    drawn = {
        "normal": lambda: rng.normal(1, 1, patients),
        "exponential": lambda: rng.exponential(1, patients),
        "lognormal": lambda: rng.lognormal(-0.245, 0.7, patients),
        "heavy": lambda: rng.lognormal(-0.5, 1, patients),
        "mostly none": lambda: rng.exponential(2.5, patients) * (rng.random(patients) < 0.4),
        "counts": lambda: 2.0 * rng.poisson(0.5, patients),
    }[kind]()
    return [drawn], None


def patients_errors(rng: np.random.Generator, patients: int) -> Any:
    """Errors with mean 1, one to four a patient, some patients harder than others."""
    who, names = _sizes(rng, patients, 4)
    return [rng.exponential(1, len(who)) * rng.gamma(2, 0.5, patients)[who]], names


def scored(rng: np.random.Generator, patients: int, apart: float, runs: int = 1) -> Any:
    """A probability for each of 40% yes and 60% no, normal on some scale, with means `apart`."""
    true = rng.random(patients) < 0.4
    case = rng.normal(size=patients)
    said = [stats.norm.cdf(np.sqrt(0.5) * (case + rng.normal(size=patients)) + apart * true) for _ in range(runs)]
    return [
        [Row(found(True), bool(t), probability=float(p)) for t, p in zip(true, one, strict=True)] for one in said
    ], None


def judged(rng: np.random.Generator, patients: int, yes: float = 0.3, right: float = 0.8) -> Any:
    """Yes or no, right with the same chance for both."""
    true = rng.random(patients) < yes
    said = np.where(rng.random(patients) < right, true, ~true)
    return [[Row(found(bool(s)), bool(t), float(s == t)) for t, s in zip(true, said, strict=True)]], None


def two_runs(rng: np.random.Generator, patients: int, first: float, second: float, most: int = 1) -> Any:
    """Two runs right in `first` and `second`, mostly on the same questions."""
    who, names = _sizes(rng, patients, most)
    case = np.sqrt(0.3) * rng.normal(size=patients)[who] + np.sqrt(0.7) * rng.normal(size=len(who))
    runs = [np.sqrt(0.7) * case + np.sqrt(0.3) * rng.normal(size=len(who)) < stats.norm.ppf(p) for p in (first, second)]
    return [run.astype(float) for run in runs], names


def two_errors(rng: np.random.Generator, patients: int) -> Any:
    """Errors of two runs, the first larger by 0.5 on average."""
    shared = rng.exponential(1, patients)
    return [2 + shared + rng.exponential(1, patients), 2 + shared + rng.exponential(0.5, patients)], None


def _f1(yes: float, right: float) -> float:
    return 2 * yes * right / (yes + yes * right + (1 - yes) * (1 - right))


PROPORTIONS = [(patients, truth) for truth in (0.5, 0.85, 0.95) for patients in (30, 50, 100, 200, 600)]
PROMISED = {
    "right or wrong, 30 patients with 1 to 5 questions, 0.5": Case(
        partial(clustered, patients=30, truth=0.5, alike=0.5), 0.5
    ),
    "right or wrong, 40 patients with 1 to 5 questions, 0.85": Case(
        partial(clustered, patients=40, truth=0.85, alike=0.5), 0.85
    ),
    "right or wrong, 100 patients with 1 to 5 questions, 0.95": Case(
        partial(clustered, patients=100, truth=0.95, alike=0.5), 0.95
    ),
    "right or wrong, 60 patients with 1 to 19 questions alike, 0.85": Case(
        partial(clustered, patients=60, truth=0.85, alike=0.8, most=19), 0.85
    ),
    **{
        f"{kind}, {patients} patients": Case(partial(skewed, patients=patients, kind=kind), 1.0)
        for kind, patients in (("normal", 20), ("exponential", 30), ("exponential", 100), ("lognormal", 50),
                               ("mostly none", 60), ("counts", 50))
    },
    "exponential, 30 patients with 1 to 4": Case(partial(patients_errors, patients=30), 1.0),
    "F1, 60 patients": Case(partial(judged, patients=60), _f1(0.3, 0.8), "f1"),
    "macro F1, 60 patients": Case(
        partial(judged, patients=60), (_f1(0.3, 0.8) + _f1(0.7, 0.8)) / 2, "macro_f1"
    ),
    "macro F1, 200 patients": Case(
        partial(judged, patients=200, right=0.9), (_f1(0.3, 0.9) + _f1(0.7, 0.9)) / 2, "macro_f1"
    ),
    "balanced accuracy, 100 patients": Case(partial(judged, patients=100), 0.8, "balanced_accuracy"),
    "sensitivity, 100 patients": Case(partial(judged, patients=100), 0.8, "sensitivity"),
    "AUROC 0.76, 60 patients": Case(partial(scored, patients=60, apart=1.0), 0.76025, "auroc"),
    "AUROC 0.92, 100 patients": Case(
        partial(scored, patients=100, apart=2.0), float(stats.norm.cdf(np.sqrt(2))), "auroc"
    ),
    "difference 0.8 - 0.7, 60 patients": Case(partial(two_runs, patients=60, first=0.8, second=0.7), 0.1),
    "difference 0.95 - 0.9, 200 patients": Case(partial(two_runs, patients=200, first=0.95, second=0.9), 0.05),
    "difference 0.8 - 0.8, 60 patients with 1 to 5": Case(
        partial(two_runs, patients=60, first=0.8, second=0.8, most=5), 0.0
    ),
    "difference of AUROC, 100 patients": Case(partial(scored, patients=100, apart=1.0, runs=2), 0.0, "auroc"),
    "difference of errors, 50 patients": Case(partial(two_errors, patients=50), 0.5),
}  # fmt: skip
HARD = {
    "right or wrong, 30 patients with 1 to 5 questions, 0.95": Case(
        partial(clustered, patients=30, truth=0.95, alike=0.5), 0.95
    ),
    "right or wrong, 30 patients with 1 to 19 questions alike, 0.95": Case(
        partial(clustered, patients=30, truth=0.95, alike=0.8, most=19), 0.95
    ),
    "mostly none, 30 patients": Case(partial(skewed, patients=30, kind="mostly none"), 1.0),
    "heavy tail (lognormal 1), 30 patients": Case(partial(skewed, patients=30, kind="heavy"), 1.0),
    "difference 0.95 - 0.9, 30 patients": Case(partial(two_runs, patients=30, first=0.95, second=0.9), 0.05),
    "macro F1, 30 patients, a tenth yes": Case(
        partial(judged, patients=30, yes=0.1), (_f1(0.1, 0.8) + _f1(0.9, 0.8)) / 2, "macro_f1"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--case", default="", help="only cases whose name begins so")
    options = parser.parse_args()
    small = [(60, 0.95), *((patients, truth) for truth in (0.85, 0.95, 0.98) for patients in (10, 20))]
    for patients, truth in [*PROPORTIONS, *small] if "proportion".startswith(options.case) else ():
        hard = "" if (patients, truth) in PROPORTIONS else ", not promised"
        print(f"{proportion(patients, truth):.3f}  proportion {truth}, {patients} patients (exact{hard})", flush=True)
    for name, case in (PROMISED | HARD).items():
        if name.startswith(options.case):
            hard = "  (not promised)" if name in HARD else ""
            print(f"{coverage(case, options.sets):.3f}  {name}{hard}", flush=True)


if __name__ == "__main__":
    main()
