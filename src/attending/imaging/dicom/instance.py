"""Instance: one DICOM image file, its pixel format checked against its bytes, and its frames with their geometry."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID

from attending.errors import InputError
from attending.imaging.dicom.header import Header, read_header
from attending.imaging.dicom.parse import NATIVE
from attending.imaging.limits import Limits
from attending.imaging.window import Window

_RESULT_CLASSES = {  # pixel data that is somebody's result, not a picture of the patient
    "1.2.840.10008.5.1.4.1.1.66.4": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a DICOM segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
_SMALLEST, _FARTHEST, _GREATEST = 1e-6, 1e6, 1e12  # mm, mm, and values: numbers beyond are no measurements
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
class Place:
    """Where a frame lies in the patient, in DICOM's LPS millimetres.

    Attributes:
        position: Centre of the first pixel (Image Position (Patient)).
        row: Unit direction of increasing column index (first half of Image Orientation (Patient)).
        column: Unit direction of increasing row index (its second half).
        spacing: (row mm, column mm).
    """

    position: npt.NDArray[np.float64]
    row: npt.NDArray[np.float64]
    column: npt.NDArray[np.float64]
    spacing: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        instance: The file it is in.
        index: Frame number within the file, from 0.
        place: Where it lies, or None when the file does not say.
        slope: Stored value to real value: multiply by this,
        intercept: then add this.
        order: What tells frames at one position apart: temporal position, echo time, b-value, acquisition.
    """

    instance: Instance
    index: int
    place: Place | None
    slope: float
    intercept: float
    order: tuple[float, ...]

    @property
    def placed(self) -> Place:
        """`place`, where the caller has made sure that there is one."""
        assert self.place is not None
        return self.place

    @property
    def where(self) -> str:
        """How messages call this frame."""
        name = self.instance.header.name
        return f"{name} frame {self.index + 1}" if self.instance.format.frames > 1 else name


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


def frames_of(instance: Instance) -> list[Frame]:
    """The frames of a file with their geometry, from the file itself or its functional groups (enhanced multi-frame).

    Raises:
        InputError: A position, orientation, spacing or rescale is malformed.
    """
    header = instance.header
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    shared = header.items("SharedFunctionalGroupsSequence")
    if per_frame:
        if len(per_frame) != instance.format.frames:
            raise header.error(
                "PerFrameFunctionalGroupsSequence",
                f"must have one item for each of {instance.format.frames} frames",
                value=f"{len(per_frame)} items",
            )
        common = shared[0] if shared else Dataset()
        try:
            with warnings.catch_warnings(action="ignore"):
                return [_grouped_frame(instance, index, group, common) for index, group in enumerate(per_frame)]
        except InputError:
            raise
        except Exception as error:  # hostile bytes reach pydicom inside the groups; it raises many kinds
            field = "PerFrameFunctionalGroupsSequence"
            raise InputError(f"cannot be read ({error})", path=header.name, field=field) from None
    slope, intercept = rescale(header, header.number("RescaleSlope"), header.number("RescaleIntercept"))
    order = (
        header.hint("TemporalPositionIdentifier"),
        header.hint("EchoTime"),
        header.double("DiffusionBValue"),
        header.hint("AcquisitionNumber"),
    )
    place = None
    if instance.format.frames == 1:
        place = _place(
            header,
            header.numbers("ImagePositionPatient", 3),
            header.numbers("ImageOrientationPatient", 6),
            header.numbers("PixelSpacing", 2),
        )
    return [Frame(instance, index, place, slope, intercept, order) for index in range(instance.format.frames)]


def _place(
    header: Header,
    position: tuple[float, ...] | None,
    cosines: tuple[float, ...] | None,
    spacing: tuple[float, ...] | None,
) -> Place | None:
    """Where a frame lies, or None when position or orientation is absent.

    Raises:
        InputError: The position is out of this world, the directions are not two perpendicular unit vectors to within
            1 %, or a spacing is missing or not above 0.
    """
    if position is None or cosines is None:
        return None
    if max(map(abs, position)) > _FARTHEST:
        raise header.error("ImagePositionPatient", f"must lie within {_FARTHEST:,} mm of the origin", value=position)
    directions = _directions(cosines)
    if directions is None:
        raise header.error(
            "ImageOrientationPatient",
            "must be two perpendicular unit vectors",
            value="\\".join(f"{cosine:g}" for cosine in cosines),
        )
    found = pixel_spacing(header, spacing, "PixelSpacing")
    if found is None:
        raise InputError("is missing from a slice with a position", path=header.name, field="PixelSpacing")
    return Place(np.array(position), *directions, found)


@lru_cache(maxsize=1024)  # one object for all slices of a series, so that comparing orientations is free
def _directions(cosines: tuple[float, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(float(row @ column)) > 0.01:
        return None
    return row / lengths[0], column / lengths[1]


def _grouped_frame(instance: Instance, index: int, group: Dataset, shared: Dataset) -> Frame:
    """A frame described by functional groups (PS3.3 section C.7.6.16), its own before the shared ones."""
    header = instance.header

    def numbers(sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for source in (group, shared):
            items = source.get(sequence)
            value = items[0].get(keyword) if items else None
            if value is None or value == "":
                continue
            values = list(value) if count > 1 else [value]
            try:
                found = tuple(float(part) for part in values)
            except (TypeError, ValueError):
                found = ()
            if len(found) != count or not np.isfinite(found).all():
                raise header.error(keyword, f"must be {count} finite number(s) in frame {index + 1}", value=value)
            return found
        return None

    position = numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    cosines = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    slope = numbers("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = numbers("PixelValueTransformationSequence", "RescaleIntercept", 1)
    echo = numbers("MREchoSequence", "EffectiveEchoTime", 1)
    b_value = numbers("MRDiffusionSequence", "DiffusionBValue", 1)
    content = next((s["FrameContentSequence"].value for s in (group, shared) if "FrameContentSequence" in s), None)
    time = content[0].get("TemporalPositionIndex") if content else None
    place = _place(header, position, cosines, numbers("PixelMeasuresSequence", "PixelSpacing", 2))
    real_slope, real_intercept = rescale(header, slope[0] if slope else None, intercept[0] if intercept else None)
    return Frame(
        instance,
        index,
        place,
        real_slope,
        real_intercept,
        (float(time or 0), echo[0] if echo else 0.0, b_value[0] if b_value else 0.0),
    )


def pixel_spacing(header: Header, values: tuple[float, ...] | None, keyword: str) -> tuple[float, float] | None:
    """(row mm, column mm), or None where absent.

    Raises:
        InputError: One of them is not above 0.
    """
    if values is None:
        return None
    if min(values) < _SMALLEST or max(values) > _FARTHEST:
        raise header.error(keyword, "must be two numbers above 0, mm", value="\\".join(f"{v:g}" for v in values))
    return values[0], values[1]


def thickness(header: Header) -> float | None:
    """Slice thickness, mm, or else the spacing between slices; None where neither is given.

    Raises:
        InputError: It is negative or out of this world.
    """
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        value = header.number(keyword)
        if value:
            if not _SMALLEST <= value <= _FARTHEST:
                raise header.error(keyword, "must be above 0, mm", value=value)
            return value
    return None


def rescale(header: Header, slope: float | None, intercept: float | None) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where absent.

    Raises:
        InputError: The slope is 0, or one of them is beyond all values that pixels stand for.
    """
    if slope == 0 or abs(slope or 1) > _GREATEST:
        raise header.error("RescaleSlope", f"must not be 0 or beyond {_GREATEST:g}", value=slope)
    if abs(intercept or 0) > _GREATEST:
        raise header.error("RescaleIntercept", f"must not be beyond {_GREATEST:g}", value=intercept)
    return 1.0 if slope is None else slope, intercept or 0.0


def header_window(header: Header) -> Window | None:
    """The first window that the file asks for, or None where it has none.

    Raises:
        InputError: Its width is not above 0.
    """
    center, width = header.number("WindowCenter"), header.number("WindowWidth")
    if center is None or width is None:
        return None
    if width <= 0:
        raise header.error("WindowWidth", "must be above 0")
    return Window(center, width)
