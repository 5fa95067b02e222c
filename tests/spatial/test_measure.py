"""Sizes against closed forms, SimpleITK and themselves."""

import numpy as np
import pytest
from shapes import GRIDS, SPACING, affine_of, box, cylinder, ellipsoid, mask_of, turned

from attending.errors import InputError
from attending.imaging import Volume
from attending.spatial import (
    axial_diameter,
    component_volumes,
    frontal_diameter,
    intensity,
    labels_in,
    measure,
    region,
    regions,
)
from attending.spatial import volume_ml as volume

sitk = pytest.importorskip("SimpleITK")
CENTRE = (12.0, -7.0, 30.0)


def to_sitk(mask):
    image = sitk.GetImageFromArray(mask.array.astype(np.uint8).T.copy())
    lps = np.diag([-1.0, -1.0, 1.0]) @ mask.affine[:3]
    image.SetSpacing(mask.spacing)
    image.SetDirection((lps[:, :3] / mask.spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


@pytest.mark.parametrize("grid", GRIDS)
def test_a_ball_has_the_volume_centre_and_diameter_of_a_ball_on_every_grid(grid):
    mask = mask_of(ellipsoid(CENTRE, (20, 20, 20)), GRIDS[grid])
    found = measure(mask)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 2.0**3, rel=0.01)
    assert found.centroid_mm == pytest.approx(CENTRE, abs=0.15)
    pixel = np.hypot(*mask.canonical().spacing[:2])
    assert found.diameter.longest_mm == pytest.approx(40, abs=pixel)
    assert found.diameter.perpendicular_mm == pytest.approx(40, abs=1.5 * pixel)
    assert len(found.components_ml) == 1


def test_diameters_of_an_ellipsoid_are_its_axes_and_lie_where_it_does():
    directions = turned(30)
    mask = mask_of(ellipsoid(CENTRE, (24, 12, 15), directions), GRIDS["RAS"])
    found = axial_diameter(mask)
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((48, 24), abs=1.6)
    ends = np.array(found.longest_ends)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(found.longest_mm)
    along = (ends[1] - ends[0]) / found.longest_mm
    assert abs(along @ directions[:, 0]) > 0.99
    other = np.diff(found.perpendicular_ends, axis=0)[0]
    assert np.linalg.norm(other) == pytest.approx(found.perpendicular_mm)
    assert along @ other == pytest.approx(0, abs=1e-9)
    assert ends.mean(0) == pytest.approx(CENTRE, abs=1.6)


def test_the_box_of_n_voxels_is_n_voxels_wide():
    array = np.zeros((30, 30, 5), bool)
    array[4:24, 10:11, 2] = True  # 20 x 1 pixels
    found = axial_diameter(Volume(array, np.diag([0.5, 0.5, 3.0, 1])))
    assert found.longest_mm == pytest.approx(10)
    one = np.zeros((5, 5, 5), bool)
    one[2, 2, 2] = True
    found = measure(Volume(one, np.diag([2.0, 2.0, 3.0, 1])))
    assert (found.diameter.longest_mm, found.diameter.perpendicular_mm) == pytest.approx((2, 2))
    assert found.volume_ml == pytest.approx(0.012)


def test_a_rectangle_has_its_diagonal_and_the_chord_at_a_right_angle_to_it():
    wide, high = 40.0, 20.0
    mask = mask_of(
        box((-20, -10, -5), (20, 10, 5)), affine_of(np.eye(3), (0.25, 0.25, 5), (200, 100, 4), (0, 0, 0)), (200, 100, 4)
    )
    found = axial_diameter(mask)
    assert found.longest_mm == pytest.approx(np.hypot(wide, high), abs=0.36)
    assert found.perpendicular_mm == pytest.approx(high * np.hypot(wide, high) / wide, abs=0.36)


def test_a_cylinder_is_measured_across_not_along():
    mask = mask_of(cylinder(CENTRE, 9, 80), GRIDS["RAS"])
    found = measure(mask)
    assert found.volume_ml == pytest.approx(np.pi * 0.9**2 * 8, rel=0.02)
    assert found.diameter.longest_mm == pytest.approx(18, abs=1.6)


@pytest.mark.parametrize("grid", ["RAS", "LPS"])
def test_a_shadow_is_measured_in_its_own_plane(grid):
    array = np.zeros((40, 1, 60), bool)
    array[5:15, 0, 10:34] = True
    affine = GRIDS[grid]
    found = frontal_diameter(Volume(array, affine))
    width, height = 10 * SPACING[0], 24 * SPACING[2]
    # Two borders halfway along the corner pixels are the farthest apart.
    assert np.hypot(width, height) - SPACING[2] <= found.longest_mm <= np.hypot(width, height)
    ends = np.array(found.longest_ends)
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(found.longest_mm)
    assert ends[:, 1] == pytest.approx(affine[1, 3])
    assert frontal_diameter(Volume(np.zeros((4, 1, 4), bool), affine)) is None


def test_the_longest_slice_is_chosen_although_another_has_more_voxels():
    array = np.zeros((40, 40, 3), bool)
    array[5:20, 5:20, 0] = True
    array[1:39, 7, 2] = True
    found = axial_diameter(Volume(array, np.eye(4)))
    assert found.longest_mm == pytest.approx(38)
    assert found.longest_ends[0][2] == 2


@pytest.mark.parametrize("seed", range(6))
def test_the_longest_diameter_is_what_trying_every_pair_of_border_points_gives(seed):
    rng = np.random.default_rng(seed)
    array = rng.random((9, 8, 3)) < 0.2
    affine = affine_of(turned(25) @ turned(10, 1), SPACING)
    mask = Volume(array, affine).canonical()
    best = 0.0
    for k in range(mask.shape[2]):
        inside = np.argwhere(np.pad(mask.array[:, :, k], 1)) - 1.0
        points = np.concatenate([inside + step for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])])
        world = points @ mask.affine[:3, :2].T
        best = max(best, float(np.linalg.norm(world[:, None] - world, axis=-1).max()))
    assert axial_diameter(Volume(array, affine)).longest_mm == pytest.approx(best)


@pytest.mark.parametrize("grid", ["RAS", "LPS", "oblique"])
def test_simpleitk_finds_the_same_volume_and_centroid_and_a_feret_diameter_within_a_pixel(grid):
    rng = np.random.default_rng(1)
    array = np.zeros((40, 30, 1), bool)
    array[5:30, 6:20] = rng.random((25, 14, 1)) < 0.6
    mask = Volume(array, GRIDS[grid])
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(to_sitk(mask))
    found = measure(mask)
    assert found.volume_ml * 1000 == pytest.approx(shape.GetPhysicalSize(1))
    assert found.centroid_mm == pytest.approx(np.array(shape.GetCentroid(1)) * (-1, -1, 1), abs=1e-6)
    feret = shape.GetFeretDiameter(1)  # between voxel centres; ours is between borders
    assert feret <= axial_diameter(mask).longest_mm <= feret + np.hypot(*SPACING[:2])


def test_components_and_their_sizes_are_those_of_simpleitk():
    array = np.random.default_rng(2).random((20, 20, 12)) < 0.04
    mask = Volume(array, GRIDS["oblique"])
    labelled = sitk.GetArrayFromImage(sitk.ConnectedComponent(to_sitk(mask), True))
    sizes = sorted(np.bincount(labelled.ravel())[1:], reverse=True)
    assert component_volumes(mask) == pytest.approx(np.array(sizes) * volume(Volume(np.ones((1, 1, 1)), mask.affine)))
    assert sum(component_volumes(mask)) == pytest.approx(volume(mask))


def test_the_diameter_is_of_the_largest_component():
    array = np.zeros((40, 10, 3), bool)
    array[2:8, 2:8] = True
    array[38, 5, 1] = True
    mask = Volume(array, np.eye(4))
    assert measure(mask).diameter.longest_mm < 9 < axial_diameter(mask).longest_mm


def test_intensity_is_that_of_the_voxels_inside():
    rng = np.random.default_rng(3)
    image = Volume(rng.normal(40, 12, (30, 30, 20)), GRIDS["oblique"], "CT")
    mask = Volume(rng.random((30, 30, 20)) < 0.1, GRIDS["oblique"])
    inside = image.array[mask.array]
    found = intensity(mask, image)
    assert (found.mean, found.sd, found.median) == pytest.approx((inside.mean(), inside.std(), np.median(inside)))
    assert (found.minimum, found.maximum) == (inside.min(), inside.max())
    flipped = Volume(
        mask.array[::-1], mask.affine @ np.array([[-1, 0, 0, 29], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    )
    assert intensity(flipped, image).mean == pytest.approx(found.mean)  # the same places on another grid
    away = Volume(mask.array, affine_of(np.eye(3), centre=(900, 0, 0)))
    assert intensity(away, image) is None
    with pytest.raises(InputError, match="channel"):
        intensity(mask, Volume(np.zeros((2, 3, 3, 3)), np.eye(4)))


def test_an_empty_mask_has_no_size_and_nothing_else():
    mask = Volume(np.zeros((5, 6, 7), np.uint8), np.eye(4))
    found = measure(mask, image=Volume(np.zeros((5, 6, 7)), np.eye(4)))
    assert found.to_dict() == {"volume_ml": 0.0, "components": 0, "components_ml": []}
    assert axial_diameter(mask) is None
    assert component_volumes(mask) == ()
    assert intensity(mask, mask) is None
    assert labels_in(mask) == ()


def test_labels_are_measured_one_by_one():
    array = np.zeros((10, 10, 10), np.uint16)
    array[1:4, 1:4, 1:4] = 3
    array[6:8, 6:8, 6:8] = 900
    mask = Volume(array, np.diag([2.0, 2, 2, 1]))
    assert labels_in(mask) == (3, 900)
    assert {k: volume(v) for k, v in regions(mask).items()} == pytest.approx({3: 0.216, 900: 0.064})
    assert measure(mask, 900).centroid_mm == (13, 13, 13)
    assert volume(mask, 3) == measure(mask, 3).volume_ml
    assert region(mask, 3).shape == (3, 3, 3)
    assert measure(regions(mask)[3]) == measure(mask, 3)


def test_what_measurements_say_is_plain_json_with_units():
    import json

    mask = Volume(np.ones((4, 4, 4), bool), np.eye(4))
    told = json.loads(json.dumps(measure(mask, image=Volume(np.ones((4, 4, 4)), np.eye(4))).to_dict()))
    assert told["volume_ml"] == pytest.approx(0.064)
    assert {"longest_axial_diameter_mm", "perpendicular_diameter_mm", "centroid_ras_mm", "intensity"} <= told.keys()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((3, 3, 3), 0.5), "whole label ids"),
        (np.full((3, 3, 3), -1), "whole label ids"),
        (np.full((3, 3, 3), np.nan), "whole label ids"),
        (np.full((3, 3, 3), 1 << 20), "65535"),
        (np.full((3, 3, 3), 1j), "voxel type"),
        (np.zeros((2, 3, 3, 3)), "channels"),
    ],
)
def test_a_mask_that_is_none_is_refused(array, says):
    for use in (measure, regions):
        with pytest.raises(InputError, match=says):
            use(Volume(array, np.eye(4)))
