"""Slices: any plane of a `Volume` as pictures the way a radiologist expects them, one or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging.picture import Picture, grey_pixels
from attending.imaging.volume import Volume
from attending.imaging.window import Window, percentile_window, window_for

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The RAS axis along which the slices of each plane are counted."""

_SLAB = 1 << 22
"""Voxels windowed at a time when all slices are asked for."""


def slice_picture(
    volume: Volume,
    plane: str,
    *,
    index: int | None = None,
    mm: float | None = None,
    channel: int = 0,
    window: Window | None = None,
    square: bool = False,
) -> Picture:
    """One slice in radiological display order.

    Axial: the patient's right on the left of the picture, anterior up. Coronal: right on the left, superior up.
    Sagittal: anterior on the left, superior up. An oblique grid is shown along its own axes, each taken for the patient
    axis it is nearest to; nothing is resampled.

    Args:
        volume: `[X, Y, Z]` or `[C, X, Y, Z]`, any orientation.
        plane: `axial`, `coronal` or `sagittal`.
        index: Slice along the plane's axis in RAS order: 0 is most inferior, posterior or left.
        mm: Instead of `index`: the slice whose centre is nearest to this RAS coordinate along the plane's axis. With
            neither, the middle slice.
        channel: Which channel of `[C, X, Y, Z]`.
        window: None takes `window_for` the volume's modality from all voxels of the channel, so that slices of one
            volume match; when showing many, find it once.
        square: Resize to square pixels, so that a coarse slice thickness does not flatten the patient.

    Returns:
        The picture, with `spacing` (row mm, column mm).

    Raises:
        InputError: No such plane, channel, index, or nothing at `mm`; or voxels that are not real numbers.
    """
    canonical, window = _prepared(volume, plane, channel, window)
    index = chosen_index(canonical, plane, index, mm)
    levels = window.apply(np.moveaxis(canonical.array, PLANES[plane], 0)[index])
    picture = framer(canonical, plane, window)(levels, index)
    return picture.square() if square else picture


def pictures(volume: Volume, plane: str, window: Window | None = None, *, channel: int = 0) -> Iterator[Picture]:
    """All slices of `plane` from index 0 up, windowed in one pass over the voxels; see `slice_picture`.

    Voxels are windowed in slabs of a few million, so memory stays far below the volume's own.
    """
    canonical, window = _prepared(volume, plane, channel, window)  # bad input is told here, not at the first slice
    return all_pictures(canonical, plane, window.apply, window)


def all_pictures(
    canonical: Volume,
    plane: str,
    shade: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.uint8]],
    window: Window | None,
) -> Iterator[Picture]:
    """All slices of a canonical one-channel volume, `shade` turning its voxels into grey levels slab by slab."""
    frame = framer(canonical, plane, window)
    slices = np.moveaxis(canonical.array, PLANES[plane], 0)
    step = max(1, _SLAB // max(1, slices[0].size))
    for start in range(0, len(slices), step):
        for index, levels in enumerate(shade(slices[start : start + step]), start):
            yield frame(levels, index)


def slice_positions(volume: Volume, plane: str) -> npt.NDArray[np.float64]:
    """RAS mm along the plane's axis of the centre of every slice, by index, rising."""
    axis = _axis(plane)
    canonical = volume.canonical()
    centres = np.tile((np.array(canonical.shape) - 1) / 2, (canonical.shape[axis], 1))
    centres[:, axis] = np.arange(canonical.shape[axis])
    return canonical.to_world(centres)[:, axis]


def key_slices(volume: Volume, plane: str, count: int, *, channel: int = 0) -> list[int]:
    """Indices of `count` slices spread evenly over the body, each in the middle of its share.

    Ends of the volume that hold little but air are skipped: the body is from the first to the last slice with at least
    a tenth as many bright voxels as the fullest. Bright is above -500 HU in CT, else a tenth of the way up the volume's
    `percentile_window`. On coronal CT the body is the longest run of such slices: the table is left out.

    Returns:
        Rising indices, without repeats, so fewer than `count` where the body has fewer slices.

    Raises:
        InputError: No such plane or channel, or `count` below 1.
    """
    if count < 1:
        raise InputError("at least 1 slice must be asked for", field="count", value=count)
    axis = _axis(plane)
    array = one_channel(volume.canonical(), channel).array
    if volume.modality == "CT":
        bright = -500.0
    else:
        window = percentile_window(array)
        bright = window.low + window.width / 10
    steps = [max(1, size // 128) for size in array.shape]  # about 128 points a side show where the body ends
    steps[axis] = 1
    filled = _counts(np.greater(array[tuple(slice(None, None, step) for step in steps)], bright), axis)
    body = np.flatnonzero(filled >= filled.max() / 10)
    if volume.modality == "CT" and plane == "coronal":
        body = max(np.split(body, np.flatnonzero(np.diff(body) > 1) + 1), key=len)
    first, length = body[0], body[-1] + 1 - body[0]
    return sorted({int(first + (2 * i + 1) * length // (2 * count)) for i in range(count)})


def largest_slice(mask: Volume, plane: str, label: int | None = None) -> int:
    """Index of the slice on which `mask` (or one `label` of it) has most voxels; of several, the lowest.

    Raises:
        InputError: No such plane, or the mask is empty.
    """
    axis = _axis(plane)
    array = one_channel(mask.canonical(), 0).array
    counts = _counts(array != 0 if label is None else array == label, axis)
    if not counts.any():
        what = "anything" if label is None else f"label {label}"
        raise InputError(f"the mask does not hold {what}, so no slice shows most of it", field="mask")
    return int(counts.argmax())


def _prepared(volume: Volume, plane: str, channel: int, window: Window | None) -> tuple[Volume, Window]:
    _axis(plane)
    volume = one_channel(volume, channel)
    return volume.canonical(), window or window_for(volume.modality, None, volume.array)


def _axis(plane: str) -> int:
    if plane not in PLANES:
        raise InputError("a plane is axial, coronal or sagittal", field="plane", value=plane)
    return PLANES[plane]


def one_channel(volume: Volume, channel: int) -> Volume:
    """The volume `[X, Y, Z]` of one channel."""
    channels = len(volume.array) if volume.array.ndim == 4 else 1
    if not 0 <= channel < channels:
        raise InputError(f"there is no such channel; 0 to {channels - 1} are there", field="channel", value=channel)
    array = volume.array[channel] if volume.array.ndim == 4 else volume.array
    return replace(volume, array=array)


def chosen_index(canonical: Volume, plane: str, index: int | None, mm: float | None) -> int:
    """The slice index that the caller's `index` or `mm` means."""
    count = canonical.shape[PLANES[plane]]
    if index is not None and mm is not None:
        raise InputError(f"index {index} and {mm} mm were both given; give one")
    if mm is not None:
        positions = slice_positions(canonical, plane)
        half = (positions[-1] - positions[0]) / max(1, 2 * (count - 1)) or canonical.spacing[PLANES[plane]] / 2
        low, high = positions[0] - half, positions[-1] + half
        if not low <= mm <= high:
            raise InputError(f"the {plane} slices cover {low:.1f} to {high:.1f} mm", field="mm", value=mm)
        return int(np.abs(positions - mm).argmin())
    if index is None:
        return count // 2
    if not 0 <= index < count:
        raise InputError(f"there is no such {plane} slice; 0 to {count - 1} are there", field="index", value=index)
    return index


def framer(canonical: Volume, plane: str, window: Window | None) -> Callable[[npt.NDArray[np.uint8], int], Picture]:
    """What turns the grey levels of one canonical slice, and its index, into a picture in display order."""
    positions = slice_positions(canonical, plane).tolist()
    across, up = (size for axis, size in enumerate(canonical.spacing) if axis != PLANES[plane])

    def frame(levels: npt.NDArray[np.uint8], index: int) -> Picture:
        # In every plane both axes of the picture run against RAS.
        pixels = grey_pixels(levels[::-1, ::-1].T)
        return Picture(pixels, canonical.series, plane, index, positions[index], window, (up, across))

    return frame


def _counts(where: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.int64]:
    """How many voxels are true on each slice along `axis`."""
    counts: npt.NDArray[np.int64] = where.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.int64)
    return counts
