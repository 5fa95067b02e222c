"""What a finding tells of lesions: each component by itself, its side, and quickly also of large or torn masks."""

import json

import numpy as np
import pytest
from bundles import ball, oblique, series_of

from attending.experts import Record
from attending.experts.segment import measure_lesion, tell
from attending.imaging import Volume

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])  # LPS: the first voxels lie to the patient's right
SHAPE = (60, 40, 20)
BALLS = {(12, 20, 10): 8, (45, 12, 6): 5, (50, 30, 14): 3}


def three(affine=AFFINE):
    return np.any([ball(affine, SHAPE, at, radius) for at, radius in BALLS.items()], axis=0)


def volume(array, affine=AFFINE):
    return Volume(array, affine)


def test_three_lesions_are_told_one_by_one_largest_first():
    facts = measure_lesion(volume(three()))
    parts = facts["largest_components"]
    assert facts["components"] == len(parts) == 3
    assert [part["volume_ml"] for part in parts] == facts["components_ml"]
    for part, (at, radius) in zip(parts, BALLS.items(), strict=True):
        assert part["volume_ml"] == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.3)  # few voxels
        assert part["longest_axial_diameter_mm"] == pytest.approx(2 * radius, abs=1.5)
        assert part["perpendicular_diameter_mm"] <= part["longest_axial_diameter_mm"] + 1e-6
        assert part["centroid_ras_mm"] == pytest.approx(volume(np.zeros(SHAPE)).to_world(at).tolist(), abs=0.2)
    assert [part["side"] for part in parts] == ["right", "left", "left"]
    assert facts["side"] == "both"
    assert facts["longest_axial_diameter_mm"] == parts[0]["longest_axial_diameter_mm"]
    assert json.loads(json.dumps(facts)) == facts


def test_one_component_tells_what_the_whole_tells():
    facts = measure_lesion(volume(ball(AFFINE, SHAPE, (12, 20, 10), 8)))
    (part,) = facts["largest_components"]
    assert part.items() <= facts.items()
    assert facts["midline"] == "centre of the volume"


def test_components_do_not_depend_on_how_the_grid_lies():
    def sizes(affine):
        return [part["volume_ml"] for part in measure_lesion(volume(three(AFFINE), affine))["largest_components"]]

    turned = oblique((1.0, 1.0, 2.0), 25)
    assert sizes(turned) == pytest.approx(sizes(AFFINE))
    flipped = measure_lesion(volume(three()[::-1], AFFINE @ np.array([[-1, 0, 0, 59], *np.eye(4)[1:]])))
    assert flipped == measure_lesion(volume(three()))


def test_a_label_is_measured_without_the_others():
    labels = three().astype(np.uint8)
    labels[:30] *= 7
    assert measure_lesion(volume(labels), 7)["components"] == 1
    assert measure_lesion(volume(labels), 1)["components"] == 2
    assert measure_lesion(volume(labels), 9) == {"volume_ml": 0.0, "components": 0, "components_ml": []}


def test_the_side_is_judged_by_the_body_where_it_is_known():
    labels = ball(AFFINE, SHAPE, (24, 20, 10), 3)
    body = volume(np.zeros(SHAPE, bool))
    body.array[0:36] = True  # its middle is voxel 17.5, the picture's 29.5
    alone, within = measure_lesion(volume(labels)), measure_lesion(volume(labels), reference=body)
    assert (alone["side"], alone["midline"]) == ("right", "centre of the volume")
    assert (within["side"], within["midline"]) == ("left", "reference mask")
    assert within["largest_components"][0]["side"] == "left"


def test_a_component_across_the_midline_is_on_both_sides():
    facts = measure_lesion(volume(ball(AFFINE, SHAPE, (29.5, 20, 10), 6)))
    assert facts["side"] == facts["largest_components"][0]["side"] == "both"


def test_of_a_torn_mask_only_the_ten_largest_components_are_told():
    rng = np.random.default_rng(0)
    array = np.zeros((64, 64, 64), bool)
    array[::2, ::2, ::2] = rng.random((32, 32, 32)) < 0.5
    array[20:25, 20:25, 20:25] = True
    facts = measure_lesion(volume(array))
    assert facts["components"] > 10_000
    parts = facts["largest_components"]
    assert len(parts) == 10
    assert parts[0]["volume_ml"] >= 0.25
    assert [part["volume_ml"] for part in parts] == facts["components_ml"][:10]


def told(labels, names, lesions=(), **facts):
    series = series_of(np.full(SHAPE, 40, np.int16), AFFINE, **facts)
    return tell(volume(labels), names, series, Record(""), ["noisy"], lesions)


def test_the_text_tells_lesions_with_extent_side_and_organ_and_organs_with_their_volume():
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:25, 8:32, 3:17] = 1
    labels[ball(AFFINE, SHAPE, (12, 20, 10), 5)] = 26
    finding = told(labels, {1: "liver", 26: "hepatic tumor", 3: "spleen"}, lesions=(26,))
    liver, tumor, missing = finding.text.split(". ")
    assert liver.startswith("liver: ")
    assert "side" not in liver
    assert tumor.startswith("hepatic tumor: 0.6 mL in 1 part, the largest 11 x 11 mm")
    assert tumor.endswith("side: right, in: liver")
    assert missing == "Not found: spleen."
    facts = finding.measurements["hepatic tumor"]
    assert (facts["inside"], facts["inside_share"]) == ("liver", pytest.approx(1.0))
    assert facts["intensity"]["mean"] == 40
    assert "largest_components" not in finding.measurements["liver"]
    assert finding.warnings == ("noisy",)


def test_a_mask_of_lesions_alone_names_no_organ_and_an_empty_one_says_what_was_missed():
    finding = told(three().astype(np.uint8), {1: "lesion", 2: "other lesion"}, lesions=(1, 2))
    assert "inside" not in finding.measurements["lesion"]
    assert "in 3 parts" in finding.text
    assert finding.text.endswith("Not found: other lesion.")
    empty = told(np.zeros(SHAPE, np.uint8), {1: "lesion"}, lesions=(1,))
    assert (empty.text, empty.measurements, empty.pictures) == ("Not found: lesion.", {}, ())
    many = told(np.zeros(SHAPE, np.uint8), {i: f"rib {i}" for i in range(1, 30)})
    assert many.text == "Nothing of what was looked for was found."


def test_a_label_without_a_name_is_told_by_its_number():
    finding = told(three().astype(np.uint8) * 9, {1: "lesion"})
    assert list(finding.measurements) == ["label 9"]
