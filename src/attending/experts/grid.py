"""The grid that a network sees: the source's own axes, in its orientation and spacing; and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attending.errors import InputError
from attending.imaging import Volume
from attending.spatial import resample, same_grid


def network_grid(volume: Volume, spacing: Sequence[float] | None = None, orientation: str | None = None) -> Volume:
    """The grid along the source's own axes with the spacing and orientation that a network was trained on.

    Nothing is turned: only flips, permutations and a new spacing, so an oblique volume stays as it was acquired. The
    first voxel centres coincide, as in MONAI's `Spacing`.

    Args:
        volume: The source.
        spacing: mm along the axes of the result; None keeps the source's. Within 1 % counts as equal.
        orientation: `RAS`, or with any of its letters turned round, such as `LPS`; None keeps the source's axes.

    Returns:
        A volume without voxels of its own (zeros that take no memory).

    Raises:
        InputError: An orientation with its axes in another order.
    """
    source = replace(volume, array=volume.array[0] if volume.array.ndim == 4 else volume.array)
    if orientation is not None:
        source = source.canonical()
        if len(orientation) != 3 or any(
            a not in b for a, b in zip(orientation.upper(), ("RL", "AP", "SI"), strict=True)
        ):
            raise InputError("expected R or L, then A or P, then S or I", field="orientation", value=orientation)
        for axis, letter in enumerate(orientation.upper()):
            if letter in "LPI":
                flip = np.eye(4)
                flip[axis, axis], flip[axis, 3] = -1, source.shape[axis] - 1
                source = replace(source, array=np.flip(source.array, axis), affine=source.affine @ flip)
    shape, affine = source.shape, source.affine.copy()
    if spacing is not None and not np.allclose(source.spacing, spacing, rtol=0.01):
        scale = np.array(spacing) / source.spacing
        shape = tuple(max(1, round((n - 1) / s) + 1) for n, s in zip(shape, scale, strict=True))
        affine[:3, :3] *= scale
    return Volume(np.broadcast_to(np.uint8(0), shape), affine)


def onto(volume: Volume, grid: Volume, outside: float) -> Volume:
    """The source on `grid`, trilinear, float32; voxels that only change places keep their values."""
    if same_grid(volume, grid):
        return replace(volume, array=volume.array.astype(np.float32))
    return resample(volume, grid, nearest=False, outside=outside)


def back(labels: np.ndarray, grid: Volume, source: Volume) -> Volume:
    """Labels made on `grid` on the source's grid: no border moves by more than half a voxel of `grid`.

    In the half voxel at the far end of an axis that a coarser `grid` may not reach, the nearest label holds.
    """
    made = Volume(np.pad(labels, 1, mode="edge"), grid.affine.copy())
    made.affine[:3, 3] -= made.affine[:3, :3].sum(1)
    return replace(resample(made, source, nearest=True), modality=None, series=source.series)
