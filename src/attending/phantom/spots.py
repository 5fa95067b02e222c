"""Spots: what surrounds each point of a trunk, in numbers that let the oracle tell lesion from organ.

Points lie on a lattice in the patient. Each is described by the image at several scales, by what lies around it at
several distances whatever way the patient is turned, by what lies to each side, and by its place between landmarks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.imaging import Volume

Array = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STEP = 5.0
"""Distance between points, mm."""
_SIGMAS = (2.2, 3.2, 4.6, 6.6, 9.5, 14.0)
_RINGS = ((5.0, 0), (9.0, 1), (14.0, 1), (20.0, 2), (29.0, 3))
"""Distance of a ring of samples, mm, and which smoothed image it reads."""
_SHARES = (0, 3, 6, 10, 13)
"""Which of a ring's 14 samples are kept, in rising order."""
_SIDES = ((18.0, 2), (42.0, 4))
_RANGES = {"soft": (-60.0, 230.0), "lung": (-950.0, 60.0)}
_AXES = np.concatenate([np.eye(3), -np.eye(3)])
_CORNERS = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) / np.sqrt(3)
_RAYS = np.concatenate([_AXES, _CORNERS])


class Spots(NamedTuple):
    """Points of a lattice.

    Attributes:
        cell: `[N, 3]` whole numbers: place in the lattice.
        center: `[N, 3]` voxel indices, fractions allowed.
        features: `[N, F]` float32.
    """

    cell: npt.NDArray[np.intp]
    center: Points
    features: Array


class Frame(NamedTuple):
    """Landmarks that make places in different patients comparable.

    Attributes:
        middle: RAS x and y of the middle of the body, mm.
        half: Half the width and depth of the body, mm.
        dome: RAS z of the right dome of the diaphragm, mm.
        height: From there to the top of the lungs, mm.
    """

    middle: tuple[float, float]
    half: tuple[float, float]
    dome: float
    height: float


def torso(value: Array, volume: Volume) -> tuple[Mask, Mask]:
    """The body, and the lungs with what they enclose; found on every second voxel."""
    small = ndimage.uniform_filter(value, 2)[::2, ::2, ::2]
    spacing = 2 * np.asarray(volume.spacing)
    body = _largest(ndimage.binary_opening(small > -300))
    for k in range(body.shape[2]):
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    labels, _ = ndimage.label((small < -500) & ndimage.binary_erosion(body))
    sizes = np.bincount(labels.ravel()) * float(np.prod(spacing)) / 1000
    sizes[0] = 0
    lungs = _close(np.isin(labels, np.flatnonzero(sizes > 500)), 15.0, spacing) & body
    return _enlarge(body, value.shape), _enlarge(lungs, value.shape)


def frame_of(body: Mask, lungs: Mask, volume: Volume) -> Frame:
    """Landmarks from the body and the lungs, of which neither may be empty."""
    x, y, z = _coordinates(volume)
    levels = np.flatnonzero(np.any(lungs, (0, 1)))
    trunk: Mask = np.asarray(body[:, :, max(0, levels[0] - 10) : levels[0] + 10].any(2))
    wide, deep = x[np.flatnonzero(trunk.any(1))], y[np.flatnonzero(trunk.any(0))]
    right = lungs[x > (wide[0] + wide[-1]) / 2]
    floor = np.where(right.any(2), right.argmax(2), 0)
    dome = z[int(np.percentile(floor[floor > 0], 90))] if floor.any() else z[levels[0]]
    middle = (float(wide[0] + wide[-1]) / 2, float(deep[0] + deep[-1]) / 2)
    half = (float(wide[-1] - wide[0]) / 2, float(deep[-1] - deep[0]) / 2)
    return Frame(middle, half, float(dome), max(1.0, float(z[levels[-1]] - dome)))


def find(value: Array, volume: Volume, body: Mask, lungs: Mask, tissue: str) -> Spots:
    """Points in the upper abdomen (`soft`) or in the lungs (`lung`).

    Args:
        value: `[X, Y, Z]` HU, RAS order.
        volume: Gives the affine.
        body: All of the patient.
        lungs: The lungs with what they enclose.
        tissue: Where, and in which range of HU.
    """
    low, high = _RANGES[tissue]
    image = (np.clip(value, low, high) - low) / np.float32(100)
    frame = frame_of(body, lungs, volume)
    smooth = _pyramid(image, np.asarray(volume.spacing))
    inside = lungs if tissue == "lung" else _belly(smooth, body & ~lungs, frame, volume)
    step = STEP / np.asarray(volume.spacing)
    counts = [int((n - 1) / s) + 1 for n, s in zip(value.shape, step, strict=True)]
    near = [np.rint(np.arange(n) * s).astype(int) for n, s in zip(counts, step, strict=True)]
    cell = np.argwhere(inside[np.ix_(*near)])
    center = cell * step
    around, place = _around(smooth, center, np.asarray(volume.spacing)), _place(volume.to_world(center), frame)
    mood = _mood(value, body & ~lungs, smooth)
    everywhere = np.broadcast_to(mood, (len(center), len(mood)))
    return Spots(cell, center, np.concatenate([around, place, everywhere], 1, dtype=np.float32))


def _coordinates(volume: Volume) -> list[Points]:
    """RAS x, y and z of the voxels of an upright grid, mm."""
    return [volume.affine[a, 3] + np.arange(n) * volume.affine[a, a] for a, n in enumerate(volume.shape)]


def _belly(smooth: list[Array], inside: Mask, frame: Frame, volume: Volume) -> Mask:
    """Soft tissue among soft tissue, from the dome of the diaphragm to below the kidneys, off the body wall."""
    x, y, z = _coordinates(volume)
    ring = ((x - frame.middle[0]) / frame.half[0]) ** 2
    ring = ring[:, None] + ((y - frame.middle[1]) / frame.half[1])[None] ** 2
    below = (z < frame.dome + 15) & (z > frame.dome - 1.2 * frame.height)
    tissue = (smooth[0] > 0.4) & (smooth[0] < 2.85) & (smooth[3] > 0.6)
    return np.asarray(inside & tissue & (ring < 0.8)[:, :, None] & below)


def _pyramid(image: Array, spacing: Points) -> list[Array]:
    found, before = [], 0.0
    for sigma in _SIGMAS:
        image = ndimage.gaussian_filter(image, np.sqrt(sigma**2 - before**2) / spacing, truncate=2.6)
        found.append(image)
        before = sigma
    return found


def _around(smooth: list[Array], center: Points, spacing: Points) -> Array:
    """The scales at each point, rings around it in rising order, and what lies to its six sides."""

    def sample(image: Array, ways: Points, distance: float) -> Array:
        points = center[:, None] + ways * distance / spacing
        return np.asarray(ndimage.map_coordinates(image, np.moveaxis(points, -1, 0), order=1, mode="nearest"))

    levels = np.stack([ndimage.map_coordinates(image, center.T, order=1) for image in smooth], 1)
    rings = [np.sort(sample(smooth[k], _RAYS, far), 1)[:, _SHARES] - levels[:, k : k + 1] for far, k in _RINGS]
    sides = [sample(smooth[k], _AXES, far) for far, k in _SIDES]
    return np.concatenate([levels, *rings, *sides], 1)


def _place(world: Points, frame: Frame) -> Points:
    x, y = ((world[:, a] - frame.middle[a]) / frame.half[a] for a in (0, 1))
    place = np.stack([x, y, (world[:, 2] - frame.dome) / frame.height], 1)
    return np.concatenate([place, place**2, np.abs(place[:, :1])], 1)


def _mood(value: Array, soft: Mask, smooth: list[Array]) -> Array:
    """What the whole scan is like: levels of soft tissue (contrast) and grain (noise)."""
    tissue = value[::3, ::3, ::2][soft[::3, ::3, ::2]]
    tissue = tissue[(tissue > -20) & (tissue < 400)]
    if not len(tissue):
        tissue = np.zeros(1, np.float32)
    levels = np.percentile(tissue, [15, 35, 50, 65, 80, 90, 96, 99]) / 100
    grain = np.abs(smooth[0] - smooth[1])[soft].mean() if soft.any() else 0.0
    return np.append(levels, grain).astype(np.float32)


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _enlarge(mask: Mask, shape: tuple[int, ...]) -> Mask:
    for axis, size in enumerate(shape):
        mask = np.repeat(mask, 2, axis).take(range(size), axis)
    return mask


def _close(mask: Mask, radius: float, spacing: Points) -> Mask:
    """Closing by a large ball, through distances."""
    if not mask.any():
        return mask
    pad = int(radius / spacing.min()) + 2
    grown = ndimage.distance_transform_edt(~np.pad(mask, pad), spacing) < radius
    closed = ndimage.distance_transform_edt(grown, spacing) > radius
    return np.asarray(closed[pad:-pad, pad:-pad, pad:-pad])
