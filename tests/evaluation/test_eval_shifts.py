"""Shifts of pictures: what each does, that it is seeded, and that a model that leans on what is lost falls."""

import json

import numpy as np
import pytest
from eval_models import Scripted, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.errors import InputError
from attending.evaluation import shifts
from attending.evaluation.report import render
from attending.evaluation.results import evaluate, read_results, write_results
from attending.evaluation.runner import Plan, reopen, run
from attending.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from attending.imaging import Picture

RNG = np.random.default_rng(0)
DETAIL = Picture(RNG.integers(40, 216, (64, 80, 1), dtype=np.uint8).repeat(3, axis=2), spacing=(1.0, 2.0))
GREY = Picture(np.full((64, 80, 3), 128, np.uint8))


def away(picture, other) -> float:
    """Mean absolute difference."""
    return float(np.abs(picture.pixels.astype(float) - other.pixels).mean())


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_keeps_size_and_origin_and_grows_with_its_strength(name):
    found = [shifted(DETAIL, name, strength, 1) for strength in STRENGTHS]
    assert all(one.pixels.shape == DETAIL.pixels.shape and one.pixels.dtype == np.uint8 for one in found)
    assert all(one.spacing == DETAIL.spacing for one in found)
    changes = [away(DETAIL, one) for one in found]
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", SHIFTS)
def test_the_same_seed_gives_the_same_picture(name):
    first = shifted(DETAIL, name, "moderate", 7)
    assert first.digest == shifted(DETAIL, name, "moderate", 7).digest
    others = {shifted(DETAIL, name, "moderate", seed).digest for seed in range(20)}
    drawn = name in ("noise", "gamma", "rotation", "marker")
    assert (len(others) > 1) == drawn


@pytest.mark.parametrize("name", SHIFTS)
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_any_size_is_taken(name, rows, columns, seed):
    picture = Picture(np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8))
    for strength in STRENGTHS:
        assert shifted(picture, name, strength, seed).pixels.shape == (rows, columns, 3)


def test_a_picture_that_cannot_be_written_is_shifted_too_and_stays_as_it_was():
    pixels = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 80, 3))
    for name in SHIFTS:
        shifted(Picture(pixels), name, "strong", 0)
    assert (pixels[:, 0, 0] == np.arange(64)).all()


@pytest.mark.parametrize("name", ["blur", "contrast", "jpeg", "resolution"])
def test_an_even_picture_stays_even(name):
    assert away(GREY, shifted(GREY, name, "strong", 0)) <= 1


def test_noise_has_the_standard_deviation_it_says_and_no_colour():
    found = shifted(Picture(np.full((400, 400, 3), 128, np.uint8)), "noise", "moderate", 0).pixels.astype(float)
    assert found.std() == pytest.approx(20, rel=0.02)
    assert found.mean() == pytest.approx(128, abs=0.3)
    assert (found[..., 0] == found[..., 2]).all()


def test_blur_keeps_the_mean_and_spreads_a_point():
    pixels = np.zeros((101, 101, 3), np.uint8)
    pixels[50, 50] = 255
    found = shifted(Picture(pixels), "blur", "mild", 0).pixels[..., 0].astype(float)
    assert found.sum() == pytest.approx(255, rel=0.05)
    assert found[50, 50] < 255
    assert found[50, 51] == found[51, 50] == found[49, 50] > 0


def test_contrast_keeps_the_mean_and_shrinks_the_rest():
    found = shifted(DETAIL, "contrast", "moderate", 0).pixels.astype(float)
    assert found.mean() == pytest.approx(DETAIL.pixels.mean(), abs=0.5)
    assert found.std() == pytest.approx(DETAIL.pixels.std() / 2, rel=0.01)


def test_gamma_keeps_black_white_and_the_order():
    ramp = Picture(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    for seed in range(6):
        line = shifted(ramp, "gamma", "strong", seed).pixels[0, :, 0].astype(int)
        assert (line[0], line[255]) == (0, 255)
        assert (np.diff(line) >= 0).all()


def test_resolution_averages_blocks():
    pixels = np.kron(np.array([[0, 200], [100, 50]], np.uint8), np.ones((30, 30), np.uint8))
    found = shifted(Picture(pixels[..., None].repeat(3, axis=2)), "resolution", "moderate", 0).pixels[..., 0]
    assert (found[5, 5], found[5, 55], found[55, 5]) == (0, 200, 100)


def test_rotation_keeps_the_middle_and_turns_by_no_more_than_it_says():
    pixels = np.zeros((101, 101, 3), np.uint8)
    pixels[48:53] = 255  # a bar through the middle
    for seed in range(4):
        found = shifted(Picture(pixels), "rotation", "strong", seed).pixels[..., 0]
        assert found[50, 50] == 255
        rows = np.flatnonzero(found[:, 90] > 128)
        assert abs(rows.mean() - 50) == pytest.approx(40 * np.tan(np.radians(10)), abs=1.5)


def test_a_border_covers_the_edges_alone():
    found = shifted(GREY, "border", "strong", 0).pixels[..., 0]
    assert not found[:8].any()
    assert not found[:, -10:].any()
    assert (found[8:-8, 10:-10] == 128).all()


def test_a_marker_is_small_and_in_a_corner():
    large = Picture(np.full((400, 500, 3), 20, np.uint8))
    for seed in range(8):
        found = shifted(large, "marker", "strong", seed).pixels[..., 0]
        assert found.max() == 255
        assert (found != 20).mean() < 0.03
        assert (found[130:270, 170:330] == 20).all()


def test_names_are_read_and_refused():
    assert shifts.named("all") == tuple(SHIFTS)
    assert shifts.named("none") == shifts.named("") == ()
    assert shifts.named("blur, noise,blur") == ("blur", "noise")
    with pytest.raises(InputError, match=r"--shifts is fog: expected some of noise, blur"):
        shifts.named("noise,fog")


def test_conditions_are_told_from_others():
    names = shifts.conditions(["blur", "noise"])
    assert names[:2] == ["shift noise mild", "shift noise moderate"]
    assert [shifts.told(name) for name in names[-2:]] == [("blur", "moderate"), ("blur", "strong")]
    for other in ("blank", "main", "shift", "shift fog mild", "shift noise weak", "noise mild"):
        assert shifts.told(other) is None


TASK = "name: mine\nversion: 1\ntitle: t\ndataset: csv\nparts: {all: {parser: {kind: yes_no}, metrics: [accuracy]}}\n"


def rough(question, pictures):
    """Looks at fine detail: neighbouring pixels that differ mean yes."""
    if not pictures:
        return "No."
    differences = np.diff(pictures[-1].pixels[..., 0].astype(float), axis=1)
    return "Yes." if np.abs(differences).mean() > 12 else "No."


def planned(tmp_path, answer, **more):
    from PIL import Image

    rows = [
        {"question": "Is it rough?", "answer": "yes" if n % 2 else "no", "patient": f"p{n}", "shade": "128"}
        for n in range(40)
    ]
    data, task = write_csv(tmp_path / "data", TASK, rows, size=64)
    rng = np.random.default_rng(0)
    for n in range(1, 40, 2):
        pixels = rng.integers(100, 157, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{n}.png")
    plan = Plan(str(task), "scripted", tmp_path / "out" / "mine", tmp_path / "cache", data, controls=(), **more)
    return run(plan, load=lambda where: Scripted(answer))


def test_a_model_that_leans_on_detail_falls_where_detail_is_lost(tmp_path):
    work = planned(tmp_path, rough, shifts=("noise", "resolution", "marker"))
    told = evaluate(work)["parts"]["all"]
    assert told["metrics"]["accuracy"]["value"] == 1
    assert list(told["shifts"]) == ["noise", "resolution", "marker"]
    lost = told["shifts"]["resolution"]
    assert list(lost) == ["mild", "moderate", "strong"]
    assert (lost["strong"]["value"], lost["strong"]["difference"]) == (0.5, 0.5)
    assert 0.3 < lost["strong"]["low"] < 0.5 < lost["strong"]["high"] < 0.7
    assert lost["strong"]["p"] < 0.01
    assert told["shifts"]["noise"]["strong"]["value"] == 0.5  # noise looks rough
    assert told["shifts"]["marker"]["strong"]["difference"] == 0
    assert told["controls"] == {}


def test_a_mild_change_that_costs_is_flagged_and_none_is_where_nothing_falls(tmp_path):
    def fine(question, pictures):
        """Takes the slightest unevenness for yes: mild noise everywhere makes it say yes."""
        return "Yes." if pictures and pictures[-1].pixels.std() > 2 else "No."

    told = evaluate(planned(tmp_path / "a", fine, shifts=("noise", "jpeg")))["parts"]["all"]
    assert any(flag.startswith("Mild noise of the picture costs 0.50 [") for flag in told["flags"])
    assert not any("jpeg" in flag for flag in told["flags"])
    calm = evaluate(planned(tmp_path / "b", lambda question, pictures: "Yes.", shifts=("noise", "border")))["parts"][
        "all"
    ]
    assert not any("Mild" in flag for flag in calm["flags"])


def test_shifts_may_be_added_to_a_finished_run_and_are_asked_once(tmp_path):
    planned(tmp_path, rough)
    model = Scripted(rough)
    plan = reopen(tmp_path / "out" / "mine").plan
    assert plan.shifts == ()
    more = Plan(**{**plan.__dict__, "shifts": ("blur",), "control_limit": plan.control_limit})
    run(more, load=lambda where: model)
    assert model.asked == 3 * 40
    assert reopen(tmp_path / "out" / "mine").plan.shifts == ("blur",)
    run(more, load=lambda where: pytest.fail("nothing is left to ask"))


def test_a_control_limit_holds_for_shifts(tmp_path):
    work = planned(tmp_path, rough, shifts=("blur",), control_limit=10)
    assert evaluate(work)["parts"]["all"]["shifts"]["blur"]["mild"]["samples"] == 10


def test_the_report_shows_every_change_with_its_fall(tmp_path):
    work = planned(tmp_path, rough, shifts=("noise", "resolution"))
    write_results(tmp_path / "out", {"mine": evaluate(work)}, "scripted")
    told = read_results(tmp_path / "out")
    page = render(told, {"mine": work})
    assert "With changed pictures" in page
    assert page.count("Pictures changed: ") == 3
    for name, by in told["tasks"]["mine"]["parts"]["all"]["shifts"].items():
        assert f"<th>{name}</th>" in page
        assert set(by) == set(STRENGTHS)
    for part in told["tasks"]["mine"]["parts"].values():
        del part["shifts"]  # results of an earlier version
    assert "With changed pictures" not in render(json.loads(json.dumps(told)), {})
