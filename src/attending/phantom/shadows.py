"""Shadows: what surrounds each point of a frontal radiograph, in numbers that let the oracle tell what lies there.

A radiograph is always upright, so what lies in each direction is kept apart: a band is level, a rib slants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]

SIZE, STEP, EDGE = 256, 4, 16
"""Pixels of the picture that is looked at; distance of points and width of the edge that is not, in those pixels."""
SIDE = len(range(EDGE, SIZE - EDGE, STEP))
"""Points along each side."""
_SIGMAS = (1.0, 1.6, 2.5, 4.0, 6.5, 10.0)
_RINGS = ((3, 0), (5, 1), (8, 1), (12, 2), (18, 3), (27, 3))
"""Distance of a ring of 16 samples, pixels, and which smoothed picture it reads."""
_ANGLES = np.arange(16) * np.pi / 8
_WAYS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


def places() -> npt.NDArray[np.intp]:
    """`[SIDE * SIDE, 2]`: x and z of every point, pixels of the picture that is looked at."""
    along = np.arange(EDGE, SIZE - EDGE, STEP)
    return np.stack([axis.ravel() for axis in np.meshgrid(along, along, indexing="ij")], 1)


def shrink(picture: Array, size: int) -> Array:
    """The picture at another size, each pixel the mean of those it covers."""
    whole = picture.shape[0] // size
    if whole * size == picture.shape[0]:
        return np.asarray(picture.reshape(size, whole, size, whole).mean((1, 3)), np.float32)
    blurred = ndimage.gaussian_filter(picture, max(0.0, 0.45 * picture.shape[0] / size - 0.4))
    return np.asarray(ndimage.zoom(blurred, size / picture.shape[0], order=1), np.float32)


def describe(picture: Array) -> Array:
    """Features `[SIDE * SIDE, F]` of a radiograph `[X, Z]` of any size and units."""
    small = shrink(picture, SIZE)
    low, high = np.percentile(small, (2, 98))
    image = np.clip((small - low) / (high - low + 1e-6), -0.5, 1.5).astype(np.float32) * 4
    smooth, before = [], 0.0
    for sigma in _SIGMAS:
        image = ndimage.gaussian_filter(image, np.sqrt(sigma**2 - before**2), truncate=2.6)
        smooth.append(image)
        before = sigma
    points = places()
    x, z = points.T
    levels = np.stack([image[x, z] for image in smooth], 1)
    mirrored = np.stack([image[SIZE - 1 - x, z] for image in smooth[2:]], 1) - levels[:, 2:]
    rings = []
    for far, k in _RINGS:
        around = np.moveaxis(points[:, None] + _WAYS * far, -1, 0)
        rings.append(ndimage.map_coordinates(smooth[k], around, order=1, mode="nearest") - levels[:, k : k + 1])
    across, up = ((axis - SIZE / 2) / (SIZE / 2) for axis in (x, z))
    place = np.stack([across, up, across**2, up**2, np.abs(across), across * up], 1)
    return np.concatenate([levels, mirrored, *rings, place], 1).astype(np.float32)


def score(chance: Array) -> float:
    """By how many of nine neighbouring points a finding is seen, as a share; `chance` is that of every point."""
    return float(ndimage.uniform_filter(chance.reshape(SIDE, SIDE), 3).max())
