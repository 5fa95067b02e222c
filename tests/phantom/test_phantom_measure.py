"""Measurements equal closed forms and SimpleITK's."""

import numpy as np
import pytest

from attending.phantom.measure import box_of, centroid, longest_diameter, measure, volume_ml

AFFINE = np.diag([2.0, 2.5, 4.0, 1.0])
AFFINE[:3, 3] = -10, 20, 5


def box_mask():
    mask = np.zeros((30, 30, 20), bool)
    mask[5:15, 8:14, 3:7] = True
    return mask


def test_a_box_by_hand():
    found = measure(box_mask(), AFFINE)
    assert found["voxels"] == 240
    assert found["volume_ml"] == pytest.approx(240 * 20 / 1000)
    assert found["extent_mm"] == [20.0, 15.0, 16.0]
    assert found["box_voxels"] == [[5, 15], [8, 14], [3, 7]]
    assert found["centroid_ras_mm"] == pytest.approx([9.5 * 2 - 10, 10.5 * 2.5 + 20, 4.5 * 4 + 5], abs=0.051)
    assert found["longest_axial_diameter_mm"] == pytest.approx(np.hypot(9 * 2, 5 * 2.5), abs=0.05)


def test_one_voxel_has_no_diameter():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 2, 3] = True
    assert longest_diameter(mask, AFFINE) == 0
    assert "longest_axial_diameter_mm" not in measure(mask, AFFINE, diameter=False)


def test_diameter_lies_in_the_slice_asked_for():
    mask = np.zeros((3, 40, 10), bool)
    mask[1, 3:33, 2:5] = True
    assert longest_diameter(mask, np.eye(4), axis=0) == pytest.approx(np.hypot(29, 2))
    assert longest_diameter(mask, np.eye(4), axis=2) == pytest.approx(29)


@pytest.mark.parametrize("seed", range(6))
def test_diameter_equals_brute_force(seed):
    mask = np.random.default_rng(seed).random((9, 8, 4)) > 0.8
    best = 0.0
    for k in range(4):
        points = np.argwhere(mask[:, :, k]) * [2.0, 2.5]
        if len(points):
            best = max(best, float(np.linalg.norm(points[:, None] - points[None], axis=-1).max()))
    assert longest_diameter(mask, AFFINE) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_simpleitk(seed):
    sitk = pytest.importorskip("SimpleITK")
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).random((40, 36, 24)), 4)
    mask = field > np.quantile(field, 0.9)
    image = sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing((2.0, 2.5, 4.0))
    image.SetOrigin((-10.0, 20.0, 5.0))
    stats = sitk.LabelShapeStatisticsImageFilter()
    stats.Execute(image)
    assert volume_ml(mask, AFFINE) == pytest.approx(stats.GetPhysicalSize(1) / 1000)
    assert centroid(mask, AFFINE) == pytest.approx(stats.GetCentroid(1))
    x, y, z, w, h, d = stats.GetBoundingBox(1)
    assert [[s.start, s.stop] for s in box_of(mask)] == [[x, x + w], [y, y + h], [z, z + d]]
    widest = 0.0
    for k in range(24):
        if mask[:, :, k].any():
            stats2 = sitk.LabelShapeStatisticsImageFilter()
            stats2.ComputeFeretDiameterOn()
            stats2.Execute(image[:, :, k])
            widest = max(widest, stats2.GetFeretDiameter(1))
    assert longest_diameter(mask, AFFINE) == pytest.approx(widest, abs=0.01)
