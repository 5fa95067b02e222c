"""The grid that a network sees: the source's own axes, in its orientation and spacing; and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging import Volume
from attending.spatial import resample, same_grid

if TYPE_CHECKING:
    import torch

Slabs = Iterable[tuple[int, "torch.Tensor"]]
"""X indices at which slabs begin, and their logits `[K, x, Y, Z]`: in order, covering a grid once."""
Decide = Callable[["torch.Tensor"], "torch.Tensor"]
"""Logits `[K, ...]` to layers of label ids `[D, ...]` uint8. The logits of a label are a convex set, as under an argmax
or thresholds: what lies between voxels of one label is then of that label."""
_ON_A_VOXEL = 1e-4
"""Of a voxel: what lies nearer to a voxel than this lies on it."""


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


def decided(slabs: Slabs, decide: Decide, grid: Volume, source: Volume) -> list[Volume]:
    """Labels on the source's grid, decided there from the trilinear logits of `grid`, one volume a layer.

    Borders then lie where the network puts them between its voxels; MONAI's bundles for the spleen and for brain tumors
    do so with probabilities. Only where labels meet is there anything to compute. Beyond the outermost voxel centres
    their logits hold.
    """
    import torch

    turn = np.linalg.solve(grid.affine, source.affine)
    axes = [int(axis) for axis in np.abs(turn[:3, :3]).argmax(1)]  # the source's axis along each of the grid's
    ways = [
        _between(np.arange(source.shape[axis]) * turn[row, axis] + turn[row, 3], grid.shape[row])
        for row, axis in enumerate(axes)
    ]
    (below, above, upper), (y, y1, of_y), (z, z1, of_z) = ways
    labels: torch.Tensor | None = None
    logits, known = torch.empty(0), torch.empty(0)
    for at, slab in slabs:
        for plane, values in enumerate(slab.unbind(1), at):
            before, known_before, logits, known = logits, known, values, decide(values)
            if labels is None:
                labels = torch.zeros(len(known), *(source.shape[axis] for axis in axes), dtype=torch.uint8)
            for x in torch.nonzero(above == plane)[:, 0].tolist():
                if below[x] == plane:
                    layer, corners, between = known, known[None], logits
                else:
                    layer, corners = known_before, torch.stack([known_before, known])
                    between = torch.lerp(before, logits, float(upper[x]))
                labels[:, x] = layer[:, y][:, :, z]
                rows, columns = torch.nonzero(_mixed(corners)[y][:, z], as_tuple=True)
                if not len(rows):
                    continue
                between = torch.lerp(between[:, y], between[:, y1], of_y[:, None]).flatten(1)
                low, high = (between.index_select(1, rows * grid.shape[2] + at_z[columns]) for at_z in (z, z1))
                labels[:, x, rows, columns] = decide(torch.lerp(low, high, of_z[columns]))
    assert labels is not None
    order = [axes.index(axis) for axis in range(3)]
    return [
        Volume(np.ascontiguousarray(one.permute(order).numpy()), source.affine, series=source.series) for one in labels
    ]


def _between(places: npt.NDArray[np.float64], size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The voxels below and above each place along an axis, one and the same on a voxel, and the upper one's share."""
    import torch

    places = places.clip(0, size - 1)
    places = np.where(np.abs(places - places.round()) < _ON_A_VOXEL, places.round(), places)
    below, above = np.floor(places).astype(np.int64), np.ceil(places).astype(np.int64)
    return torch.from_numpy(below), torch.from_numpy(above), torch.from_numpy((places - below).astype(np.float32))


def _mixed(corners: torch.Tensor) -> torch.Tensor:
    """Where in planes `[P, D, Y, Z]` the voxels `y` to `y + 1`, `z` to `z + 1` of a layer are not all of one label."""
    import torch

    low, high = corners.amin(0), corners.amax(0)
    for axis in (1, 2):
        following = torch.arange(1, low.shape[axis] + 1).clamp(max=low.shape[axis] - 1)
        low = torch.minimum(low, low.index_select(axis, following))
        high = torch.maximum(high, high.index_select(axis, following))
    return (low != high).any(0)
