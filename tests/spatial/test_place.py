"""Sides, containers and distances against shapes whose places are known."""

import numpy as np
import pytest
from shapes import GRIDS, affine_of, box, ellipsoid, mask_of, turned

from attending.imaging import Volume
from attending.spatial import containing, distance_mm, region, side

EMPTY = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))


@pytest.mark.parametrize("grid", ["RAS", "LPS", "permuted", "oblique"])
def test_the_side_is_the_patients_whatever_the_grid(grid):
    affine = GRIDS[grid]
    right = mask_of(ellipsoid((25, -7, 30), (6, 6, 6)), affine)
    left = mask_of(ellipsoid((0, -7, 30), (6, 6, 6)), affine)
    assert (side(right).side, side(left).side) == ("right", "left")
    assert side(right).midline_mm == pytest.approx(12)
    assert side(right).reference == "centre of the volume"
    across = mask_of(ellipsoid((12, -7, 30), (20, 6, 6)), affine)
    assert side(across).side == "both"
    assert side(across).right_share == pytest.approx(0.5, abs=0.03)


def test_the_midline_of_a_patient_who_lies_off_centre_is_that_of_the_body():
    affine = GRIDS["RAS"]
    body = mask_of(box((-20, -30, 0), (10, 20, 60)), affine)
    lesion = mask_of(ellipsoid((2, -7, 30), (4, 4, 4)), affine)
    assert side(lesion).side == "left"
    found = side(lesion, reference=body)
    assert found.side == "right"
    assert found.midline_mm == pytest.approx(-5, abs=0.8)
    assert found.reference == "reference mask"
    assert side(lesion, reference=EMPTY).reference == "centre of the volume"
    assert side(EMPTY) is None


def test_the_container_is_the_structure_that_overlaps_most():
    affine = GRIDS["oblique"]
    lesion = mask_of(ellipsoid((14, -7, 30), (6, 6, 6)), affine)
    labels = mask_of(box((-100, -100, -100), (12, 100, 100)), affine).array.astype(np.uint8)
    labels[mask_of(box((12, -100, -100), (100, 100, 100)), affine).array] = 2
    found = containing(lesion, Volume(labels, affine), {1: "left lobe", 2: "right lobe"})
    assert (found.name, found.label, found.how) == ("right lobe", 2, "overlap")
    # The part of a ball of radius r beyond a plane at distance d from its centre: (r + d)^2 (2r - d) / 4r^3.
    assert found.share == pytest.approx((6 + 2) ** 2 * (12 - 2) / (4 * 6**3), abs=0.05)
    assert containing(lesion, Volume(labels, affine), {9: "spleen"}) is None


def test_a_lesion_that_replaced_its_organs_label_is_found_by_what_surrounds_it():
    affine = GRIDS["RAS"]
    lesion = mask_of(ellipsoid((12, -7, 30), (6, 6, 6)), affine)
    labels = np.ones(lesion.shape, np.uint8)
    labels[lesion.array] = 26
    names = {1: "liver", 26: "hepatic tumor"}
    found = containing(lesion, Volume(labels, affine), names, ignore=[26])
    assert found == ("liver", 1, 1.0, "border")
    assert containing(Volume(labels, affine), Volume(labels, affine), names, label=26).name == "hepatic tumor"
    assert containing(EMPTY, Volume(labels, affine), names) is None


def test_organs_may_be_on_another_grid():
    lesion = mask_of(ellipsoid((12, -7, 30), (6, 6, 6)), GRIDS["oblique"])
    coarse = affine_of(turned(-30, 1), (4, 4, 4), (40, 40, 40))
    organ = mask_of(ellipsoid((12, -7, 30), (25, 25, 25)), coarse, (40, 40, 40))
    labels = Volume(organ.array.astype(np.int16) * 3, coarse)
    assert containing(lesion, labels, {3: "spleen"}) == ("spleen", 3, 1.0, "overlap")


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("grid", ["RAS", "LPS", "permuted"])
def test_the_gap_between_boxes_is_exact_along_every_axis(grid, axis):
    affine = GRIDS[grid]
    a, b = np.zeros((2, 30, 30, 30), bool)
    where = [slice(10, 15)] * 3
    a[tuple(where)] = True
    where[axis] = slice(15 + 4, 25)
    b[tuple(where)] = True
    assert distance_mm(Volume(a, affine), Volume(b, affine)) == pytest.approx(4 * Volume(a, affine).spacing[axis])


@pytest.mark.parametrize("grid", GRIDS)
def test_the_gap_between_balls_is_right_to_half_a_voxel_and_the_same_both_ways(grid):
    a = mask_of(ellipsoid((0, -7, 30), (9, 9, 9)), GRIDS[grid])
    b = mask_of(ellipsoid((28, -7, 30), (8, 8, 8)), GRIDS[grid])
    found = distance_mm(a, b)
    assert found == pytest.approx(28 - 9 - 8, abs=0.5 * max(a.spacing))
    assert distance_mm(b, a) == found


def test_masks_on_two_grids_have_a_distance():
    a = mask_of(ellipsoid((0, -7, 30), (9, 9, 9)), GRIDS["RAS"])
    b = mask_of(ellipsoid((28, -7, 30), (8, 8, 8)), GRIDS["oblique"])
    assert distance_mm(a, b) == pytest.approx(11, abs=1.25)
    assert distance_mm(region(a), b) == distance_mm(a, b)


def test_the_distance_is_near_that_of_the_distance_transform_which_measures_between_centres():
    from scipy import ndimage

    a = mask_of(ellipsoid((-5, -12, 30), (9, 5, 9)), GRIDS["RAS"])
    b = mask_of(ellipsoid((28, 5, 44), (8, 8, 8)), GRIDS["RAS"])
    centres = ndimage.distance_transform_edt(~b.array, sampling=b.spacing)[a.array].min()
    assert centres - np.linalg.norm(a.spacing) <= distance_mm(a, b) <= centres


def test_touching_overlapping_and_nested_masks_are_at_no_distance_and_empty_ones_at_none():
    array = np.zeros((10, 10, 10), np.uint8)
    array[2:5], array[5:8] = 1, 2
    labels = Volume(array, np.diag([1, 2, 3, 1.0]))
    assert distance_mm(labels, labels, 1, 2) == 0
    inner = np.zeros((10, 10, 10), bool)
    inner[3, 5, 5] = True
    assert distance_mm(Volume(inner, labels.affine), labels) == 0
    assert distance_mm(labels, EMPTY) is None
    assert distance_mm(EMPTY, labels) is None
