"""Pictures exactly as the VILA-M3 reference made them, because its published checkpoints were trained on them.

arXiv 2411.12915 and the code published with it. Volumes were loaded as float32, turned to RAS, scaled by MONAI's
`ScaleIntensityRange` (CT) or `ScaleIntensity` (MR), and sliced along the third axis; grey levels were cut, not rounded,
to uint8; overlays were made by scikit-image's `label2rgb`. The slices lie as those of `slice_picture` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging.overlay import check_same_grid, label_ids
from attending.imaging.picture import Picture
from attending.imaging.slices import all_pictures, chosen_index, framer, one_channel
from attending.imaging.volume import Volume
from attending.imaging.window import Window, cut, shaded

REFERENCE_CT_WINDOW = Window(50, 400)

# scikit-image's values for these names, which it rounds to three digits.
_COLORS = (
    ("red", (1, 0, 0)),
    ("blue", (0, 0, 1)),
    ("yellow", (1, 1, 0)),
    ("magenta", (1, 0, 1)),
    ("green", (0, 0.502, 0)),
    ("indigo", (0.294, 0, 0.51)),
    ("darkorange", (1, 0.549, 0)),
    ("cyan", (0, 1, 1)),
    ("pink", (1, 0.753, 0.796)),
    ("brown", (0.647, 0.165, 0.165)),
    ("orange", (1, 0.647, 0)),
    ("lime", (0, 1, 0)),
    ("orange", (1, 0.647, 0)),
    ("gold", (1, 0.843, 0)),
    ("yellowgreen", (0.604, 0.804, 0.196)),
    ("darkgreen", (0, 0.392, 0)),
)
_ALPHA = 0.3

Shade = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.uint8]]


def reference_picture(volume: Volume, index: int | None = None, *, channel: int = 0) -> Picture:
    """One axial slice as the reference shows it.

    Args:
        volume: CT in HU, or MR, which is scaled from the least to the greatest voxel of the channel.
        index: Slice along the third RAS axis, from inferior; None is the middle one.
        channel: Which channel of a `[C, X, Y, Z]` volume.

    Returns:
        The picture. Its `window` spans what became 0 to 255; None for an MR channel of one value, which is black.

    Raises:
        InputError: The modality is neither CT nor MR, or there is no such slice or channel.
    """
    canonical, shade, window = _prepared(volume, channel)
    index = chosen_index(canonical, "axial", index, None)
    return framer(canonical, "axial", window)(shade(canonical.array[:, :, index]), index)


def reference_pictures(volume: Volume, *, channel: int = 0) -> Iterator[Picture]:
    """All axial slices as `reference_picture` shows them, from inferior to superior, in one pass."""
    canonical, shade, window = _prepared(volume, channel)
    return all_pictures(canonical, "axial", shade, window)


def reference_overlay(
    volume: Volume, mask: Volume, index: int | None = None, *, channel: int = 0
) -> tuple[Picture, dict[int, str]]:
    """One axial slice with the labels of `mask` over it, as the reference paints them.

    Label ids are cut to 8 bits first (282 becomes 26, and 256 background). The ids on this slice, rising, take the 16
    colours in turn, whatever they mean, so a label changes colour from slice to slice. Everything is blended,
    background with black, so a slice without labels is darkened too.

    Args:
        volume: See `reference_picture`.
        mask: Label ids `[X, Y, Z]` on the grid of `volume`, voxel axes in any order.
        index: See `reference_picture`.
        channel: See `reference_picture`.

    Returns:
        The picture, and the colour name of each (8-bit) label id on the slice, which the expert's text quotes.

    Raises:
        InputError: As `reference_picture`, or the mask is not on the volume's grid or holds no label ids.
    """
    check_same_grid(volume, mask)
    base = reference_picture(volume, index, channel=channel)
    labels = label_ids(mask.canonical().array[:, :, base.index][::-1, ::-1].T).astype(np.uint8)
    present = [int(label) for label in np.unique(labels) if label]
    colors = [_COLORS[rank % len(_COLORS)] for rank in range(len(present))]
    # label2rgb works in float64 from 0 to 1; a table by colour rank and grey level gives its very bits.
    grey = np.arange(256) * (1 / 255)
    painted = np.array([(0, 0, 0), *(rgb for _, rgb in colors)])
    table = ((painted[:, None, :] * _ALPHA + grey[None, :, None] * (1 - _ALPHA)) * 255).astype(np.uint8)
    rank = np.searchsorted([0, *present], labels)
    legend = tuple(
        (f"label {label}", (int(255 * r), int(255 * g), int(255 * b)))
        for label, (_, (r, g, b)) in zip(present, colors, strict=True)
    )
    picture = replace(base, pixels=table[rank, base.pixels[..., 0]], legend=legend)
    return picture, {label: name for label, (name, _) in zip(present, colors, strict=True)}


def _prepared(volume: Volume, channel: int) -> tuple[Volume, Shade, Window | None]:
    """The canonical channel, what scales it to uint8, and the window that amounts to."""
    volume = one_channel(volume, channel)
    if volume.modality == "CT":
        window: Window | None = REFERENCE_CT_WINDOW
        low, width = np.float32(-150), np.float32(400)
    elif volume.modality == "MR":
        low, high = _finite_range(volume.array)
        width = high - low
        window = Window(float(low / 2 + high / 2), float(width)) if width > 0 else None
    else:
        raise InputError("the reference shows CT and MR volumes only", field="modality", value=volume.modality)

    def shade(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        # MONAI's steps in MONAI's order and type: a product of precomputed factors would round otherwise.
        levels = values.astype(np.float32)
        if window is None:
            return np.zeros(levels.shape, np.uint8)
        with np.errstate(over="ignore", invalid="ignore"):
            levels -= low
            levels /= width
            levels *= np.float32(255)
        return cut(levels)

    return volume.canonical(), partial(shaded, shade=shade), window


def _finite_range(array: npt.NDArray[np.generic]) -> tuple[np.float32, np.float32]:
    """Least and greatest finite voxel, (0, 0) when there is none."""
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):
        array = array[np.isfinite(array)]
    return (np.float32(array.min()), np.float32(array.max())) if array.size else (np.float32(0), np.float32(0))
