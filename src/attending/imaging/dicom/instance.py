"""Instance: one DICOM image file, its pixel format checked against its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.config import IGNORE
from pydicom.uid import UID

from attending.errors import InputError
from attending.imaging.dicom.header import Header, read_header
from attending.imaging.dicom.parse import NATIVE
from attending.imaging.limits import Limits

_RESULT_CLASSES = {  # pixel data that is somebody's result, not a picture of the patient
    "1.2.840.10008.5.1.4.1.1.66.4": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
_ENCAPSULATED = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG baseline
        "1.2.840.10008.1.2.4.51",  # JPEG extended
        "1.2.840.10008.1.2.4.57",  # JPEG lossless
        "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
        "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
        "1.2.840.10008.1.2.4.203",  # HTJ2K
        "1.2.840.10008.1.2.5",  # RLE lossless
    }
)


@dataclass(frozen=True)
class PixelFormat:
    """How pixel values are stored, in DICOM's own terms."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    floating: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of a stored value, native byte order."""
        kind = "f" if self.floating else "i" if self.signed else "u"
        return np.dtype(f"{kind}{self.bits_allocated // 8}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded frame; 4:2:2 chroma is stored with two samples a pixel, not three."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8

    @property
    def value_range(self) -> tuple[int, int]:
        """Smallest and largest value that `bits_stored` can hold."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1


@dataclass(frozen=True, eq=False)
class Instance:
    """One DICOM image file."""

    header: Header
    format: PixelFormat
    number: int
    localizer: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path


def read_instance(path: Path, limits: Limits, name: str | None = None) -> Instance | str:
    """Read one DICOM file as an image, or say in a few words why it is not one (a report, a plan, a DICOMDIR).

    Raises:
        InputError: The file is broken, contradicts itself, or goes beyond a limit.
    """
    header = read_header(path, limits, name)
    sop_class = header.text("SOPClassUID")
    if sop_class in _RESULT_CLASSES:
        return _RESULT_CLASSES[sop_class]
    if header.pixels is None:
        if header.raw("Rows") or header.raw("BitsAllocated"):
            raise InputError("describes an image but holds no pixel data", path=header.name, field="PixelData")
        return f"DICOM without an image ({uid_name(sop_class) or 'no SOP class'})"
    known = header.syntax in NATIVE or header.syntax in _ENCAPSULATED
    if not known:
        raise header.error(
            "TransferSyntaxUID",
            "is not a transfer syntax attending can decode; convert the file to Explicit VR Little Endian",
            value=uid_name(header.syntax),
        )
    pixel_format = _pixel_format(header, limits)
    _check_length(header, pixel_format)
    return Instance(
        header, pixel_format, int(header.hint("InstanceNumber")), "LOCALIZER" in header.words("ImageType")[2:]
    )


def uid_name(uid: str) -> str:
    """What the standard calls a UID, or the UID itself."""
    return UID(uid, IGNORE).name


def _pixel_format(header: Header, limits: Limits) -> PixelFormat:
    def whole(keyword: str, default: int | None = None, allowed: tuple[int, ...] | None = None) -> int:
        value = header.integer(keyword)
        if value is None:
            value = default
        if value is None:
            raise InputError("is missing", path=header.name, field=keyword)
        if value < 1 if allowed is None else value not in allowed:
            right = "must be at least 1" if allowed is None else f"must be one of {', '.join(map(str, allowed))}"
            raise header.error(keyword, right, value=value)
        return value

    frames = header.number("NumberOfFrames")
    if frames is None:
        frames = 1.0
    if frames < 1 or frames != int(frames):
        raise header.error("NumberOfFrames", "must be a whole number of at least 1")
    assert header.pixels is not None
    floating = header.pixels.tag != 0x7FE00010
    allocated = whole("BitsAllocated", None, (32, 64) if floating else (1, 8, 16, 32))
    stored = allocated if floating else whole("BitsStored", allocated)
    if stored > allocated:
        raise header.error("BitsStored", f"must not exceed BitsAllocated, {allocated}", value=stored)
    high_bit = header.integer("HighBit")
    if not floating and high_bit not in (None, stored - 1):
        raise header.error("HighBit", f"must be BitsStored - 1, {stored - 1}", value=high_bit)
    found = PixelFormat(
        rows=whole("Rows"),
        columns=whole("Columns"),
        frames=int(frames),
        samples=whole("SamplesPerPixel", 1, (1, 3)),
        photometric=header.text("PhotometricInterpretation") or "MONOCHROME2",
        planar=whole("PlanarConfiguration", 0, (0, 1)),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=whole("PixelRepresentation", 0, (0, 1)) == 1,
        floating=floating,
    )
    if found.frames > limits.frames:
        limits.refuse("frames", "has too many frames", path=header.name, field="NumberOfFrames", value=found.frames)
    if found.rows * found.columns > limits.image_pixels:
        size = f"{found.rows} x {found.columns}"
        limits.refuse("image_pixels", "has too many pixels", path=header.name, field="Rows x Columns", value=size)
    if found.frames * found.frame_bytes > limits.voxel_bytes:
        limits.refuse(
            "voxel_bytes",
            "is too large",
            path=header.name,
            field="Rows x Columns x NumberOfFrames",
            value=f"{found.rows} x {found.columns} x {found.frames}",
        )
    return found


def _check_length(header: Header, pixels: PixelFormat) -> None:
    """Native pixel data must be as long as its description says (PS3.5 section 8.1.1; a padding byte is allowed)."""
    assert header.pixels is not None
    length = header.pixels.length
    if (length is None) == (header.syntax in NATIVE):
        form = "encapsulated" if length is None else "native"
        raise header.error("PixelData", f"must not be {form} in transfer syntax {uid_name(header.syntax)}", value=form)
    if length is None:
        return
    expected = (pixels.frames * pixels.rows * pixels.columns * pixels.samples * pixels.bits_allocated + 7) // 8
    if pixels.photometric == "YBR_FULL_422":
        expected = pixels.frames * pixels.frame_bytes
    if length < expected:
        raise header.error(
            "PixelData",
            f"must be {expected:,} bytes for {pixels.frames} frame(s) of {pixels.rows} x {pixels.columns}, "
            f"{pixels.samples} x {pixels.bits_allocated} bits",
            value=f"{length:,} bytes",
        )
