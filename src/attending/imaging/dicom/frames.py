"""Frames: where each image of a DICOM file lies in the patient, and what its stored values stand for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from attending.errors import InputError
from attending.imaging.dicom.header import Header
from attending.imaging.dicom.instance import Instance
from attending.imaging.window import Window

_SMALLEST, _FARTHEST, _GREATEST = 1e-6, 1e6, 1e12  # mm, mm, and values: numbers beyond are no measurements


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
