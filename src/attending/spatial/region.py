"""Regions: a label of a mask, cut to the smallest box that holds it, still in its place in the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.errors import InputError
from attending.imaging import Volume

Box = tuple[slice, slice, slice]


def region(mask: Volume, label: int | None = None) -> Volume:
    """The voxels of `mask` that hold `label`, or anything but 0, as a boolean volume of the smallest box around them.

    All measurements take such a region as well as a whole mask; from a region they are as fast as the region is small.

    Args:
        mask: Label ids or booleans `[X, Y, Z]`.
        label: The id; None for all that is not 0.

    Returns:
        Boolean `[x, y, z]` with the affine of its place; `[0, 0, 0]` when the mask holds none.

    Raises:
        InputError: The mask has channels, or holds what cannot be label ids.
    """
    _check(mask)
    array = np.asarray(mask.array != 0 if label is None else mask.array == label)
    box = _box_of(array)
    if box is None:
        return replace(mask, array=np.zeros((0, 0, 0), bool))
    return replace(mask, array=array[box], affine=shifted(mask.affine, box))


def regions(mask: Volume) -> dict[int, Volume]:
    """The region of each label id present, ids rising, found in one pass over the voxels.

    Raises:
        InputError: As `region` says.
    """
    _check(mask)
    array = mask.array
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 4:
        array = array.astype(np.int32)
    # In the order of the voxels in memory, which for files read by nibabel is the reverse of the axes.
    reverse = array.flags.f_contiguous
    boxes = [box and box[::-1] for box in ndimage.find_objects(array.T)] if reverse else ndimage.find_objects(array)
    return {
        label: replace(mask, array=np.asarray(mask.array[box] == label), affine=shifted(mask.affine, box))
        for label, box in enumerate(boxes, 1)
        if box is not None
    }


def labels_in(mask: Volume) -> tuple[int, ...]:
    """The label ids present, rising, without 0."""
    return tuple(regions(mask))


def _box_of(array: npt.NDArray[np.bool_]) -> Box | None:
    """Smallest box around the true voxels of `[X, Y, Z]`; None when there are none.

    Axes are looked at in the order of their strides, each within the box found so far.
    """
    box = [slice(0, n) for n in array.shape]
    for axis in sorted(range(3), key=lambda a: -array.strides[a]):
        part = array[tuple(box)]
        hit = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(hit):
            return None
        box[axis] = slice(int(hit[0]), int(hit[-1]) + 1)
    return box[0], box[1], box[2]


def centroid(found: Volume) -> npt.NDArray[np.float64]:
    """Centre of mass of a region that is not empty, RAS mm."""
    middle = []
    for axis in range(3):
        counts = np.count_nonzero(found.array, axis=tuple(a for a in range(3) if a != axis))
        middle.append(counts @ np.arange(len(counts)) / counts.sum())
    return found.to_world(middle)


def across(found: Volume) -> Iterator[npt.NDArray[np.float64]]:
    """RAS x of the set voxels' centres, slab by slab, so that large regions take no memory."""
    step = found.affine[0]
    plane = step[1] * np.arange(found.shape[1])[:, None] + step[2] * np.arange(found.shape[2]) + step[3]
    for i, slab in enumerate(found.array.astype(bool, copy=False)):
        yield plane[slab] + i * step[0]


def shifted(affine: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.float64]:
    """The affine of the part of a grid that `box` cuts out."""
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ [side.start for side in box] + affine[:3, 3]
    return moved


def _check(mask: Volume) -> None:
    array = mask.array
    if array.ndim != 3:
        raise InputError("a mask has no channels: expected [X, Y, Z]", field="mask shape", value=array.shape)
    if array.dtype.kind not in "biuf":
        raise InputError("a mask holds whole label ids from 0", field="mask voxel type", value=array.dtype)
    if not array.size:
        return
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 65535):  # NaN fails too
        raise InputError("a mask holds whole label ids from 0 to 65535", field="mask", value=f"{low} to {high}")
    if array.dtype.kind == "f" and (array != np.rint(array)).any():
        raise InputError("a mask holds whole label ids from 0", field="mask", value=array[array != np.rint(array)][0])
