"""Oracle: reads findings back from the pixels alone, so that generated images can be judged.

It knows what a reader knows (HU of tissues, where a liver lies) and nothing of the generator, of which it imports
nothing. What it can read is in `READS`; how well is measured in docs/phantom.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.imaging import Volume

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

READS = {
    "ct": ("liver lesion", "lung nodule"),
    "mri": ("brain tumor",),
    "cxr": ("effusion", "pneumothorax", "consolidation", "edema", "cardiomegaly"),
}
"""Kinds of finding it reads on each kind of study."""


class Reading(NamedTuple):
    """What the oracle sees of one kind of finding.

    Attributes:
        present: Whether it is there.
        number: How many.
        volume_ml: Volume of all of them; 0 on radiographs.
        side: Side of the largest, `right` or `left`; empty where that has no meaning.
        score: What the decision rests on; larger is more.
        mask: `[X, Y, Z]` voxels, or None on radiographs.
    """

    present: bool
    number: int
    volume_ml: float
    side: str
    score: float
    mask: Mask | None = None


_NOTHING = Reading(False, 0, 0.0, "", 0.0)


def read(kind: str, volumes: Mapping[str, Volume]) -> dict[str, Reading]:
    """Read every kind of finding in `READS[kind]` from a study's images.

    Args:
        kind: `ct`, `mri` or `cxr`.
        volumes: Images by name, as in `Visit.volumes`; RAS order.
    """
    if kind == "ct":
        value = volumes["ct"].array.astype(np.float32)
        return _read_ct(value, volumes["ct"])
    if kind == "mri":
        return {"brain tumor": _read_brain(volumes)}
    return _read_radiograph(volumes["frontal"])


def _ball(radius: float, spacing: tuple[float, float, float]) -> Mask:
    """Structuring element of a radius in mm."""
    reach = [max(0, int(radius / s)) for s in spacing]
    grid = np.meshgrid(*(np.arange(-r, r + 1) * s for r, s in zip(reach, spacing, strict=True)), indexing="ij")
    return np.asarray(sum(g * g for g in grid) <= radius * radius)


def _largest(mask: Mask, count: int = 1) -> Mask:
    labels, n = ndimage.label(mask)
    if n == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.isin(labels, np.argsort(sizes)[::-1][: min(count, n)])


def _blobs(
    mask: Mask, volume: Volume, smallest: float, longest: float, small: float = 0.6
) -> tuple[list[tuple[slice, ...]], Mask, list[float]]:
    """Components of at least `smallest` mL that are not longer than `longest` times their width."""
    labels, _ = ndimage.label(mask)
    voxel = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    kept: list[tuple[slice, ...]] = []
    sizes: list[float] = []
    keep = np.zeros(mask.shape, bool)
    for i, box in enumerate(ndimage.find_objects(labels)):
        part = labels[box] == i + 1
        amount = float(part.sum()) * voxel
        if amount < smallest:
            continue
        points = np.argwhere(part) * np.asarray(volume.spacing)
        # A few voxels at a fork of vessels pass for a nodule unless they are round.
        allowed = longest if amount > small else 1 + 0.45 * (longest - 1)
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(points.T) + np.diag(np.asarray(volume.spacing) ** 2 / 12)))
        if spread[-1] / spread[0] > allowed:
            continue
        kept.append(box)
        sizes.append(amount)
        keep[box] |= part
    return kept, keep, sizes


def _reading(kept: list[tuple[slice, ...]], mask: Mask, sizes: list[float], volume: Volume) -> Reading:
    if not kept:
        return _NOTHING
    largest = kept[int(np.argmax(sizes))]
    middle = volume.to_world([(s.start + s.stop - 1) / 2 for s in largest])
    return Reading(True, len(kept), sum(sizes), "right" if middle[0] > 0 else "left", max(sizes), mask)


def _read_ct(value: Array, volume: Volume) -> dict[str, Reading]:
    spacing = volume.spacing
    smooth = ndimage.gaussian_filter(value, [2.2 / s for s in spacing], truncate=2.5)
    body = ndimage.binary_opening(smooth > -300, _ball(6, spacing))
    body = _largest(body)
    for k in range(body.shape[2]):
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    air = (smooth < -500) & ndimage.binary_erosion(body, _ball(4, spacing))
    labels, n = ndimage.label(air)
    sizes = np.bincount(labels.ravel(), minlength=n + 1) * float(np.prod(spacing)) / 1000
    sizes[0] = 0
    lungs = np.isin(labels, np.flatnonzero(sizes > 500))
    if not lungs.any():
        return {"liver lesion": _NOTHING, "lung nodule": _NOTHING}
    return {
        "liver lesion": _read_liver(smooth, lungs, volume),
        "lung nodule": _read_lungs(value, smooth, lungs, volume),
    }


def _read_liver(smooth: Array, lungs: Mask, volume: Volume) -> Reading:
    """Grow the liver from under the right dome; lesions are what stands out within its closed shape."""
    spacing = volume.spacing
    seed = _under_right_lung(lungs, volume)
    if seed is None:
        return _NOTHING
    level = float(np.median(smooth[seed]))
    noise = float(np.median(np.abs(smooth[seed] - level)) * 1.48)
    band = max(16.0, min(30.0, 3.0 * noise))
    tissue = ndimage.binary_erosion(np.abs(smooth - level) < band, _ball(4.5, spacing))
    labels, _ = ndimage.label(tissue)
    touched = np.bincount(labels[seed].ravel(), minlength=1)
    touched[0] = 0
    if touched.sum() == 0:
        return _NOTHING
    liver = ndimage.binary_dilation(labels == int(touched.argmax()), _ball(5.0, spacing))
    box = ndimage.find_objects(liver.astype(np.uint8))[0]
    region = tuple(slice(max(0, s.start - 8), s.stop + 8) for s in box)
    liver, near = liver[region], ndimage.gaussian_filter(smooth[region], [2.2 / s for s in spacing], truncate=2.5)
    spread = float(np.median(np.abs(near[liver] - level)) * 1.48)
    odd = (np.abs(near - level) > max(15.0, 3.2 * spread)) & (near > -20) & (near < level + 120)
    good: list[tuple[slice, ...]] = []
    sizes: list[float] = []
    mask = np.zeros(odd.shape, bool)
    for opening in (3.6, 6.0, 9.5):  # a lesion that touches muscle or a vessel comes loose at a larger one
        core = ndimage.binary_opening(odd & ~mask, _ball(opening, spacing))
        blobs, pieces, amounts = _blobs(core, volume, 0.4, 2.1, small=1.3)
        for box, amount in zip(blobs, amounts, strict=True):
            # Gallbladder and cava lie in notches; a lesion has liver round it.
            if amount < 250 and pieces[box].mean() > 0.36 and _shell(pieces, box, liver, volume, 3.0) > 0.48:
                good.append(box)
                sizes.append(amount)
                mask[box] |= pieces[box]
    full = np.zeros(smooth.shape, bool)
    full[region] = mask
    shifted = [tuple(slice(p.start + q.start, p.stop + q.start) for p, q in zip(b, region, strict=True)) for b in good]
    return _reading(shifted, full, sizes, volume)._replace(side="")


def _under_right_lung(lungs: Mask, volume: Volume) -> tuple[slice, slice, slice] | None:
    """A block 25 to 45 mm below the top of the right dome."""
    x = volume.to_world(np.stack([np.arange(lungs.shape[0]), *np.zeros((2, lungs.shape[0]))], 1))[:, 0]
    right = lungs & (x > 25)[:, None, None] & (x < 110)[:, None, None]
    floor = np.where(right.any(2), right.argmax(2), -1)
    # The dome is where the lowest lung voxel lies highest, away from the edges of the lung.
    core = ndimage.binary_erosion(floor >= 0, iterations=max(1, int(24 / volume.spacing[0])))
    if not core.any():
        return None
    i, j = np.unravel_index(int(np.where(core, floor, -1).argmax()), floor.shape)
    top = int(floor[i, j] - 25 / volume.spacing[2])
    low = int(floor[i, j] - 45 / volume.spacing[2])
    if low < 0:
        return None
    reach = [max(1, int(12 / s)) for s in volume.spacing[:2]]
    return slice(i - reach[0], i + reach[0] + 1), slice(j - reach[1], j + reach[1] + 1), slice(low, top + 1)


def _read_lungs(value: Array, smooth: Array, lungs: Mask, volume: Volume) -> Reading:
    """Round things in the lungs that survive an opening which vessels do not."""
    spacing = volume.spacing
    inside = ndimage.distance_transform_edt(_close(lungs, 15.0, spacing), spacing) > 4
    level = np.float32(np.median(value[lungs]))
    fine = ndimage.gaussian_filter(value, [1.2 / s for s in spacing], truncate=2.5)
    dense = inside & (fine > level + 330)
    hazy = inside & (smooth > level + 140) & ~ndimage.binary_dilation(dense, _ball(3, spacing))
    kept: list[tuple[slice, ...]] = []
    sizes: list[float] = []
    seen = np.zeros(inside.shape, bool)
    for mask, opening, smallest in ((dense, 3.3, 0.34), (dense, 6.0, 1.5), (dense, 8.5, 4.0), (hazy, 5.0, 0.9)):
        core = ndimage.binary_opening(mask & ~seen, _ball(opening, spacing))
        blobs, pieces, amounts = _blobs(core, volume, smallest, 1.85)
        for box, amount in zip(blobs, amounts, strict=True):
            if _alone(pieces, box, lungs, volume):
                kept.append(box)
                sizes.append(amount)
                seen[box] |= pieces[box]
    return _reading(kept, seen, sizes, volume)


def _alone(mask: Mask, box: tuple[slice, ...], lungs: Mask, volume: Volume) -> bool:
    """Whether a thing lies off the hila, which hold vessels as thick as nodules, and is surrounded by lung."""
    if abs(float(volume.to_world([(s.start + s.stop - 1) / 2 for s in box])[0])) < 50:
        return False
    part = mask[box]
    if part.mean() < 0.3:  # a branching tree fills little of its box
        return False
    return _shell(mask, box, lungs, volume, 3.5) > 0.45


def _shell(mask: Mask, box: tuple[slice, ...], tissue: Mask, volume: Volume, gap: float) -> float:
    """Share of a shell 3.5 mm thick, `gap` mm off a thing, that is a given tissue."""
    around = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
    far = ndimage.distance_transform_edt(~mask[around], volume.spacing)
    shell = (far > gap) & (far < gap + 3.5)
    return float(tissue[around][shell].mean()) if shell.any() else 0.0


def _close(mask: Mask, radius: float, spacing: tuple[float, float, float]) -> Mask:
    """Closing by a large ball, through distances."""
    pad = int(radius / min(spacing)) + 2
    grown = ndimage.distance_transform_edt(~np.pad(mask, pad), spacing) < radius
    closed = ndimage.distance_transform_edt(grown, spacing) > radius
    return np.asarray(closed[pad:-pad, pad:-pad, pad:-pad])


def _read_brain(volumes: Mapping[str, Volume]) -> Reading:
    """Bright on FLAIR and not fluid on T1, in one large piece inside the skull, with enhancement in it."""
    volume = volumes["flair"]
    spacing = volume.spacing
    flair, t1, t1ce = (
        ndimage.gaussian_filter(volumes[n].array.astype(np.float32), [1.0 / s for s in spacing])
        for n in ("flair", "t1", "t1ce")
    )
    for image in (flair, t1, t1ce):
        image /= _shading(image, spacing)
    head = ndimage.binary_fill_holes(t1 > 0.25)
    if head.mean() > 0.9:  # no head at all
        return _NOTHING
    inner = ndimage.distance_transform_edt(head, spacing) > 21
    low = np.arange(inner.shape[2]) * spacing[2] + volume.affine[2, 3] < -45
    inner[:, :, low] = False
    level = float(np.median(flair[inner]))
    bright = inner & (flair > 1.32 * level)
    core = ndimage.binary_opening(bright, _ball(3.2, spacing))
    enhancing = inner & (t1ce > 1.3 * np.median(t1ce[inner])) & (t1ce - t1 > 0.45 * np.median(t1ce[inner]))
    enhancing = ndimage.binary_opening(enhancing, _ball(1.6, spacing))
    kept, mask, sizes = _blobs(ndimage.binary_closing(core | enhancing, _ball(5, spacing)), volume, 2.0, 3.5)
    voxel = float(np.prod(spacing)) / 1000
    good = [
        i
        for i, b in enumerate(kept)
        if float((enhancing[b] & mask[b]).sum()) * voxel > 0.3 and float((core[b] & mask[b]).sum()) * voxel > 0.5
    ]
    if not good:
        return _NOTHING
    best = max(good, key=lambda i: sizes[i])
    piece = np.zeros(mask.shape, bool)
    piece[kept[best]] = mask[kept[best]]
    piece = ndimage.binary_fill_holes(piece)
    return _reading([kept[best]], piece, [float(piece.sum()) * voxel], volume)


def _shading(image: Array, spacing: tuple[float, float, float]) -> Array:
    """Slow changes of signal, estimated where there is any."""
    step = [slice(None, None, 3)] * 3
    small = image[tuple(step)]
    there = (small > 0.3 * np.percentile(small, 90)).astype(np.float32)
    sigma = [24 / (3 * s) for s in spacing]
    slow = ndimage.gaussian_filter(np.clip(small, 0, np.percentile(small, 97)) * there, sigma) / np.maximum(
        ndimage.gaussian_filter(there, sigma), 0.02
    )
    field = np.repeat(np.repeat(np.repeat(slow, 3, 0), 3, 1), 3, 2)[
        : image.shape[0], : image.shape[1], : image.shape[2]
    ]
    return np.asarray(np.maximum(field, 1e-3), np.float32)


def _read_radiograph(volume: Volume) -> dict[str, Reading]:
    """A linear score a kind on the picture, against the limit at which misses and false alarms balanced in fitting."""
    weights = _weights()
    scores = (radiograph_features(volume) - weights["mean"]) / weights["spread"] @ weights["weight"]
    return {
        kind: Reading(bool(score > limit), int(score > limit), 0.0, "", float(score))
        for kind, score, limit in zip(READS["cxr"], scores, weights["limit"], strict=True)
    }


def radiograph_features(volume: Volume) -> Array:
    """A radiograph `[X, 1, Z]` as 48 x 48 brightnesses in its own range, then how they differ from their mirror."""
    picture = volume.array[:, 0, :].astype(np.float32)
    step = 48 / picture.shape[0]
    small = ndimage.zoom(ndimage.gaussian_filter(picture, 0.45 / step), step, order=1)
    low, high = np.percentile(small, [5, 95])
    small = (small - low) / (high - low + 1e-6)
    return np.concatenate([small.ravel(), np.abs(small - small[::-1])[:24].ravel()])


@cache
def _weights() -> dict[str, Array]:
    """Fitted on training seeds by `benchmarks/phantom.py --fit`."""
    with files("attending.phantom").joinpath("data/radiograph_reader.npz").open("rb") as file, np.load(file) as archive:
        return {name: archive[name].astype(np.float32) for name in archive.files}
