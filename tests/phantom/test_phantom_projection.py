"""The radiograph is a projection: shadows have the place and size that geometry says."""

import numpy as np
import pytest

from attending.phantom.canvas import Grid
from attending.phantom.xray import Detector, _integrate, _shadow, _splat

GRID = Grid((100, 80, 100), (3.0, 3.0, 3.0), (-148.5, -118.5, -148.5))
DETECTOR = Detector(256, 1.5, (0.0, 0.0), 120.0, 1800.0)


def ball(center, radius):
    axes = np.meshgrid(*(GRID.axis(i) for i in range(3)), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, center, strict=True)) < radius**2


def disc(center, radius):
    x, z = np.meshgrid(DETECTOR.axis(0), DETECTOR.axis(1), indexing="ij")
    return (x - center[0]) ** 2 + (z - center[1]) ** 2 < radius**2


@pytest.mark.parametrize("center", [(0, 0, 0), (50, 60, -30), (-40, -80, 45)])
def test_the_shadow_of_a_ball_is_a_disc(center):
    shadow = _shadow(ball(center, 35), GRID, DETECTOR)
    scale = float(DETECTOR.magnify(center[1]))
    expected = disc((center[0] * scale, center[2] * scale), 35 * scale)
    assert (shadow & expected).sum() / (shadow | expected).sum() > 0.94


def test_what_is_further_from_the_detector_looks_larger():
    assert DETECTOR.magnify(-100) > DETECTOR.magnify(100) > 1
    assert float(DETECTOR.magnify(120)) == 1.0


def test_the_integral_is_the_path_length():
    path = _integrate(ball((0, 0, 0), 40), GRID, DETECTOR)
    assert path.max() == pytest.approx(80, abs=4)


def test_point_masses_keep_their_mass():
    points = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    image = _splat(points, np.full(500, 1000.0), DETECTOR)
    scale = DETECTOR.magnify(points[:, 1])
    assert image.sum() * 1.5**2 == pytest.approx((0.0195 * scale**2).sum(), rel=0.01)


def test_the_affine_places_pixels_on_the_detector():
    corner = DETECTOR.affine @ [0, 0, 0, 1]
    assert corner[:3] == pytest.approx([DETECTOR.axis(0)[0], 120.0, DETECTOR.axis(1)[0]])
