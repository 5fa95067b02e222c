"""Geometry: frames in any order become one regular grid, or the error says which frame breaks it and by how much."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging.dicom.frames import Frame

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# As shares of the slice distance (along) or the pixel size (across). Below `_SILENT` it is rounding in the header;
# up to `_REPAIRED` frames are put on the regular grid, with a warning; beyond it the series is refused.
_SILENT = 0.005
_REPAIRED = 0.1
_SAME_POSITION_MM = 0.001
_SAME_ORIENTATION_DEGREES = 0.1
_SET_APART_DEGREES = 15.0


@dataclass(frozen=True)
class Grid:
    """Frames on a regular grid.

    Attributes:
        frames: `[channel][slice]`, slices along the normal of the image plane (row direction x column direction).
        affine: `[4, 4]` voxel (column, row, slice) to RAS mm.
        warnings: What was repaired, a sentence each.
    """

    frames: list[list[Frame]]
    affine: npt.NDArray[np.float64]
    warnings: tuple[str, ...]


def split_by_orientation(frames: list[Frame], name: str) -> list[list[Frame]]:
    """Frames of one orientation each, the largest group first.

    Raises:
        InputError: A frame is tilted slightly against the rest: too much for rounding, too little to be another view.
    """
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _angle(frame, group[0]) <= _SAME_ORIENTATION_DEGREES:
                group.append(frame)
                break
        else:
            groups.append([frame])
    groups.sort(key=len, reverse=True)
    for group in groups[1:]:
        angle = min(_angle(group[0], other[0]) for other in groups if other is not group)
        if angle < _SET_APART_DEGREES:
            raise InputError(
                f"is tilted by {angle:.2f} degrees against the rest of the series ({name}); slices must be parallel",
                path=group[0].where,
                field="ImageOrientationPatient",
            )
    return groups


def _angle(a: Frame, b: Frame) -> float:
    one, other = a.placed, b.placed
    if one.row is other.row and one.column is other.column:
        return 0.0
    # From the chord, which keeps its precision near 0 where an arc cosine loses it.
    chord = max(float(np.linalg.norm(one.row - other.row)), float(np.linalg.norm(one.column - other.column)))
    return float(np.degrees(2 * np.arcsin(min(chord / 2, 1))))


def build_grid(frames: list[Frame], name: str, thickness: float | None) -> Grid:
    """Sort parallel `frames` by position and check that they are evenly spaced.

    Args:
        frames: Frames with position and spacing, all of one orientation and size.
        name: What messages call the series.
        thickness: Slice thickness, mm, used when there is one slice only.

    Raises:
        InputError: A slice is missing, displaced, tilted (gantry) or doubled too often; says where and by how much.
    """
    first = frames[0].placed
    row, column, spacing = first.row, first.column, first.spacing
    for frame in frames:
        if frame.placed.spacing != spacing:
            raise InputError(
                f"must be {spacing[0]:g}\\{spacing[1]:g} like the rest of the series",
                path=frame.where,
                field="PixelSpacing",
                value="\\".join(f"{size:g}" for size in frame.placed.spacing),
            )
    normal = np.cross(row, column)
    positions = np.array([frame.placed.position for frame in frames])
    along = positions @ normal
    order = sorted(range(len(frames)), key=lambda i: (along[i], frames[i].order, frames[i].instance.number))
    warnings: list[str] = []
    channels = _channels([frames[i] for i in order], along[order], name, warnings)
    slices = channels[0]
    if len(slices) == 1:
        origin, step = slices[0].placed.position, normal * _single_thickness(thickness, warnings)
    else:
        origin, step = _check_spacing(slices, normal, min(spacing), warnings)
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[1]
    affine[:3, 1] = column * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return Grid(channels, LPS_TO_RAS @ affine, tuple(warnings))


def _single_thickness(thickness: float | None, warnings: list[str]) -> float:
    if thickness is not None:
        return thickness
    warnings.append("a single slice without a thickness: 1 mm is assumed across it")
    return 1.0


def _channels(frames: list[Frame], along: npt.NDArray[np.float64], name: str, warnings: list[str]) -> list[list[Frame]]:
    """Tell frames at one position apart as channels when every position has as many, else drop a few duplicates."""
    new = np.concatenate([[True], np.diff(along) > _SAME_POSITION_MM])
    stacks: list[list[Frame]] = []
    for frame, starts in zip(frames, new, strict=True):
        if starts:
            stacks.append([frame])
        else:
            stacks[-1].append(frame)
    depths = Counter(len(stack) for stack in stacks)
    if len(depths) == 1:
        (depth,) = depths
        if depth > 1 and len(stacks) > 1:
            warnings.append(f"{depth} images at each position: read as {depth} channels")
        if depth == 1 or len(stacks) > 1:
            return [[stack[channel] for stack in stacks] for channel in range(depth)]
    doubled = [stack for stack in stacks if len(stack) > 1]
    extra = sum(len(stack) - 1 for stack in doubled)
    example = doubled[0]
    what = f"{example[1].where} lies where {example[0].where} does, at {_point(example[0])} mm"
    if extra > max(2, len(stacks) // 20):
        raise InputError(
            f"{extra} of {len(frames)} slices ({name}) lie at the position of another; the first: {what}",
            path=example[1].where,
            field="ImagePositionPatient",
            value=_point(example[1]),
        )
    warnings.append(f"{extra} duplicate slice(s) left out: {what}")
    return [[stack[0] for stack in stacks]]


def _check_spacing(
    frames: list[Frame], normal: npt.NDArray[np.float64], pixel: float, warnings: list[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Origin and step from slice to slice, LPS mm, once gaps, tilt and jitter are within bounds."""
    points = np.array([frame.placed.position for frame in frames])
    along = points @ normal
    gaps = np.diff(along)
    typical = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    widest = int(np.argmax(gaps))
    if gaps[widest] > 1.5 * typical:
        missing = round(gaps[widest] / typical) - 1
        raise InputError(
            f"{missing} slice(s) missing between {frames[widest].where} (slice {widest + 1}) and "
            f"{frames[widest + 1].where}: a gap of {gaps[widest]:.3f} mm where {typical:.3f} mm is usual",
            path=frames[widest + 1].where,
            field="ImagePositionPatient",
            value=_point(frames[widest + 1]),
        )
    _check_tilt(frames, points - np.outer(along, normal), along, pixel)
    index = np.arange(len(frames), dtype=float)
    origin, step = np.polynomial.polynomial.polyfit(index, points, 1)
    worst = int(np.argmax(np.linalg.norm(points - (origin + np.outer(index, step)), axis=1)))
    # How far it is off is measured from a line through the others, which it does not pull towards itself.
    others = index != worst
    if len(frames) > 2:
        origin, step = np.polynomial.polynomial.polyfit(index[others], points[others], 1)
    residual = points[worst] - (origin + worst * step)
    off_along = float(abs(residual @ normal))
    off_across = float(np.linalg.norm(residual - (residual @ normal) * normal))
    repaired = False
    for off, unit, direction in ((off_along, typical, "along the stack"), (off_across, pixel, "within its plane")):
        message = (
            f"slice {worst + 1} of {len(frames)} lies {off:.3f} mm off the regular grid {direction}, "
            f"where steps are {typical:.3f} mm"
        )
        if off > _REPAIRED * unit:
            raise InputError(
                f"{message}; evenly spaced slices are needed",
                path=frames[worst].where,
                field="ImagePositionPatient",
                value=_point(frames[worst]),
            )
        if off > max(_SILENT * unit, _SAME_POSITION_MM):
            repaired = True
            warnings.append(f"uneven spacing put right: {message} ({frames[worst].where})")
    if repaired:
        return origin, step
    return points[0], (points[-1] - points[0]) / (len(frames) - 1)


def _check_tilt(
    frames: list[Frame], across: npt.NDArray[np.float64], along: npt.NDArray[np.float64], pixel: float
) -> None:
    """Refuse a stack that leans steadily sideways: a tilted gantry makes a sheared grid, not a box."""
    drift, travel = across[-1] - across[0], float(along[-1] - along[0])
    sideways = float(np.linalg.norm(drift))
    if sideways <= _REPAIRED * pixel:
        return
    straight = across[0] + np.outer((along - along[0]) / travel, drift)
    if np.linalg.norm(across - straight, axis=1).max() > _REPAIRED * pixel:
        return  # not steady: a displaced slice, which the caller names
    degrees = float(np.degrees(np.arctan2(sideways, travel)))
    raise InputError(
        f"the slices lean by {degrees:.2f} degrees (gantry tilt): each is shifted by "
        f"{sideways / (len(frames) - 1):.3f} mm against the one before; resample the series without tilt first",
        path=frames[1].where,
        field="ImagePositionPatient",
        value=_point(frames[1]),
    )


def _point(frame: Frame) -> str:
    return "\\".join(f"{coordinate:.4g}" for coordinate in frame.placed.position)
