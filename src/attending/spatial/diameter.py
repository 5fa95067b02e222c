"""The longest diameter of a region within one slice and its perpendicular, as RECIST 1.1 measures a lesion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from attending.imaging import Volume
from attending.spatial.region import region

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Diameter:
    """Two lines across a region on one slice.

    Attributes:
        longest_mm: Length of the longest line, from border to border.
        perpendicular_mm: Length of the longest line at a right angle to it, within the region's convex hull.
        longest_ends: Its two ends, RAS mm.
        perpendicular_ends: The other's two ends, RAS mm.
    """

    longest_mm: float
    perpendicular_mm: float
    longest_ends: tuple[tuple[float, float, float], tuple[float, float, float]]
    perpendicular_ends: tuple[tuple[float, float, float], tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, mm."""
        return {
            "longest_axial_diameter_mm": self.longest_mm,
            "perpendicular_diameter_mm": self.perpendicular_mm,
            "longest_ends_ras_mm": self.longest_ends,
            "perpendicular_ends_ras_mm": self.perpendicular_ends,
        }


def axial_diameter(mask: Volume, label: int | None = None) -> Diameter | None:
    """The longest line within one slice of the grid, over all slices across the axis nearest to superior.

    An oblique grid is measured on its own slices, as a reader measures the images that were acquired. The border runs
    halfway between the last voxel centre inside and the first outside, so one voxel measures its own width and a ball
    is neither too large nor too small on average; either line is within a voxel of the shape's own.

    Source: Eisenhauer et al., RECIST 1.1, Eur J Cancer 45 (2009) 228, section 3.1; the perpendicular is WHO's.

    Args:
        mask: Label ids or booleans `[X, Y, Z]`.
        label: Which label id; None for all that is not 0.

    Returns:
        None when the mask is empty. Several components are spanned together; measure them one by one if that is not
        meant.
    """
    return _within_slices(region(mask, label), 2)


def frontal_diameter(mask: Volume, label: int | None = None) -> Diameter | None:
    """The same across the axis nearest to anterior, as a shadow on a frontal radiograph `[X, 1, Z]` is measured.

    Args:
        mask: As `axial_diameter` says.
        label: As `axial_diameter` says.

    Returns:
        None when the mask is empty; lengths are those on the detector, which magnifies.
    """
    return _within_slices(region(mask, label), 1)


def _within_slices(found: Volume, normal: int) -> Diameter | None:
    """The longest line within one slice across the RAS axis `normal`, over all slices."""
    found = found.canonical()
    if not found.array.size:
        return None
    sections = np.ascontiguousarray(np.moveaxis(found.array, normal, 0).astype(bool, copy=False))
    across, up = (found.affine[:3, axis] for axis in range(3) if axis != normal)  # one step along each axis, mm
    frame, scale = _frame(across, up)
    best: tuple[float, Points, int] | None = None
    for bound, k in _bounds(sections, scale):
        if best is not None and bound <= best[0]:
            break
        corners = _hull(_border(sections[k]) @ scale)
        gaps = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
        i, j = np.unravel_index(int(gaps.argmax()), gaps.shape)
        if best is None or gaps[i, j] > best[0]:
            best = float(gaps[i, j]), np.stack([corners[i], corners[j], *corners]), k
    assert best is not None  # a region that is not empty has a slice
    length, points, k = best
    ends, hull = points[:2], points[2:]
    chord = _perpendicular(ends, hull)
    origin = found.to_world(k * np.eye(3)[normal])

    def world(plane: Points) -> Any:
        return tuple(tuple(float(value) for value in origin + point @ frame) for point in plane)

    return Diameter(length, float(np.linalg.norm(chord[1] - chord[0])), world(ends), world(chord))


def _frame(across: Points, up: Points) -> tuple[Points, Points]:
    """Two orthonormal vectors `[2, 3]` of the slice, and the matrix from its pixel steps to mm along them."""
    first = across / np.linalg.norm(across)
    second = up - (up @ first) * first  # differs from `up` where the grid is sheared
    second /= np.linalg.norm(second)
    frame = np.stack([first, second])
    return frame, np.stack([frame @ across, frame @ up])


def _bounds(sections: npt.NDArray[np.bool_], scale: Points) -> list[tuple[float, int]]:
    """For each slice that holds something: the longest line that its bounding box allows, longest first."""
    spans = []
    for axis in (2, 1):  # extent along the other axis
        hit: npt.NDArray[np.bool_] = np.asarray(sections.any(axis=axis))
        first, last = hit.argmax(1), hit.shape[1] - 1 - hit[:, ::-1].argmax(1)
        spans.append(np.where(hit.any(1), last - first + 1, 0))
    rows, columns = spans
    longest = np.maximum(
        np.linalg.norm(np.stack([rows, columns], -1) @ scale, axis=-1),
        np.linalg.norm(np.stack([rows, -columns], -1) @ scale, axis=-1),
    )
    return sorted(((float(longest[k]), int(k)) for k in np.flatnonzero(rows)), key=lambda pair: (-pair[0], pair[1]))


def _border(section: npt.NDArray[np.bool_]) -> Points:
    """Midpoints between the outermost pixels of every row and column and their neighbours outside, in pixels."""
    found = []
    for axis in (0, 1):
        lines: npt.NDArray[np.bool_] = section if axis == 0 else section.T
        at = np.flatnonzero(lines.any(1))
        first = lines[at].argmax(1) - 0.5
        last = lines.shape[1] - 0.5 - lines[at, ::-1].argmax(1)
        points = np.concatenate([np.stack([at, first], 1), np.stack([at, last], 1)])
        found.append(points if axis == 0 else points[:, ::-1])
    return np.concatenate(found)


def _hull(points: Points) -> Points:
    """Corners of the convex hull, counter-clockwise; the border of one pixel already has four."""
    return np.asarray(points[ConvexHull(points).vertices])


def _perpendicular(ends: Points, hull: Points) -> Points:
    """The longest chord of a convex polygon at a right angle to the line between `ends`.

    Its length is a concave, piecewise linear function of the place along that line, so it is greatest at a corner.
    """
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    aside = np.array([-along[1], along[0]])
    t, s = (hull - ends[0]) @ along, (hull - ends[0]) @ aside
    best = (-1.0, 0.0, 0.0, 0.0)
    for place in t:
        low, high = np.inf, -np.inf
        for a in range(len(t)):
            b = (a + 1) % len(t)
            if min(t[a], t[b]) <= place <= max(t[a], t[b]):
                share = 0.0 if t[a] == t[b] else (place - t[a]) / (t[b] - t[a])
                crossing = s[a] + share * (s[b] - s[a])
                corners = (crossing, s[b]) if t[a] == t[b] else (crossing,)
                low, high = min(low, *corners), max(high, *corners)
        best = max(best, (float(high - low), float(place), float(low), float(high)))
    _, place, low, high = best
    return np.stack([ends[0] + place * along + low * aside, ends[0] + place * along + high * aside])
