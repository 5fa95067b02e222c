"""Class, number, box and mask metrics against scikit-learn, MONAI and hand-computed values; invalid answers stay in."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk

from attending.evaluation.metrics import METRICS, SCORERS, Row, confusion, dice, hausdorff, iou, reliability
from attending.evaluation.parse import found, invalid

RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 2, 300).astype(bool)
PROBABILITY = np.round(np.clip(TRUE * 0.3 + RNG.random(300) * 0.7, 0, 1), 2)
SAID = PROBABILITY > 0.5
BINARY = [Row(found(bool(s)), bool(t), probability=float(p)) for s, t, p in zip(SAID, TRUE, PROBABILITY, strict=True)]
CLASS = RNG.integers(0, 5, 300)
GIVEN = np.where(RNG.random(300) < 0.5, CLASS, RNG.integers(0, 6, 300))
SEVERAL = [Row(found(str(g)), str(t)) for g, t in zip(GIVEN, CLASS, strict=True)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", sk.accuracy_score(TRUE, SAID)),
        ("balanced_accuracy", sk.balanced_accuracy_score(TRUE, SAID)),
        ("f1", sk.f1_score(TRUE, SAID)),
        ("precision", sk.precision_score(TRUE, SAID)),
        ("sensitivity", sk.recall_score(TRUE, SAID)),
        ("specificity", sk.recall_score(~TRUE, ~SAID)),
        ("macro_f1", sk.f1_score(TRUE, SAID, average="macro")),
        ("auroc", sk.roc_auc_score(TRUE, PROBABILITY)),
        ("brier", sk.brier_score_loss(TRUE, PROBABILITY)),
    ],
)
def test_binary_metrics_are_those_of_scikit_learn(name, expected):
    assert METRICS[name](BINARY) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_over_several_classes_is_that_of_scikit_learn(average):
    assert METRICS[f"{average}_f1"](SEVERAL) == pytest.approx(sk.f1_score(CLASS, GIVEN, average=average), abs=1e-12)


def test_confusion_is_that_of_scikit_learn():
    truths, given, counts = confusion(SEVERAL)
    assert (truths, given) == (list("01234"), list("012345"))
    assert (counts == sk.confusion_matrix(CLASS, GIVEN)[:5]).all()


@pytest.mark.parametrize(
    "name", ["accuracy", "balanced_accuracy", "f1", "macro_f1", "micro_f1", "auroc", "ece", "brier"]
)
def test_counting_a_sample_twice_is_having_it_twice(name):
    """Weights are repetitions: what resampling rests on."""
    times = RNG.integers(0, 4, 300)
    repeated = [row for row, n in zip(BINARY, times, strict=True) for _ in range(n)]
    weighted = METRICS[name].prepare(BINARY)(times[None].astype(float))[0]
    assert weighted == pytest.approx(METRICS[name](repeated), abs=1e-12)


def test_an_invalid_answer_is_wrong_for_every_class_metric():
    rows = [
        Row(found(True), True),
        Row(found(False), False),
        Row(invalid("refusal"), True),
        Row(invalid("both"), False),
    ]
    assert METRICS["accuracy"](rows) == METRICS["balanced_accuracy"](rows) == 0.5
    assert METRICS["sensitivity"](rows) == METRICS["specificity"](rows) == METRICS["invalid_rate"](rows) == 0.5
    assert METRICS["precision"](rows) == 1
    assert METRICS["f1"](rows) == pytest.approx(2 / 3)
    assert METRICS["micro_f1"](rows) == pytest.approx(2 * 2 / (4 + 2))
    assert confusion(rows)[1:][0][-1] == "(invalid)"
    assert confusion(rows)[2].sum() == 4


def test_what_is_not_defined_is_nan_and_never_a_number():
    same = [Row(found(True), True, probability=0.5)] * 3
    assert math.isnan(METRICS["auroc"](same))
    assert all(math.isnan(metric([])) for metric in METRICS.values())


def test_pairs_are_right_only_together():
    right, wrong = found("A"), found("B")
    rows = [
        Row(right, "A", group="1"),
        Row(right, "A", group="1"),
        Row(right, "A", group="2"),
        Row(wrong, "A", group="2"),
    ]
    assert METRICS["set_accuracy"](rows) == 0.5
    assert METRICS["set_accuracy"]([*rows, Row(right, "A"), Row(right, "A")]) == 0.75


def test_reliability_bins_and_their_error_by_hand():
    rows = [Row(found(True), t, probability=p) for p, t in [(0.95, True), (0.95, False), (0.05, False), (0.0, False)]]
    rows.append(Row(found(True), True))  # without a probability: in no bin
    bins = reliability(rows)
    assert [b.samples for b in bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (bins[-1].probability, bins[-1].rate) == (0.95, 0.5)
    assert METRICS["ece"](rows) == pytest.approx(0.5 * 0.025 + 0.5 * 0.45)


def test_errors_count_failures_as_the_answer_zero():
    rows = [Row(found(12.0), 10.0), Row(invalid("refusal"), 20.0), Row(found(0.0), 0.0)]
    assert METRICS["mae"](rows) == pytest.approx((2 + 20 + 0) / 3)
    assert METRICS["mre"](rows) == pytest.approx((0.2 + 1) / 2)  # a reference of 0 has no relative error
    assert METRICS["mae_answered"](rows) == pytest.approx(1)
    assert METRICS["mre_answered"](rows) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "value", "reference", "score"),
    [
        ("exact_match", True, True, 1),
        ("exact_match", True, 1, 0),
        ("exact_match", 3.0, 3, 1),
        ("exact_match", ("a",), ["a"], 1),
        ("normalised_match", "The left  lung.", "left lung", 1),
        ("normalised_match", "abnormal", "normal", 0),
        ("normalised_match", "1.5 cm", "15 cm", 0),
        ("token_recall", "lung lung lung", "left lung", 0.5),
        ("token_precision", "lung lung lung", "left lung", 1 / 3),
        ("token_f1", "lung lung lung", "left lung", 0.4),
        ("token_f1", "", "left", 0),
        ("within_10_percent", 11.0, 10.0, 1),
        ("within_10_percent", 11.1, 10.0, 0),
        ("set_f1", ("edema", "the mass"), ["Mass", "effusion"], 0.5),
        ("set_exact", ("b", "c"), ["c", "b"], 1),
        ("set_f1", (), [], 1),
        ("box_iou", ((0, 0, 1, 1),), [(0, 0, 0.5, 1)], 0.5),
        ("box_iou", ((0, 0, 1, 1), (0, 0, 0.1, 0.1)), [(0, 0, 1, 1)], 0.5),
        ("box_hit", ((0, 0, 1, 1),), [(0, 0, 0.4, 1)], 0),
        ("box_iou", (), [], 1),
    ],
)
def test_scorers_by_hand(name, value, reference, score):
    assert SCORERS[name](found(value), reference) == pytest.approx(score)


@pytest.mark.parametrize("name", SCORERS)
def test_an_invalid_answer_scores_nothing(name):
    references = {"dice": np.ones(3), "within_10_percent": 1.0, "within_20_percent": 1.0}
    boxed = [(0, 0, 1, 1)] if name.startswith("box") else "edema"
    assert SCORERS[name](invalid("refusal"), references.get(name, boxed)) == 0


def test_iou_by_hand():
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call of itself
@pytest.mark.parametrize("shape", [(20, 21), (9, 10, 11)])
def test_dice_and_hausdorff_are_those_of_monai(shape):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(1)
    for _ in range(10):
        ours, theirs = (rng.random(shape) < 0.1 for _ in range(2))
        spacing = tuple(rng.uniform(0.5, 3, len(shape)))
        a, b = (torch.tensor(mask)[None, None] for mask in (ours, theirs))
        expected = monai.compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=spacing)
        assert hausdorff(ours, theirs, spacing) == pytest.approx(expected.item(), abs=1e-4)
        assert dice(ours, theirs) == pytest.approx(monai.compute_dice(a, b).item(), abs=1e-6)


def test_empty_masks_and_wrong_shapes():
    empty, full = np.zeros((4, 4)), np.ones((4, 4))
    assert (dice(empty, empty), dice(empty, full)) == (1, 0)
    assert (hausdorff(empty, empty), hausdorff(empty, full)) == (0, math.inf)
    with pytest.raises(ValueError, match="expected the same"):
        dice(empty, np.zeros((4, 5)))
    with pytest.raises(ValueError, match="positive millimetres"):
        hausdorff(full, full, (1, math.nan))
