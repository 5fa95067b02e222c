"""Judging a part: intervals, invalid answers, subgroups, calibration, sets, seeds and what the reader is warned of."""

import json
import math

import numpy as np
import pytest

from attending.evaluation.judging import judge
from attending.evaluation.metrics import Row
from attending.evaluation.parse import Parsed
from attending.evaluation.scoring import categories, read_answer, reference_of, row_of, shown, verbatim
from attending.evaluation.sources import Sample, listed
from attending.evaluation.task import Part

YES_NO = Part(parser={"kind": "yes_no"}, metrics=("balanced_accuracy", "accuracy", "macro_f1"))
OPTION = Part(parser={"kind": "option"}, metrics=("accuracy",))
NUMBER = Part(parser={"kind": "number", "unit": "mm"}, scorer="within_10_percent", metrics=("mae",))


def sample(answer: str, patient: str = "p", **more) -> Sample:
    return Sample(f"{patient}-{answer}", "all", "Is it?", "Is it?", answer, patient, **more)


def rows(count: int, right=lambda n: True, **more):
    """Yes-or-no answers by turns, right where `right(n)`."""
    return {
        n: row_of(
            YES_NO, sample("yes" if n % 2 else "no", f"p{n}", **more), "Yes." if (n % 2 == 1) == right(n) else "No."
        )
        for n in range(count)
    }


def told(runs, controls=None, facts=None, names=(), part=YES_NO):
    runs = runs if isinstance(runs, list) else [runs]
    found = judge(part, runs, controls or {}, facts or {n: {} for n in runs[0]}, names)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_metrics_have_intervals_and_the_first_is_the_headline():
    found = told(rows(40, lambda n: n % 4 > 0))
    assert found["headline"] == "balanced_accuracy"
    assert (found["samples"], found["patients"]) == (40, 40)
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["value"] == 0.75
    assert 0.5 < accuracy["low"] < 0.75 < accuracy["high"] < 0.95
    assert found["confusion"] == {"truth": ["no", "yes"], "answer": ["no", "yes"], "counts": [[10, 10], [0, 20]]}


def test_an_answer_that_could_not_be_asked_is_wrong_in_every_metric():
    good = rows(20)
    bad = good | {n: row_of(YES_NO, sample("yes", f"p{n}"), "", "missing image") for n in range(20, 25)}
    found = told(bad)
    assert found["metrics"]["accuracy"]["value"] == 0.8
    assert found["metrics"]["balanced_accuracy"]["value"] == pytest.approx((1 + 10 / 15) / 2)
    assert found["metrics"]["invalid_rate"]["value"] == 0.2
    assert found["invalid"] == {"could not be asked": 5}
    assert found["confusion"]["answer"][-1] == "(invalid)"
    assert any("20% of the answers are invalid" in flag for flag in found["flags"])


def test_a_row_whose_reference_cannot_be_read_counts_and_is_no_class():
    found = told(rows(20) | {20: row_of(YES_NO, sample("perhaps", "p20"), "Yes.")})
    assert found["invalid"] == {"reference cannot be read": 1}
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(20 / 21)
    assert found["metrics"]["balanced_accuracy"]["value"] == 1
    assert found["confusion"]["truth"] == ["no", "yes"]


def test_patients_are_resampled_and_not_samples():
    alone = told(rows(40, lambda n: n % 4 > 0))["metrics"]["accuracy"]
    few = {
        n: row_of(YES_NO, sample("yes", f"p{n // 10}"), "Yes." if n // 10 % 2 else "No.") for n in range(40)
    }  # each patient all right or all wrong
    together = told(few)["metrics"]["accuracy"]
    assert together["high"] - together["low"] > alone["high"] - alone["low"]


def test_a_planted_gap_is_found_and_named_and_small_groups_are_suppressed():
    facts = {n: {"sex": "FM"[n // 2 % 2], "hospital": "A" if n < 195 else "B"} for n in range(200)}
    found = told(rows(200, lambda n: facts[n]["sex"] == "F" or n % 3 == 0), facts=facts, names=["sex", "hospital"])
    (gap,) = found["subgroups"]["sex"]["gaps"]
    assert gap["found"]
    assert abs(gap["value"]) > 0.5
    assert any(flag.startswith("sex ") for flag in found["flags"])
    assert found["subgroups"]["hospital"]["cells"]["B"] == {"samples": 5, "patients": 5, "suppressed": "too few"}
    assert found["subgroups"]["hospital"]["gaps"] == []


def test_without_a_gap_none_is_told():
    facts = {n: {"sex": "FM"[n // 2 % 2]} for n in range(120)}
    found = told(rows(120, lambda n: n % 5 > 0), facts=facts, names=["sex", "age"])
    assert not any(flag.startswith("sex") for flag in found["flags"])
    assert "age" not in found["subgroups"]


def test_stated_sureness_becomes_calibration():
    answers = {}
    for n in range(60):
        truth = n % 2 == 1
        text = f"{'Yes' if truth else 'No'}, {90 if n % 3 else 60}%."
        answers[n] = row_of(YES_NO, sample("yes" if truth else "no", f"p{n}"), text)
    found = told(answers)["calibration"]
    assert (found["samples"], found["of"]) == (60, 60)
    assert found["auroc"]["value"] == 1
    assert found["ece"]["value"] == pytest.approx(np.mean([0.1 if n % 3 else 0.4 for n in range(60)]), abs=1e-9)
    assert told(rows(60))["calibration"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, 80%.", 0.8),
        ("No, 80 percent.", 0.2),
        ("Yes.", math.nan),
        ("Yes, 80% or 90%.", math.nan),
        ("Yes, 300%", math.nan),
        ("CHEST gives effusion 3%, so no.", 0.03),
        ("CHEST gives effusion 97%, so yes.", 0.97),
        ("No. CXR gives effusion 3%.", 0.03),
    ],
)
def test_the_probability_of_yes_follows_the_answer(text, expected):
    assert row_of(YES_NO, sample("yes"), text).probability == pytest.approx(expected, nan_ok=True)


def test_seeds_have_a_mean_and_a_spread():
    found = told([rows(40), rows(40, lambda n: n >= 20)])
    assert found["seeds"]["values"] == [1.0, 0.5]
    assert found["seeds"]["value"] == 0.75
    assert found["seeds"]["spread"] == pytest.approx(0.3536, abs=1e-4)
    assert "seeds" not in told(rows(10))


def test_sets_are_confused_when_all_get_one_answer():
    part = Part(parser={"kind": "yes_no"}, metrics=("set_accuracy",))
    paired = {
        n: row_of(
            part, sample("yes" if n % 2 else "no", f"p{n}", group=str(n // 2)), "Yes." if n % 2 or n < 10 else "No."
        )
        for n in range(40)
    }
    found = told(paired, part=part)
    assert found["sets"]["sets"] == 20
    assert found["sets"]["confused"]["value"] == 0.25
    assert found["metrics"]["set_accuracy"]["value"] == 0.75


def test_a_control_is_compared_on_the_samples_that_both_answered():
    main, other = rows(40), {n: row for n, row in rows(40, lambda n: n % 2 == 0).items() if n < 20}
    found = told(main, {"blank": other})["controls"]["blank"]
    assert (found["samples"], found["main"], found["value"], found["difference"]) == (20, 1, 0.5, 0.5)
    assert found["low"] > 0
    nobody = told(main, {"blank": {99: main[0]}})["controls"]["blank"]
    assert (nobody["samples"], nobody["value"]) == (0, None)


def test_where_all_answers_are_the_same_no_picture_can_matter():
    same = {n: row_of(YES_NO, sample("yes", f"p{n}"), "Yes.") for n in range(20)}
    found = told(same, {"blank": same, "text_only": same, "by_question": same})
    assert found["one answer"]
    assert found["flags"] == []


def test_an_error_as_headline_is_compared_by_score():
    near = {n: row_of(NUMBER, sample(str(10 + n), f"p{n}"), f"{10 + n} mm") for n in range(20)}
    far = {n: row_of(NUMBER, sample(str(10 + n), f"p{n}"), "99 mm") for n in range(20)}
    found = told(near, {"blank": far}, part=NUMBER)
    assert found["metrics"]["mae"] == {"low": 0, "value": 0, "high": 0, "higher_is_better": False}
    assert found["controls"]["blank"]["metric"] == "mean_score"
    assert found["controls"]["blank"]["difference"] == 1


def test_references_are_read_by_letter_by_option_and_as_numbers():
    options = {"options": ("liver cyst", "Hemangioma")}
    assert reference_of(OPTION, sample("B", **options)) == "B"
    assert reference_of(OPTION, sample("hemangioma ", **options)) == "B"
    assert reference_of(OPTION, sample("spleen", **options)) is None
    assert reference_of(NUMBER, sample("12")) == 12.0
    assert reference_of(NUMBER, sample("1.2 cm")) == 12.0
    assert reference_of(NUMBER, sample("large")) is None
    assert reference_of(YES_NO, sample("No")) is False
    assert reference_of(Part(), sample("")) is None


def test_options_are_shown_with_the_letters_that_answers_are_read_by():
    options = ("liver cyst", "hemangioma", "metastasis")
    assert listed(options) == "A. liver cyst\nB. hemangioma\nC. metastasis"
    for letter, text in zip("ABC", options, strict=True):
        one = sample(letter, options=options)
        assert row_of(OPTION, one, letter).score == row_of(OPTION, one, f"({letter})").score == 1
        assert row_of(OPTION, one, text).score == 1
        assert read_answer(OPTION, one, "none of them, I think").valid is False


def test_verbatim_is_as_strict_as_the_reference():
    assert verbatim(Parsed("Yes ", True), "yes") == 1
    assert verbatim(Parsed("yes.", True), "yes") == 0
    assert verbatim(Parsed(None, False, "empty"), "yes") == 0


def test_values_and_categories_for_people():
    assert [shown(value) for value in (True, False, 3.0, 2.5, ("a", "b"), "x")] == [
        "yes",
        "no",
        "3",
        "2.5",
        "a, b",
        "x",
    ]
    assert categories(YES_NO, []) == ["yes", "no"]
    assert categories(NUMBER, []) == []
    assert categories(OPTION, [Row(Parsed("A", True), "B"), Row(Parsed("A", True), "A")]) == ["A", "B"]
