"""Header: typed, checked values of one DICOM file, each error naming file, field and value."""

from __future__ import annotations

import math
import struct
import warnings
from functools import lru_cache
from pathlib import Path

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from attending.errors import InputError, printable
from attending.imaging.dicom.parse import Parsed, Pixels, parse
from attending.imaging.limits import Limits

_KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "StudyDate"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "FrameOfReferenceUID"),
    *("StudyDescription", "SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined"),
    *("ContrastBolusAgent", "PatientName", "PatientID", "PatientSex", "PatientAge"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "GantryDetectorTilt", "ViewPosition"),
    *("TemporalPositionIdentifier", "EchoTime", "AcquisitionNumber", "DiffusionBValue"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "WindowCenter", "WindowWidth"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DirectoryRecordSequence"),
)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


_TAGS = {keyword: _tag(keyword) for keyword in _KEYWORDS}
_WANTED = frozenset(_TAGS.values())


class Header:
    """What `imaging` needs of one DICOM file.

    Attributes:
        path: The file.
        name: How messages call it: its path, or its name inside the archive it came from.
        syntax: Transfer syntax UID.
        pixels: Where the pixel data lies, or None.
    """

    def __init__(self, path: Path, parsed: Parsed, name: str | None = None) -> None:
        self.path = path
        self.name = name or str(path)
        self.syntax = parsed.syntax
        self.pixels: Pixels | None = parsed.pixels
        self._parsed = parsed

    def raw(self, keyword: str) -> bytes:
        """The bytes of a value, without padding; empty where the element is absent."""
        element = self._parsed.elements.get(_TAGS[keyword])
        return b"" if element is None else element.value.rstrip(b"\0 ")

    def text(self, keyword: str) -> str:
        """A text value, decoded by the file's character set and safe to print; empty where absent."""
        return _text(self.raw(keyword), self.raw("SpecificCharacterSet"))

    def words(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued text element."""
        return tuple(part.strip() for part in self.text(keyword).split("\\")) if self.raw(keyword) else ()

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Exactly `count` finite decimal numbers (VR DS or IS), or None where absent.

        Raises:
            InputError: There are not `count` of them, or one is not a finite number.
        """
        raw = self.raw(keyword)
        if not raw:
            return None
        values = _decimals(raw)
        if values is None or len(values) != count:
            raise self.error(keyword, f"must be {count} finite number{'s' if count > 1 else ''}")
        return values

    def number(self, keyword: str) -> float | None:
        """The first decimal number of an element (VR DS or IS), or None where absent."""
        raw = self.raw(keyword)
        if not raw:
            return None
        values = _decimals(raw)
        if not values:
            raise self.error(keyword, "must be a finite number")
        return values[0]

    def hint(self, keyword: str) -> float:
        """A number that only helps to sort or to name: 0 where it is absent or malformed."""
        values = _decimals(self.raw(keyword))
        return values[0] if values else 0.0

    def double(self, keyword: str) -> float:
        """A binary 64-bit float (VR FD) that only helps to sort: 0 where it is absent or malformed."""
        element = self._parsed.elements.get(_TAGS[keyword])
        if element is None or len(element.value) != 8:
            return 0.0
        value = float(struct.unpack(self._parsed.order + "d", element.value)[0])
        return value if math.isfinite(value) else 0.0

    def integer(self, keyword: str, *, signed: bool = False) -> int | None:
        """A binary 16-bit integer (VR US or SS), or None where absent.

        Raises:
            InputError: The element is not two bytes long.
        """
        element = self._parsed.elements.get(_TAGS[keyword])
        if element is None or not element.value:
            return None
        if len(element.value) < 2:
            raise self.error(keyword, "must be a 16-bit integer")
        return int(struct.unpack_from(self._parsed.order + ("h" if signed else "H"), element.value)[0])

    def items(self, keyword: str) -> list[Dataset]:
        """The items of a sequence; empty where absent.

        Raises:
            InputError: pydicom cannot read the sequence.
        """
        element = self._parsed.elements.get(_TAGS[keyword])
        if element is None:
            return []
        raw = RawDataElement(
            Tag(_TAGS[keyword]),
            "SQ",
            len(element.value),
            element.value,
            0,
            not self._parsed.explicit or element.vr == b"UN",
            self._parsed.order == "<",
        )
        try:
            with warnings.catch_warnings(action="ignore"):
                sequence = convert_raw_data_element(raw).value
        except Exception as error:  # hostile bytes reach pydicom here; it raises a dozen different kinds
            raise InputError(f"is not a readable sequence ({error})", path=self.name, field=keyword) from None
        return list(sequence) if isinstance(sequence, Sequence) else []

    def error(self, keyword: str, problem: str, *, value: object = None) -> InputError:
        """An `InputError` about one element of this file, with its value."""
        shown = self.text(keyword) if value is None and keyword in _TAGS else value
        return InputError(problem, path=self.name, field=keyword, value=shown)


def read_header(path: Path, limits: Limits, name: str | None = None) -> Header:
    """Read one DICOM file's header.

    Raises:
        InputError: The file is not whole, well-formed DICOM within `limits`.
    """
    return Header(path, parse(path, _WANTED, limits, name), name)


@lru_cache(maxsize=4096)  # slices of a series repeat nearly all their values
def _decimals(raw: bytes) -> tuple[float, ...] | None:
    try:
        values = tuple(float(part) for part in raw.decode("ascii").split("\\"))
    except (UnicodeDecodeError, ValueError):
        return None
    return values if all(math.isfinite(value) for value in values) else None


@lru_cache(maxsize=4096)
def _text(raw: bytes, character_set: bytes) -> str:
    names = [part.strip() for part in character_set.decode("ascii", "replace").split("\\")]
    try:
        with warnings.catch_warnings(action="ignore"):
            text = decode_bytes(raw, convert_encodings(names), {0x5C, 0x5E, 0x3D})
    except Exception:  # an unknown or lying character set: show what ASCII there is rather than refuse the picture
        text = raw.decode("ascii", "replace")
    return printable(text.strip())
