"""Pixel data becomes values: native frames straight from the file, all others through the decoder process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from attending.errors import InputError
from attending.imaging.dicom.decode import decode
from attending.imaging.dicom.frames import Frame
from attending.imaging.dicom.header import Header
from attending.imaging.dicom.instance import PixelFormat
from attending.imaging.dicom.parse import EXPLICIT_BE, NATIVE, inflate
from attending.imaging.files import open_regular
from attending.imaging.limits import Limits

AIR_HU = -1024
"""What padded CT voxels become: the lowest value of the 12-bit Hounsfield scale."""

_INT16 = np.iinfo(np.int16)


def read_volume(frames: list[Frame], modality: str, limits: Limits) -> npt.NDArray[np.generic]:
    """Real values (HU for CT) of placed grey frames, `[Z, Y, X]`, int16 where that holds them exactly, else float32.

    Each frame's own rescale is applied. Padding becomes `AIR_HU` in CT and elsewhere the lowest value that is not
    padding.

    Raises:
        InputError: The pixel data is broken or goes beyond `limits`.
        NotAvailableError: The codec for its transfer syntax is not installed.
    """
    _check_size(frames, limits)
    whole = all(frame.slope == 1 and frame.intercept == int(frame.intercept) for frame in frames)
    if whole and not frames[0].instance.format.floating:
        values = _fill(frames, np.dtype(np.int16), modality, limits)
        if values is not None:
            return values
    values = _fill(frames, np.dtype(np.float32), modality, limits)
    assert values is not None
    return values


def read_image(frames: list[Frame], limits: Limits) -> npt.NDArray[np.generic]:
    """Pixels of frames without a place: `[frames, Y, X]` grey, brighter with the value, or uint8 `[frames, Y, X, 3]`.

    Raises:
        InputError: The pixel data is broken or goes beyond `limits`.
        NotAvailableError: The codec for its transfer syntax is not installed.
    """
    _check_size(frames, limits)
    header, pixels = frames[0].instance.header, frames[0].instance.format
    stored = np.stack([values for _, values in _stored(frames, limits)])
    if stored.ndim == 4:
        shift = max(pixels.bits_stored - 8, 0) if stored.dtype != np.uint8 else 0
        return (stored >> shift).astype(np.uint8)
    padded = _padding(header, pixels)
    mask = padded(stored) if padded else None
    values = stored
    if pixels.photometric == "MONOCHROME1":
        low, high = pixels.value_range
        values = (low + high - stored.astype(np.int64)).astype(stored.dtype)
    lut = header.items("ModalityLUTSequence")
    slope, intercept = frames[0].slope, frames[0].intercept
    if lut:
        source = Dataset()
        source.ModalityLUTSequence = lut
        try:
            values = np.asarray(apply_modality_lut(values, source))
        except Exception as error:  # a hostile table reaches pydicom here
            raise header.error("ModalityLUTSequence", f"cannot be applied ({error})") from None
    elif (slope, intercept) != (1, 0):
        values = (values * slope + intercept).astype(np.float32)
    if mask is not None and mask.any() and not mask.all():
        values[mask] = values[~mask].min()
    return values


def _check_size(frames: list[Frame], limits: Limits) -> None:
    size = sum(frame.instance.format.frame_bytes for frame in frames)
    if size > limits.voxel_bytes:
        limits.refuse("voxel_bytes", f"its series holds {size:,} bytes of pixels", path=frames[0].instance.header.name)


def _fill(frames: list[Frame], dtype: np.dtype[Any], modality: str, limits: Limits) -> npt.NDArray[np.generic] | None:
    """Real values in `dtype`, or None when int16 cannot hold them."""
    pixels = frames[0].instance.format
    out = np.empty((len(frames), pixels.rows, pixels.columns), dtype)
    holes: list[tuple[int, npt.NDArray[np.bool_]]] = []
    lowest = np.inf
    for index, stored in _stored(frames, limits, out if dtype == np.int16 else None):
        frame = frames[index]
        padded = _padding(frame.instance.header, frame.instance.format)
        mask = padded(stored) if padded else None
        real = out[index]
        if dtype == np.int16:
            low, high = frame.instance.format.value_range
            shift = int(frame.intercept)
            if low + shift < _INT16.min or high + shift > _INT16.max:
                kept = stored if mask is None else stored[~mask]
                low, high = (int(kept.min()), int(kept.max())) if kept.size else (0, 0)
                if low + shift < _INT16.min or high + shift > _INT16.max:
                    return None
            if not np.shares_memory(stored, real):
                real[...] = stored.astype(np.int16)
            if shift:
                real += np.int16((shift + 0x8000) % 0x10000 - 0x8000)  # wraps; the range was checked above
        else:
            real[...] = stored * frame.slope + frame.intercept
        if mask is not None and mask.any():
            holes.append((index, mask))
            real = real[~mask]
        if padded and modality != "CT" and real.size:
            lowest = min(lowest, float(real.min()))
    for index, mask in holes:
        out[index][mask] = AIR_HU if modality == "CT" else lowest if np.isfinite(lowest) else 0
    if not np.isfinite(out).all() if dtype == np.float32 else False:
        raise InputError("holds values that are not finite numbers", path=frames[0].where, field="PixelData")
    return out


def _stored(
    frames: list[Frame], limits: Limits, into: npt.NDArray[np.int16] | None = None
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Stored values, frame by frame, in place in `into` where the layout allows it."""
    pixels = frames[0].instance.format
    plain = pixels.photometric in ("MONOCHROME1", "MONOCHROME2", "RGB") and pixels.bits_allocated in (8, 16, 32, 64)
    # Bytes are swapped in pairs in big endian, where pixels of one byte are written as words: left to pydicom.
    easy = NATIVE - {EXPLICIT_BE} if pixels.bits_allocated == 8 else NATIVE
    if not plain or any(frame.instance.header.syntax not in easy for frame in frames):
        yield from enumerate(decode(frames, limits))
        return
    shape = (pixels.rows, pixels.columns) + ((3,) if pixels.samples == 3 else ())
    direct = into is not None and pixels.bits_allocated == 16
    for index, frame in enumerate(frames):
        values = into[index].view(pixels.dtype) if direct and into is not None else np.empty(shape, pixels.dtype)
        _read_native(frame, values, limits)
        if pixels.samples == 3 and pixels.planar == 1:
            values = np.moveaxis(values.reshape(3, pixels.rows, pixels.columns), 0, 2)
        unused = pixels.bits_allocated - pixels.bits_stored
        if unused and not pixels.floating:  # high bits may hold an overlay: not part of the value
            np.left_shift(values, unused, out=values)
            np.right_shift(values, unused, out=values)
        yield index, values


def _read_native(frame: Frame, values: npt.NDArray[Any], limits: Limits) -> None:
    header = frame.instance.header
    assert header.pixels is not None
    offset = header.pixels.offset + frame.index * values.nbytes
    if header.pixels.deflated is not None:
        data = inflate(header.path, header.pixels.deflated, limits)
        values.reshape(-1)[...] = np.frombuffer(data, values.dtype, values.size, offset)
    else:
        with open_regular(header.path) as file:
            file.seek(offset)
            got = file.readinto(values.reshape(-1).view(np.uint8).data)
        if got != values.nbytes:
            raise InputError("became shorter while it was read", path=header.name, field="PixelData")
    if header.syntax == EXPLICIT_BE:
        values.byteswap(inplace=True)


def _padding(header: Header, pixels: PixelFormat) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]] | None:
    """Which stored values are padding (PS3.3 section C.7.5.1.1.2), or None where the file names none."""
    first = header.integer("PixelPaddingValue", signed=pixels.signed)
    if first is None or pixels.floating:
        return None
    last = header.integer("PixelPaddingRangeLimit", signed=pixels.signed)
    low, high = min(first, first if last is None else last), max(first, first if last is None else last)
    return lambda stored: (stored >= low) & (stored <= high)
