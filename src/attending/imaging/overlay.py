"""Overlays: a label mask in clearly distinct colours over a slice, with a legend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attending.errors import InputError, printable
from attending.imaging.picture import Picture
from attending.imaging.slices import PLANES, largest_slice, slice_picture
from attending.imaging.volume import Volume
from attending.imaging.window import Window

_PALETTE = bytes.fromhex("""
    ff0000 00ff00 00bbff 8800ee 666622 ffccff ffbb00 00aa88 006699 ff2299 8888ff 66ffff ffaa99 99aa44 995511 994455
    bbeebb 886699 008811 ff8822 eeee00 ee77ff aa8855 007766 0099aa bb7766 bb0099 11bb44 cc88aa 0088ee ffcc99 ee3355
    bbbbff 5555aa 00ffcc bb2222 aa55ff ddcc77 bb9900 aadd66 aa88cc 66ccdd ff7788 2266ff ee00dd ff7755 cc6622 668855
    88bb88 bb6677 886600 66ccbb 77aaff 6677aa ffaabb 888800 995544 44ee88 dd9933 ff99dd bb66aa 8844aa 008855 cc0066
    bbff00 ddaaff bb7700 bb4411 ccaa77 0099cc ffaa77 4444ee cc8855 bbbb00 994477 557700 669933 7766dd cc5544 33cc99
    887744 ff5500 bb11dd ff66cc cc1144 77bb00 eecc00 eeeeaa bbcc88 ff77aa aaff99 008888 99ccff bb88ff 996644 ff4444
    007799 aa9955 22aa66 00bbbb 9999dd aa55bb aaffdd cc4488 ddee77 eebb66 447744 8877bb 44dd44 3366bb dd6666 cc99cc
    ffdd99 ff3377 00dddd ffee77 88eeff 66cc77 6688dd aa6688 bbdd00 88ffbb cc4466 dd8877 dd11aa 559977 cc66dd 00aacc
    ffaa55 aa4444 778833 bb6644 887711 2277bb ee8855 ffbbdd 88ddbb dd2233 88aa66 dd8899 dd7700 dd6699 8844ff dd0000
""")


def label_color(label: int) -> tuple[int, int, int]:
    """The colour of a label id of 1 or more, the same on every slice and in every study; ids 1 to 144 all differ.

    Each colour of the palette is, of an sRGB grid in steps of 17, the one farthest (CIEDE2000) from all before it,
    starting from red and keeping to CIELAB lightness 40 to 95 and chroma 30 or more, so that none passes for anatomy.
    The first 20 are at least 19 apart, all 144 at least 7; 1 is about the least difference that can be seen. Ids beyond
    144 begin again.
    """
    red, green, blue = _PALETTE[3 * ((label - 1) % 144) :][:3]
    return red, green, blue


def overlay_picture(
    volume: Volume,
    mask: Volume,
    plane: str,
    *,
    index: int | None = None,
    mm: float | None = None,
    channel: int = 0,
    window: Window | None = None,
    square: bool = False,
    names: Mapping[int, str] | None = None,
    alpha: float = 0.5,
    outline: bool = False,
) -> Picture:
    """One slice with the labels of `mask` painted over it.

    Args:
        volume: What to show.
        mask: Label ids `[X, Y, Z]`, 0 for background, on the same grid as `volume`; the order and direction of its
            voxel axes may differ. Floating-point voxels are accepted when they hold whole numbers.
        plane: See `slice_picture`.
        index: See `slice_picture`; but with neither `index` nor `mm`, the slice on which the mask is largest, or the
            middle one when it is empty.
        mm: See `slice_picture`.
        channel: See `slice_picture`.
        window: See `slice_picture`.
        square: See `slice_picture`; labels keep sharp edges.
        names: What the label ids mean, for the legend; an id without a name becomes `label 7`. Taken as hostile.
        alpha: How opaque the colour is, above 0 to 1.
        outline: Paint only the border of each label, opaque, so that what it encloses stays visible.

    Returns:
        The picture; its `legend` lists the labels on this slice, lowest id first (`with_legend` draws it).

    Raises:
        InputError: The mask is not on the volume's grid, or holds something other than label ids; `alpha` out of range;
            or as `slice_picture` says.
    """
    if not 0 < alpha <= 1:
        raise InputError("opacity must be above 0 and at most 1", field="alpha", value=alpha)
    check_same_grid(volume, mask)
    if index is None and mm is None and plane in PLANES and mask.array.any():
        index = largest_slice(mask, plane)
    base = slice_picture(volume, plane, index=index, mm=mm, channel=channel, window=window)
    labels = label_ids(np.moveaxis(mask.canonical().array, PLANES[plane], 0)[base.index][::-1, ::-1].T)
    if square:
        base = base.square()
        labels = _nearest(labels, base.pixels.shape[:2])
    present = [int(label) for label in np.unique(labels) if label]
    pixels = base.pixels.copy()
    for label in present:
        where = labels == label
        if outline:
            where &= ~_interior(where)
        color = np.array(label_color(label))
        pixels[where] = np.rint(color if outline else color * alpha + pixels[where] * (1 - alpha))
    names = names or {}
    legend = tuple((printable(names.get(label, f"label {label}")), label_color(label)) for label in present)
    return replace(base, pixels=pixels, legend=legend)


def check_same_grid(volume: Volume, mask: Volume) -> None:
    """Refuse a mask whose voxels lie more than a hundredth of a voxel from the volume's, voxel axes in any order."""
    ours, theirs = volume.canonical(), mask.canonical()
    if mask.array.ndim != 3 or ours.shape != theirs.shape:
        raise InputError(
            f"the mask has to be on the grid of the volume, {ours.shape} voxels in RAS order, without channels",
            field="mask shape",
            value=theirs.array.shape,
        )
    corners = np.array(np.meshgrid(*((0, size - 1) for size in ours.shape))).reshape(3, -1).T
    off = float(np.linalg.norm(ours.to_world(corners) - theirs.to_world(corners), axis=1).max())
    if off > 0.01 * min(ours.spacing):
        raise InputError(f"the mask lies up to {off:.3g} mm from the voxels of the volume", field="mask affine")


def label_ids(array: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """The voxels of a mask as integers."""
    if array.dtype.kind not in "biuf":
        raise InputError("a mask holds whole label ids from 0", field="mask voxel type", value=array.dtype)
    with np.errstate(invalid="ignore"):
        labels = array.astype(np.int64)
    wrong = (labels != array) | (labels < 0)
    if wrong.any():
        raise InputError("a mask holds whole label ids from 0", field="mask", value=array[wrong][0])
    return labels


def _nearest(labels: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Resize `[rows, columns]` to `shape`, each pixel taking the label that covers its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(labels.shape, shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _interior(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels whose four neighbours are all in `where`; the picture's edge counts as outside."""
    padded = np.pad(where, 1)
    inside: npt.NDArray[np.bool_] = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside
