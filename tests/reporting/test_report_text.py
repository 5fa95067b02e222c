"""An answer as plain text, and the small parts that make text, names and values safe."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_answers import answer, check, radiograph, scored, segmented, without

from attending.consult import NOTICE
from attending.errors import printable_lines as lines
from attending.imaging import Study
from attending.reporting import tell
from attending.reporting.plain import jsonable, slug
from attending.reporting.tables import measurement_table, number


def test_the_answer_comes_first_and_the_notice_last():
    told = tell(answer())
    assert told.startswith("It measures 45 mm. The liver is large.\n")
    assert told.endswith(NOTICE)


def test_flagged_claims_say_why_and_supported_ones_are_not_listed():
    told = tell(answer(checks=[check(), check("The liver is large.", "supported")]))
    assert '! contradicted: "It measures 45 mm." (VISTA3D measured 17 mm.)' in told
    assert "supported" not in told.replace("unsupported", "")
    assert "Claims" not in tell(answer())


def test_measurements_stand_in_columns():
    rows = [line for line in tell(answer()).splitlines() if line.startswith("  ")]
    head, tumor, liver = rows[:3]
    assert head.split("  ")[1] == "structure"
    assert tumor.index("1.73") == liver.index("1234") == head.index("volume, mL")
    assert "17.0 x 16.5" in tumor
    assert "right" in tumor


def test_probabilities_have_bars_as_long_as_they_are():
    told = tell(answer([scored()], study=Study(Path("x"), [radiograph()])))
    effusion, mass = (next(line for line in told.splitlines() if name in line) for name in ("Effusion  ", "Mass"))
    assert effusion.count("#") == 18
    assert effusion.endswith("0.80 to 0.97")
    assert mass.split() == ["Mass", "0.08", "##.................."]


def test_experts_without_a_result_say_so_with_the_reason():
    told = tell(answer([without(), without("failed", "TOTAL", "TOTAL: it broke")]))
    assert "BRATS (task: total) refused, no result: BRATS examines MR; the study holds: CT" in told
    assert "TOTAL (task: total) failed, no result: TOTAL: it broke" in told


def test_an_answer_cut_short_and_warnings_are_told():
    told = tell(answer(status="length", warnings=("made of synthetic studies",)))
    assert "was cut at its greatest length" in told
    assert "warning: made of synthetic studies" in told
    assert "  warning: small window" in told


def test_many_rows_are_cut_and_counted():
    measured = {f"structure {n}": {"volume_ml": float(n)} for n in range(1, 131)}
    told = tell(answer([segmented(measurements=measured)]))
    assert told.count("\n  structure ") == 1 + 20
    assert "… and 110 more" in told
    assert "structure 130" in told


def test_an_empty_answer_is_told_as_such():
    assert tell(answer([], study=None, text=" \n")).startswith("(no text)")


@given(st.text(max_size=80))
def test_nothing_that_steers_a_terminal_is_printed(text):
    findings = [segmented(text=text, warnings=(text,)), without("failed", text, text)]
    checks = [check(text, detail=text)]
    told = tell(answer(findings, text=text, question=text, checks=checks, warnings=(text,), study=None))
    assert all(char == "\n" or char.isprintable() or char in "\u3000\xa0" or char.isspace() for char in told)
    assert not set(told) & set("\x1b\x07\x08\r\x9b\u202e\u2066\u200b\u2028\x00")


@given(st.text(max_size=200), st.integers(1, 50))
def test_a_slug_is_a_plain_file_name(text, limit):
    made = slug(text, limit)
    assert 0 < len(made) <= max(limit, len("unnamed"))
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not made.startswith("-")
    assert not made.endswith("-")


def test_lines_keep_breaks_and_count_what_is_cut():
    assert lines("a\r\nb\rc\td\x1b") == "a\nb\nc    d\\x1b"
    assert lines("x" * 30, 10) == "x" * 10 + "… (cut: 20 more characters)"


def test_jsonable_values_survive_a_strict_reader():
    value = {1: np.float64("inf"), "a": (np.int8(3), np.arange(2), None, True, Path("x")), "b": {"c": float("nan")}}
    assert json.dumps(jsonable(value), allow_nan=False) == (
        '{"1": null, "a": [3, [0, 1], null, true, "x"], "b": {"c": null}}'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (float("nan"), ""), (0.01234, "0.0123"), (1.728, "1.73"), (45.678, "45.7"), (-798.13, "-798.1"),
     (1234.5, "1234"), (3, "3"), (True, "True"), ("x\x00", "x\\x00")],
)  # fmt: skip
def test_numbers_are_as_precise_as_they_are_useful(value, shown):
    assert number(value) == shown


def test_measurements_of_other_makers_get_columns_with_their_units():
    measured = {
        "heart": {"cardiothoracic_ratio": 0.55, "width_mm": 140.2, "area_cm2": 90.0, "raw": [1, 2], "note": "ok"}
    }
    table = measurement_table(segmented(measurements=measured), None)
    assert table.head == ("structure", "area, cm²", "cardiothoracic ratio", "note", "width, mm")
    assert table.rows == (("heart", "90.0", "0.55", "ok", "140.2"),)
