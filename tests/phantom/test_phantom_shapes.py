"""Drawing: what is painted has the size and place it was asked to have."""

import numpy as np
import pytest

from attending.phantom.canvas import Canvas, Grid, Shape, Warp, curve, interpolate, rough, smooth_union
from attending.phantom.random import stream, uid

STILL = Warp(np.ones(3), np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3)))


def canvas(warp=STILL, n=96, spacing=1.0):
    half = (n - 1) * spacing / 2
    return Canvas(Grid((n, n, n), (spacing,) * 3, (-half,) * 3), warp)


def test_ellipsoid_fills_its_volume():
    c = canvas()
    c.paint(c.ellipsoid([3, -2, 5], [20, 15, 10]), 50.0, 7)
    assert (c.label == 7).sum() == pytest.approx(4 / 3 * np.pi * 20 * 15 * 10, rel=0.02)
    assert np.argwhere(c.label == 7).mean(0) - 47.5 == pytest.approx([3, -2, 5], abs=0.2)


def test_partial_volume_conserves_mass():
    c = canvas()
    c.value[:] = 0
    c.paint(c.ellipsoid([0.7, 0.3, -0.4], [14, 14, 14]), 100.0)
    assert c.value.sum() / 100 == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.02)
    assert ((c.value > 5) & (c.value < 95)).sum() > 300, "edges are soft"


def test_tube_has_the_volume_of_a_capsule():
    c = canvas()
    c.paint(c.tube([[-20, 0, 0], [20, 0, 0]], 6.0), 1.0, 1)
    assert (c.label == 1).sum() == pytest.approx(np.pi * 36 * 40 + 4 / 3 * np.pi * 216, rel=0.05)


def test_flat_tube_is_taller_than_wide():
    c = canvas()
    c.paint(c.tube([[-20, 0, 0], [20, 0, 0]], 6.0, flat=0.5), 1.0, 1)
    section = c.label[48] == 1
    assert section.any(0).sum() == pytest.approx(2 * section.any(1).sum(), abs=2)


def test_thin_tubes_fade_instead_of_growing():
    c = canvas()
    c.value[:] = 0
    c.paint(c.tube([[-40, 0.4, 0.4], [40, 0.4, 0.4]], 0.2), 100.0, thin=0.2)
    assert 5 < c.value.max() < 60


@pytest.mark.parametrize("seed", range(5))
def test_shapes_and_points_are_warped_alike(seed):
    warp = Warp.draw(np.random.default_rng(seed), [1.1, 0.9, 1.0], 7.0)
    c = canvas(warp, n=80)
    c.paint(c.ellipsoid([20, -15, 10], [12, 12, 12]), 1.0, 1)
    center = c.grid.affine[:3, :3] @ np.argwhere(c.label == 1).mean(0) + c.grid.affine[:3, 3]
    assert center == pytest.approx(warp.to_world([20, -15, 10]), abs=1.0)


def test_warp_moves_nothing_further_than_its_strength():
    warp = Warp.draw(np.random.default_rng(1), [1, 1, 1], 5.0)
    points = np.random.default_rng(2).uniform(-200, 200, (500, 3))
    assert np.abs(warp.to_world(points) - points).max() <= 5.0 + 1e-9
    assert warp.reach == pytest.approx(5.0)


def test_shapes_outside_the_canvas_leave_it_alone():
    c = canvas()
    c.paint(c.ellipsoid([500, 0, 0], [10, 10, 10]), 9.0, 3)
    c.paint(c.tube([[500, 0, 0], [520, 0, 0]], 5.0), 9.0, 3)
    assert not c.label.any()
    assert (c.value == -1000).all()


def test_smooth_union_holds_both_and_a_bridge():
    c = canvas()
    parts = [c.ellipsoid([-12, 0, 0], [10, 10, 10], pad=16), c.ellipsoid([12, 0, 0], [10, 10, 10], pad=16)]
    union = smooth_union(parts, c, 16)
    whole = np.full(c.grid.shape, 1e3, np.float32)
    whole[union.region] = union.distance
    separate = sum(int((p.distance < 0).sum()) for p in parts)
    assert (whole < 0).sum() > separate
    assert whole[47, 47, 47] < 0


def test_paint_stays_inside():
    c = canvas()
    c.paint(c.ellipsoid([0, 0, 0], [20, 20, 20]), 1.0, 1, inside=c.x)
    assert (c.x[c.label == 1] < 0).all()
    assert (c.label == 1).any()


def test_curve_goes_through_its_ends():
    path = curve([[0, 0, 0], [10, 5, 0], [20, 0, 5]], 30)
    assert path.shape == (30, 3)
    assert path[0] == pytest.approx([0, 0, 0])
    assert path[-1] == pytest.approx([20, 0, 5])


def test_interpolate_is_exact_at_samples_and_zero_outside():
    row = np.arange(6, dtype=np.float32)[:, None] + 1
    assert interpolate(row, 0, np.array([0.0, 2.0, 5.0]))[:, 0] == pytest.approx([1, 3, 6])
    assert interpolate(row, 0, np.array([-2.0, 7.0]))[:, 0] == pytest.approx([0, 0])


def test_rough_has_unit_variance_and_its_own_size():
    grid = Grid((60, 60, 60), (2.0, 2.0, 2.0), (0, 0, 0))
    coarse, fine = rough(np.random.default_rng(0), grid, 40), rough(np.random.default_rng(0), grid, 6)
    assert coarse.std() == pytest.approx(1, abs=0.01)
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.4 * np.abs(np.diff(fine, axis=0)).mean()


def test_distance_of_an_ellipsoid_is_in_mm():
    c = canvas()
    shape = c.ellipsoid([0, 0, 0], [20, 20, 20])
    assert isinstance(shape, Shape)
    x, y, z = c.coordinates(shape.region)
    true = np.sqrt(x * x + y * y + z * z) - 20
    near = np.abs(true) < 4
    assert np.abs(shape.distance - true)[near].max() < 0.5


def test_streams_depend_on_names_only():
    assert stream(3, "a", 1).random() == stream(3, "a", 1).random()
    assert stream(3, "a", 1).random() != stream(3, "a", 2).random()
    assert stream(3, "a").random() != stream(4, "a").random()


def test_uids_are_fixed_and_legal():
    assert uid("image", 1) == uid("image", 1) != uid("image", 2)
    assert uid("x").startswith("2.25.")
    assert len(uid("x")) <= 64
