"""Resampling: the voxels of one grid read off at the places of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.imaging import Volume


def same_grid(a: Volume, b: Volume, tolerance: float = 0.01) -> bool:
    """Whether two volumes have the same shape and voxels in the same places, to `tolerance` of a voxel."""
    if a.shape != b.shape:
        return False
    corners = np.array(np.meshgrid(*((0, max(0, size - 1)) for size in a.shape))).reshape(3, -1).T
    return bool(np.abs(a.to_voxels(b.to_world(corners)) - corners).max() <= tolerance)


def resample(volume: Volume, like: Volume, *, nearest: bool, outside: float = 0) -> Volume:
    """Read `volume` at the voxel centres of `like`.

    Args:
        volume: `[X, Y, Z]` or `[C, X, Y, Z]`.
        like: Gives shape and affine; its values do not matter.
        nearest: Take the nearest voxel's value, as label masks need: no border moves by more than half a voxel of
            `volume`, and voxels on the same grid come back unchanged. Else trilinear, as float32.
        outside: Value where `like` reaches beyond the voxels of `volume` (half a voxel beyond the last centre).

    Returns:
        `volume`'s modality and series on the grid of `like`. The type of the voxels is kept for `nearest`, unless
        `outside` is NaN, which makes it float32.
    """
    dtype = volume.array.dtype if nearest and np.isfinite(outside) else np.dtype(np.float32)
    channels = volume.array if volume.array.ndim == 4 else volume.array[None]
    to_source = np.linalg.inv(volume.affine) @ like.affine
    shape = like.shape
    out = np.empty((len(channels), *shape), dtype)
    for target, source in zip(out, channels, strict=True):
        if nearest:
            _nearest(source, to_source, outside, target)
        else:
            _linear(source, to_source, outside, target)
    array = out if volume.array.ndim == 4 else out[0]
    return replace(volume, array=array, affine=like.affine)


def _nearest(
    source: npt.NDArray[np.generic], to_source: npt.NDArray[np.float64], outside: float, out: npt.NDArray[np.generic]
) -> None:
    """Nearest voxel, slab by slab, so that the coordinates never take much memory."""
    rows, columns = (np.arange(n) for n in out.shape[1:])
    matrix, offset = to_source[:3, :3], to_source[:3, 3]
    for i in range(out.shape[0]):
        inside = np.ones(out.shape[1:], bool)
        index = []
        for axis in range(3):
            along = matrix[axis, 1] * rows[:, None] + matrix[axis, 2] * columns[None]
            # A hair less than a half keeps ties, which rounding error would scatter, on one side.
            at = np.floor(along + (matrix[axis, 0] * i + offset[axis] + 0.5 - 1e-6)).astype(np.intp)
            inside &= (at >= 0) & (at < source.shape[axis])
            index.append(np.clip(at, 0, max(0, source.shape[axis] - 1)))
        out[i] = np.where(inside, source[tuple(index)], outside) if source.size else outside


def _linear(
    source: npt.NDArray[np.generic], to_source: npt.NDArray[np.float64], outside: float, out: npt.NDArray[np.generic]
) -> None:
    """Trilinear between voxel centres; in the outermost half voxel the value of the last centre."""
    padded = np.pad(np.asarray(source, np.float32), 1, mode="edge")
    matrix, offset = to_source[:3, :3], to_source[:3, 3] + 1
    diagonal = np.diag(np.diag(matrix))
    how = (
        np.diag(matrix) if np.abs(matrix - diagonal).max() < 1e-9 else matrix
    )  # scipy is faster with the diagonal alone
    ndimage.affine_transform(padded, how, offset, out.shape, out, order=1, mode="constant", cval=outside)
    low = np.full(3, 0.5 - 1e-6)
    high = np.array(source.shape) + 0.5 + 1e-6
    rows, columns = (np.arange(n) for n in out.shape[1:])
    for i in range(out.shape[0]):
        for axis in range(3):
            at = matrix[axis, 1] * rows[:, None] + matrix[axis, 2] * columns[None] + matrix[axis, 0] * i + offset[axis]
            out[i][(at < low[axis]) | (at > high[axis])] = outside
