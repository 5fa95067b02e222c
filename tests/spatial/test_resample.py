"""Resampling keeps things where they are: against identity, closed forms, SimpleITK and numpy."""

import numpy as np
import pytest
from shapes import GRIDS, affine_of, ellipsoid, mask_of, turned
from test_measure import to_sitk

from attending.imaging import Volume
from attending.spatial import measure, resample, same_grid

sitk = pytest.importorskip("SimpleITK")


@pytest.mark.parametrize("grid", GRIDS)
def test_the_same_grid_gives_the_same_voxels(grid):
    labels = Volume(np.random.default_rng(0).integers(0, 133, (11, 9, 7)).astype(np.uint8), GRIDS[grid])
    same = resample(labels, labels, nearest=True)
    assert same.array.dtype == np.uint8
    np.testing.assert_array_equal(same.array, labels.array)
    np.testing.assert_allclose(resample(labels, labels, nearest=False).array, labels.array, atol=1e-3)


def test_flipped_and_permuted_axes_give_the_same_voxels_and_back():
    labels = Volume(np.random.default_rng(0).integers(0, 9, (11, 9, 7)).astype(np.uint16), GRIDS["oblique"])
    turned_over = Volume(labels.array, labels.affine @ np.diag([-1.0, 1, -1, 1])).canonical()
    there = resample(turned_over, Volume(turned_over.array, turned_over.affine), nearest=True)
    np.testing.assert_array_equal(there.array, turned_over.array)
    canonical = labels.canonical()
    np.testing.assert_array_equal(resample(labels, canonical, nearest=True).array, canonical.array)
    np.testing.assert_array_equal(resample(canonical, labels, nearest=True).array, labels.array)


@pytest.mark.parametrize("grid", GRIDS)
def test_each_voxel_is_taken_from_within_half_a_voxel(grid):
    source = Volume(np.arange(12 * 10 * 8).reshape(12, 10, 8), affine_of(turned(33, 1), (3, 2, 4), (12, 10, 8)))
    target = Volume(
        np.zeros((20, 18, 16)), affine_of(GRIDS[grid][:3, :3] / [0.8, 1.3, 2.5], (1.1, 1.2, 1.3), (20, 18, 16))
    )
    found = resample(source, target, nearest=True, outside=-1).array
    inside = found >= 0
    taken = np.stack(np.unravel_index(found[inside], source.shape), -1)
    asked = source.to_voxels(target.to_world(np.argwhere(inside)))
    assert inside.mean() > 0.5
    assert np.abs(taken - asked).max() <= 0.5 + 1e-5
    outside = source.to_voxels(target.to_world(np.argwhere(~inside)))
    assert ((outside < -0.49) | (outside > np.array(source.shape) - 0.51)).any(1).all()


def test_a_ball_stays_in_its_place_to_half_a_voxel_on_another_oblique_grid():
    ball = mask_of(ellipsoid((12, -7, 30), (15, 15, 15)), GRIDS["oblique"])
    target = Volume(np.zeros((60, 60, 60), bool), affine_of(turned(-15, 0), (1, 1, 1), (60, 60, 60)))
    moved = measure(resample(ball, target, nearest=True))
    before = measure(ball)
    assert moved.centroid_mm == pytest.approx(before.centroid_mm, abs=0.2)
    assert moved.volume_ml == pytest.approx(before.volume_ml, rel=0.01)


def test_linear_resampling_reproduces_a_linear_image_and_keeps_channels():
    source = Volume(np.zeros((2, 20, 18, 16), np.float32), affine_of(turned(10, 0), (2, 3, 2.5), (20, 18, 16)))
    world = source.to_world(np.moveaxis(np.indices(source.shape), 0, -1))
    source.array[0] = world @ [1.0, -2.0, 0.5]
    source.array[1] = 7
    target = Volume(np.zeros((8, 8, 8)), affine_of(turned(40), (1.5, 1, 2), (8, 8, 8)))
    found = resample(source, target, nearest=False)
    want = target.to_world(np.moveaxis(np.indices(target.shape), 0, -1)) @ [1.0, -2.0, 0.5]
    np.testing.assert_allclose(found.array[0], want, atol=2e-3)
    np.testing.assert_allclose(found.array[1], 7, rtol=1e-6)


def test_beyond_the_voxels_is_outside():
    source = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    target = Volume(np.zeros((12, 1, 1)), np.array([[0.5, 0, 0, -2.0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]))
    x = np.arange(12) * 0.5 - 2
    for nearest in (True, False):
        found = resample(source, target, nearest=nearest, outside=-1000).array[:, 0, 0]
        np.testing.assert_array_equal(found[x < -0.6], -1000)
        np.testing.assert_array_equal(found[x > -0.4], 1)


@pytest.mark.parametrize("nearest", [True, False])
def test_simpleitk_resamples_to_the_same_voxels(nearest):
    rng = np.random.default_rng(4)
    source = Volume(rng.integers(0, 200, (16, 14, 12)).astype(np.uint8), GRIDS["oblique"])
    target = Volume(
        np.zeros((20, 20, 20), np.uint8), affine_of(turned(-8, 1), (0.7, 0.9, 1.4), (20, 20, 20), (-20, -40, -5))
    )
    how = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    theirs = sitk.Resample(sitk.Cast(to_sitk(source), sitk.sitkFloat32), to_sitk(target), sitk.Transform(), how, -5)
    theirs = sitk.GetArrayFromImage(theirs).T
    ours = resample(Volume(source.array.astype(np.float32), source.affine), target, nearest=nearest, outside=-5).array
    inside = (theirs != -5) & (ours != -5)
    assert inside.sum() > 500
    assert ((theirs == -5) == (ours == -5)).mean() > 0.999
    close = np.isclose(ours[inside], theirs[inside], atol=0.02)
    assert close.mean() > 0.999


def test_grids_are_the_same_to_a_hundredth_of_a_voxel():
    a = Volume(np.zeros((5, 5, 5)), GRIDS["oblique"])
    moved = a.affine.copy()
    moved[0, 3] += 0.1
    assert same_grid(a, a)
    assert not same_grid(a, Volume(a.array, moved))
    assert not same_grid(a, Volume(np.zeros((5, 5, 6)), a.affine))
