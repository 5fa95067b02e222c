"""Numbers with units and boxes in the conventions that models use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending.evaluation.parse import parse

NUMBERS = [
    ("12 mm", "mm", 12),
    ("12mm", "mm", 12),
    ("12 millimetres", "mm", 12),
    ("1.2 cm", "mm", 12),
    ("1,2 cm", "mm", 12),
    ("about 12", "mm", 12),
    ("12 mm (1.2 cm)", "mm", 12),
    ("A 12 mm lesion in segment 7", "mm", 12),
    ("The lesion measures 12 mm with a volume of 0.9 mL", "mm", 12),
    ("The lesion measures 12 mm with a volume of 0.9 mL", "mL", 0.9),
    ("3.2 x 2.1 cm", "mm", 32),
    ("3 × 2 × 1 cm", "mm", 30),  # noqa: RUF001
    ("3-4 cm", "mm", 35),
    ("5 to 7 mm", "mm", 6),
    ("between 3 and 4 cm", "mm", 35),
    ("- 5 mm", "mm", 5),
    ("1. 12 mm", "mm", 12),
    ("1,234 mL", "mL", 1234),
    ("0.5 L", "mL", 500),
    ("12 cc", "mL", 12),
    ("12 cm3", "mL", 12),
    ("12 cm³", "mL", 12),
    ("1500 mm^3", "mL", 1.5),
    ("35%", "%", 35),
    ("35 percent", "%", 35),
    ("\u221250 HU", "HU", -50),
    ("two", "count", 2),
    ("twenty-one", "count", 21),
    ("a single lesion", "count", 1),
    ("no lesions", "count", 0),
    ("none", "count", 0),
    ("There are 3 lesions, the largest 12 mm", "count", 3),
    ("Two lesions in segment 7", "count", 2),
    ("3 in total: 2 left and 1 right", "count", 3),
    ("Answer: 4", "count", 4),
]
BROKEN = [
    ("12 mL", "mm", "other unit"),
    ("3 x 2 cm", "mL", "other unit"),
    ("12 mm and 15 mm", "mm", "several numbers"),
    ("2 or 3", "count", "several numbers"),
    ("<5 mm", "mm", "a bound"),
    ("less than 5 mm", "mm", "a bound"),
    ("-5 mm", "mm", "negative"),
    ("1e999 mm", "mm", "not finite"),
    ("nan", "mm", "no number"),
    ("several", "count", "no number"),
    ("slice 45", "count", "no number"),
    ("T12 fracture", "count", "no number"),
    ("I cannot measure it", "mm", "no number"),
    ("I cannot tell", "mm", "refusal"),
    ("", "mm", "empty"),
]


@pytest.mark.parametrize(("text", "unit", "value"), NUMBERS)
def test_numbers_come_in_the_asked_unit(text, unit, value):
    read = parse("number", text, unit=unit)
    assert read.valid, read.why
    assert read.value == pytest.approx(value)


@pytest.mark.parametrize(("text", "unit", "why"), BROKEN)
def test_what_is_no_number_says_why(text, unit, why):
    assert (parse("number", text, unit=unit).value, parse("number", text, unit=unit).why) == (None, why)


def test_how_a_range_was_read_is_told():
    assert parse("number", "3-4 cm", unit="mm").why == "middle of a range"
    assert parse("number", "3 x 2 cm", unit="mm").why == "longest side"


def test_an_unknown_unit_is_the_tasks_fault():
    with pytest.raises(ValueError, match="mm, mL, %, HU, count"):
        parse("number", "3", unit="furlong")


@given(st.floats(0.1, 9000), st.sampled_from([("mm", 1), ("cm", 10), ("millimeters", 1), ("m", 1000)]))
def test_any_length_survives_its_unit(value, unit):
    shown = f"It measures {value:.3f} {unit[0]}."
    assert parse("number", shown, unit="mm").value == pytest.approx(float(f"{value:.3f}") * unit[1])


BOX = (0.1, 0.2, 0.5, 0.6)
BOXES = [
    ("[0.1, 0.2, 0.5, 0.6]", {}),
    ("The lesion is at (0.1 0.2 0.5 0.6).", {}),
    ("<box>[[100, 200, 500, 600]]</box>", {"scale": "thousand"}),
    ("<|box_start|>(100,200),(500,600)<|box_end|>", {"scale": "thousand"}),
    ('{"bbox_2d": [20, 20, 100, 60], "label": "x"}', {"scale": "pixel", "size": (200, 100)}),
    ("x1=0.1, y1=0.2, x2=0.5, y2=0.6", {}),
    ("[0.2, 0.1, 0.6, 0.5]", {"order": "yxyx"}),
    ("[0.1, 0.2, 0.4, 0.4]", {"order": "xywh"}),
]


@pytest.mark.parametrize(("text", "options"), BOXES)
def test_every_convention_gives_the_same_box(text, options):
    (box,) = parse("boxes", text, **options).value
    assert box == pytest.approx(BOX)


def test_location_tokens_are_rows_first_of_1024():
    (box,) = parse("boxes", "<loc0256><loc0128><loc0512><loc1023>").value
    assert box == pytest.approx((128 / 1024, 256 / 1024, 1023 / 1024, 512 / 1024))


def test_several_boxes_and_none():
    assert len(parse("boxes", "[0.1,0.2,0.5,0.6] and [0.2,0.2,0.3,0.3]").value) == 2
    assert parse("boxes", "[]").value == ()
    assert parse("boxes", "No box").value == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[0.5, 0.2, 0.1, 0.6]", "no area"),
        ("[1, 2, 3, 4]", "outside the picture"),
        ("[1e999, 0, 1, 1]", "outside the picture"),
        ("I cannot tell", "refusal"),
        ("left lung", "no box"),
        ("", "empty"),
        ("[0.1,0.2,0.5,0.6]" * 1001, "too many boxes"),
    ],
)
def test_what_is_no_box_says_why(text, why):
    assert parse("boxes", text).why == why


@pytest.mark.parametrize(
    "options", [{"scale": "inch"}, {"order": "zyx"}, {"scale": "pixel"}, {"scale": "pixel", "size": (0, 9)}]
)
def test_impossible_conventions_are_the_tasks_fault(options):
    with pytest.raises(ValueError, match="expected"):
        parse("boxes", "[0,0,1,1]", **options)
