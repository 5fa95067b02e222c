"""Oracle: reads findings back from the pixels alone, so that generated images can be judged.

It knows what a reader learns from cases (what tissues look like, and where they lie) and nothing of the generator, of
which it imports nothing. What it can read is in `READS`; how well is measured in docs/phantom.md.
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
from attending.phantom import shadows
from attending.phantom.spots import STEP, Spots, find, torso

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

READS = {
    "ct": ("liver lesion", "kidney lesion", "pancreas lesion", "lung nodule"),
    "mri": ("brain tumor",),
    "cxr": (
        "effusion",
        "pneumothorax",
        "consolidation",
        "edema",
        "cardiomegaly",
        "lung nodule",
        "atelectasis",
        "fracture",
    ),
}  # fmt: skip
"""Kinds of finding it reads on each kind of study."""
TISSUES = {"soft": READS["ct"][:3], "lung": READS["ct"][3:]}
"""Kinds that are looked for in each tissue on CT."""
POINTS = ("lung nodule", "atelectasis", "fracture", "consolidation", "effusion")
"""Kinds that are looked for point by point on radiographs."""
WHOLE = ("pneumothorax", "edema", "cardiomegaly")
"""Kinds that are judged from the whole radiograph."""


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
    """What the points of a lattice look like, judged by a small network; a finding is where several agree."""
    found = dict.fromkeys(READS["ct"], _NOTHING)
    body, lungs = torso(value, volume)
    if body.any() and lungs.any():
        for tissue, kinds in TISSUES.items():
            spots = find(value, volume, body, lungs, tissue)
            for k, chance in enumerate(judge(spots.features, _weights("ct_reader"), tissue).T):
                limit = float(_weights("ct_reader")[f"{tissue}.limit"][k])
                found[kinds[k]] = _agree(spots, chance, limit, volume)
    return found


def lattice_score(spots: Spots, chance: Array) -> Array:
    """`[A, B, C]`: by how many of the 27 points around each, itself a likely one, a finding is seen."""
    if not len(chance):
        return np.zeros((1, 1, 1), np.float32)
    grid = np.zeros(spots.cell.max(0) + 1, np.float32)
    grid[tuple(spots.cell.T)] = chance
    return np.asarray(np.where(grid > 0.3, 27 * ndimage.uniform_filter(grid, 3, mode="constant"), 0), np.float32)


def _agree(spots: Spots, chance: Array, limit: float, volume: Volume) -> Reading:
    """Pieces of the lattice in which some point has a score above the limit."""
    score = lattice_score(spots, chance)
    labels, count = ndimage.label(score > 0.25 * limit, np.ones((3, 3, 3)))
    peaks = np.atleast_1d(ndimage.maximum(score, labels, np.arange(1, count + 1))) if count else np.zeros(0)
    kept = np.flatnonzero(peaks > limit) + 1
    if not len(kept):
        return _NOTHING._replace(score=float(score.max()))
    likely = np.zeros(score.shape, bool)
    likely[tuple(spots.cell.T)] = chance > 0.5
    likely &= np.isin(labels, kept)
    sizes = np.bincount(labels[likely], minlength=count + 1)[kept]
    largest = np.argwhere((labels == kept[int(sizes.argmax())]) & (score > 0.25 * limit)).mean(0)
    side = "right" if volume.to_world(largest * STEP / np.asarray(volume.spacing))[0] > 0 else "left"
    return Reading(
        True, len(kept), float(likely.sum()) * STEP**3 / 1000, side, float(score.max()), _fill(likely, volume)
    )


def _fill(points: Mask, volume: Volume) -> Mask:
    """Voxels nearest to the points of a lattice."""
    near = [
        np.minimum(np.rint(np.arange(n) * s / STEP).astype(int), m)
        for n, s, m in zip(volume.shape, volume.spacing, points.shape, strict=True)
    ]
    wide = np.pad(points, [(0, 1)] * 3)
    return np.asarray(wide[np.ix_(*near)])


def judge(features: Array, weights: Mapping[str, Array], name: str) -> Array:
    """Chance `[N, kinds]` of each kind of finding at each point, by a network of two hidden layers."""
    x = np.clip((features - weights[f"{name}.mean"]) / weights[f"{name}.spread"], -6, 6)
    for layer in (0, 2, 4):
        if layer:
            x = np.maximum(x, 0)
        x = x @ weights[f"{name}.{layer}.weight"].T + weights[f"{name}.{layer}.bias"]
    x = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(x[:, 1:] / x.sum(1, keepdims=True), np.float32)


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
    """Some kinds by a linear score of the whole picture, others by a small network where several points agree."""
    weights = _weights("radiograph_reader")
    whole = (radiograph_features(volume) - weights["mean"]) / weights["spread"] @ weights["weight"]
    chances = judge(shadows.describe(volume.array[:, 0, :].astype(np.float32)), weights, "points")
    points = [shadows.score(chance) for chance in chances.T]
    found = {}
    for kinds, scores, limits in ((WHOLE, whole, weights["limit"]), (POINTS, points, weights["points.limit"])):
        for kind, score, limit in zip(kinds, scores, limits, strict=True):
            found[kind] = Reading(bool(score > limit), int(score > limit), 0.0, "", float(score))
    return {kind: found[kind] for kind in READS["cxr"]}


def radiograph_features(volume: Volume) -> Array:
    """A radiograph `[X, 1, Z]` as 48 x 48 brightnesses in its own range, then how they differ from their mirror."""
    picture = volume.array[:, 0, :].astype(np.float32)
    step = 48 / picture.shape[0]
    small = ndimage.zoom(ndimage.gaussian_filter(picture, 0.45 / step), step, order=1)
    low, high = np.percentile(small, [5, 95])
    small = (small - low) / (high - low + 1e-6)
    return np.concatenate([small.ravel(), np.abs(small - small[::-1])[:24].ravel()])


@cache
def _weights(name: str) -> dict[str, Array]:
    """Fitted on training seeds by `benchmarks/phantom.py fit`."""
    from safetensors.numpy import load

    stored = load(files("attending.phantom").joinpath(f"data/{name}.safetensors").read_bytes())
    return {part: values.astype(np.float32) for part, values in stored.items()}
