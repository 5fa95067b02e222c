"""Where a region is: on which side of the patient, in which organ, how far from another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from attending.imaging import Volume
from attending.spatial.region import across, region, shifted
from attending.spatial.resample import resample


class Side(NamedTuple):
    """Which side of the patient a region is on, and by what that was judged."""

    side: str
    """`left`, `right`, or `both` when at least a tenth of it lies on either side."""
    right_share: float
    """Share of its voxels to the patient's right of the midline."""
    midline_mm: float
    """RAS x of the midline."""
    reference: str
    """`reference mask` or `centre of the volume`."""


class Container(NamedTuple):
    """The labelled structure that holds a region."""

    name: str
    label: int
    share: float
    """Share of the region's voxels inside it; for `border`, of the labelled voxels around it."""
    how: str
    """`overlap`, or `border` when the region's own voxels carry no other label, as in a map of exclusive labels."""


def side(mask: Volume, label: int | None = None, reference: Volume | None = None) -> Side | None:
    """The patient's side of a region, by RAS x (+x is the patient's right).

    Args:
        mask: Label ids or booleans.
        label: Which label id; None for all that is not 0.
        reference: Mask of the body or of an organ that lies across the midline; the midline is halfway between its
            outermost voxels along x. Without one (or with an empty one) it is the centre of the volume, which is wrong
            for a patient who lies off centre: the result says which was used.

    Returns:
        None when the mask is empty.
    """
    found = region(mask, label)
    if not found.array.size:
        return None
    body = None if reference is None else region(reference)
    if body is not None and body.array.size:
        ends = [end for x in across(body) if len(x) for end in (x.min(), x.max())]
        midline, source = float(min(ends) + max(ends)) / 2, "reference mask"
    else:
        centre = mask.to_world((np.array(mask.shape) - 1) / 2)
        midline, source = float(centre[0]), "centre of the volume"
    share = float(sum(np.count_nonzero(x > midline) for x in across(found)) / np.count_nonzero(found.array))
    word = "right" if share > 0.9 else "left" if share < 0.1 else "both"
    return Side(word, share, midline, source)


def containing(
    mask: Volume, labels: Volume, names: Mapping[int, str], *, label: int | None = None, ignore: Collection[int] = ()
) -> Container | None:
    """The structure of `labels` that the region overlaps most, or that surrounds it.

    Args:
        mask: Label ids or booleans.
        labels: Label ids of organs or lobes, on any grid.
        names: Names by label id; ids without a name are passed over.
        label: Which label id of `mask`; None for all that is not 0.
        ignore: Ids of `labels` that hold nothing, such as the lesion's own.

    Returns:
        None when the mask is empty or touches nothing that has a name.
    """
    found = region(mask, label)
    if not found.array.size:
        return None
    padded = Volume(np.pad(found.array, 1), shifted(found.affine, (slice(-1, 0), slice(-1, 0), slice(-1, 0))))
    around = resample(labels, padded, nearest=True).array
    wanted = [i for i in names if i not in set(ignore) and i > 0]
    shell = ndimage.binary_dilation(padded.array, np.ones((3, 3, 3), bool)) & (padded.array == 0)
    for how, where in (("overlap", padded.array), ("border", shell)):
        inside = around[where]
        ids, counts = np.unique(inside[np.isin(inside, wanted)], return_counts=True)
        if len(ids):
            best = int(ids[counts.argmax()])
            whole = len(inside) if how == "overlap" else int(counts.sum())
            return Container(names[best], best, float(counts.max() / whole), how)
    return None


def distance_mm(a: Volume, b: Volume, label_a: int | None = None, label_b: int | None = None) -> float | None:
    """Shortest distance in mm between the surfaces of two regions; 0 when they touch or overlap.

    The surfaces are the faces between voxels inside and outside, taken at their centres, so any spacing, obliquity,
    shear, and two different grids are measured alike: exact for flat faces, else within about half a voxel.

    Returns:
        None when either is empty.
    """
    first, second = region(a, label_a), region(b, label_b)
    if not first.array.size or not second.array.size:
        return None
    if _overlap(first, second) or _overlap(second, first):
        return 0.0
    small, large = sorted((_faces(first), _faces(second)), key=len)
    gaps, _ = cKDTree(large, compact_nodes=False, balanced_tree=False).query(small)
    return float(gaps.min())


def _overlap(first: Volume, second: Volume) -> bool:
    """Whether a voxel centre of `first` lies in a voxel of `second`."""
    at = np.floor(second.to_voxels(first.to_world(np.argwhere(first.array))) + 0.5).astype(int)
    at = at[((at >= 0) & (at < second.shape)).all(1)]
    return bool(second.array[tuple(at.T)].any())


def _faces(found: Volume) -> npt.NDArray[np.float64]:
    """Centres of the faces between voxels inside and outside, RAS mm `[N, 3]`."""
    padded = np.pad(found.array, 1)
    centres = []
    for axis in range(3):
        change = np.argwhere(np.diff(padded, axis=axis)).astype(float)
        change[:, axis] += 0.5
        centres.append(change - 1)
    return found.to_world(np.concatenate(centres))
