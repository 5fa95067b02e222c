"""Places: Dice and Hausdorff distance of masks, IoU of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attending.evaluation.parse import Parsed

HIT = 0.5
"""IoU from which a box counts as found."""


def dice(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Twice the overlap over the sum of sizes; 1 when both are empty.

    Args:
        mask: Any shape; not 0 is inside.
        truth: The same shape.

    Raises:
        ValueError: Shapes differ.
    """
    ours, theirs = _masks(mask, truth)
    total = int(ours.sum()) + int(theirs.sum())
    return 2 * int((ours & theirs).sum()) / total if total else 1.0


def hausdorff(
    mask: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float] | None = None, percentile: float = 95.0
) -> float:
    """Hausdorff distance between the masks' surfaces, symmetric: the larger of both directions' percentiles.

    The same as MONAI's `compute_hausdorff_distance`. 0 when both are empty, infinite when one is: a failure shows.

    Args:
        mask: 2D or 3D; not 0 is inside.
        truth: The same shape.
        spacing: Millimetres between samples along each axis; 1 by default.
        percentile: 95 for HD95, 100 for the classical distance.

    Raises:
        ValueError: Shapes differ, or a spacing is not positive.
    """
    from scipy import ndimage

    ours, theirs = _masks(mask, truth)
    steps = tuple(float(step) for step in spacing) if spacing is not None else (1.0,) * ours.ndim
    if len(steps) != ours.ndim or not all(0 < step < np.inf for step in steps):
        raise ValueError(f"spacing is {spacing!r}; expected {ours.ndim} positive millimetres")
    if not ours.any() or not theirs.any():
        return 0.0 if ours.any() == theirs.any() else float("inf")
    box = ndimage.find_objects((ours | theirs).astype(np.uint8))[0]
    ours, theirs = np.pad(ours[box], 1), np.pad(theirs[box], 1)
    edges = [part & ~ndimage.binary_erosion(part) for part in (ours, theirs)]
    away = [ndimage.distance_transform_edt(~edge, sampling=steps) for edge in edges]
    return float(max(np.percentile(away[1][edges[0]], percentile), np.percentile(away[0][edges[1]], percentile)))


def _masks(mask: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    ours, theirs = np.asarray(mask) != 0, np.asarray(truth) != 0
    if ours.shape != theirs.shape:
        raise ValueError(f"mask has shape {ours.shape}, truth {theirs.shape}; expected the same")
    return ours, theirs


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def _paired(parsed: Parsed, reference: Any) -> tuple[list[float], int]:
    """IoU of boxes matched greedily, best first, each once; and how many boxes either side has at most."""
    truth = [tuple(box) for box in reference]
    given = list(parsed.value) if parsed.valid else []
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(given) for j, b in enumerate(truth)), reverse=True)
    used_a: set[int] = set()
    used_b: set[int] = set()
    kept = []
    for value, i, j in pairs:
        if value > 0 and i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            kept.append(value)
    return kept, max(len(given), len(truth))


def box_iou(parsed: Parsed, reference: Any) -> float:
    """Mean IoU of matched boxes; missed and surplus ones count 0. 1 when rightly none is given."""
    kept, most = _paired(parsed, reference)
    return sum(kept) / most if most else float(parsed.valid)


def box_hit(parsed: Parsed, reference: Any) -> float:
    """Share of boxes matched with an IoU of 0.5 or more; missed and surplus ones count 0."""
    kept, most = _paired(parsed, reference)
    return sum(value >= HIT for value in kept) / most if most else float(parsed.valid)


def dice_score(parsed: Parsed, reference: NDArray[Any]) -> float:
    """Dice where the answer is a mask."""
    return dice(parsed.value, reference) if parsed.valid else 0.0
