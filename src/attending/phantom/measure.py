"""Measurements of a labelled region in physical units; to move to `attending.spatial` when that exists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def box_of(mask: Mask) -> tuple[slice, slice, slice]:
    """Smallest box that holds every set voxel."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]


def volume_ml(mask: Mask, affine: npt.NDArray[np.float64]) -> float:
    """Volume in millilitres: voxels times voxel size."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(affine[:3, :3])) / 1000)


def centroid(mask: Mask, affine: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean position of the set voxels' centres, RAS mm."""
    middle = np.argwhere(mask).mean(0)
    x, y, z = affine[:3, :3] @ middle + affine[:3, 3]
    return float(x), float(y), float(z)


def longest_diameter(mask: Mask, affine: npt.NDArray[np.float64], axis: int = 2) -> float:
    """Longest distance in mm between two voxel centres of the region within one slice across `axis`.

    On axis 2 that is the longest axial diameter; a region of one voxel measures 0.
    """
    plane = [a for a in range(3) if a != axis]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[plane]
    best = 0.0
    for k in np.flatnonzero(mask.any(axis=tuple(plane))):
        points = _edge(np.take(mask, k, axis)) * spacing
        gaps = points[:, None] - points[None]
        best = max(best, float(np.sqrt((gaps**2).sum(-1).max())))
    return best


def _edge(section: Mask) -> npt.NDArray[np.float64]:
    """First and last set pixel of every row: the farthest pair is among them."""
    rows = np.flatnonzero(section.any(1))
    first = section[rows].argmax(1)
    last = section.shape[1] - 1 - section[rows, ::-1].argmax(1)
    return np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)]).astype(float)


def measure(mask: Mask, affine: npt.NDArray[np.float64], diameter: bool = True) -> dict[str, Any]:
    """Volume, centroid, extent and, unless not wanted, longest axial diameter of a region that is not empty."""
    box = box_of(mask)
    local = affine.copy()
    local[:3, 3] = affine[:3, :3] @ [s.start for s in box] + affine[:3, 3]
    part = mask[box]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    found: dict[str, Any] = {
        "voxels": int(np.count_nonzero(part)),
        "volume_ml": round(volume_ml(part, local), 3),
        "centroid_ras_mm": [round(c, 1) for c in centroid(part, local)],
        "extent_mm": [round(float(n * s), 1) for n, s in zip(part.shape, spacing, strict=True)],
        "box_voxels": [[s.start, s.stop] for s in box],
    }
    if diameter:
        found["longest_axial_diameter_mm"] = round(longest_diameter(part, local), 1)
    return found
