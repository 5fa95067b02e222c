"""Limits: how much an input from outside may ask of this machine, and the setting that raises each."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from attending.errors import InputError

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one input may cost. Each limit is raised by an environment variable, `ATTENDING_LIMIT_` and its name.

    Attributes:
        files: Files looked at below one folder.
        archive_entries: Entries in one zip.
        archive_bytes: Bytes unpacked from one zip.
        name_length: Characters in an archive entry's or a DICOMDIR reference's name.
        header_bytes: Bytes of a DICOM file before its pixel data.
        sequence_depth: DICOM sequences inside one another.
        frames: Frames in one DICOM or TIFF file.
        image_pixels: Pixels in one 2D frame.
        image_side: Fewest pixels a picture may have along a side; below it there is nothing to see.
        voxel_bytes: Bytes of one series, decoded.
        inflate_ratio: Bytes out for one byte in of a gzip, zip or deflate stream, beyond the first 64 MiB out.
        decoder_bytes: Address space of the process that decodes compressed pixels, beyond what it must return.
        decoder_seconds: Time that process may take for one series.
    """

    files: int = 50_000
    archive_entries: int = 50_000
    archive_bytes: int = 8 * _GIB
    name_length: int = 1024
    header_bytes: int = 64 * _MIB
    sequence_depth: int = 32
    frames: int = 50_000
    image_pixels: int = 100_000_000
    image_side: int = 8
    voxel_bytes: int = 4 * _GIB
    inflate_ratio: int = 500
    decoder_bytes: int = 2 * _GIB
    decoder_seconds: int = 120

    @classmethod
    def from_environment(cls) -> Limits:
        """The defaults, with each `ATTENDING_LIMIT_<NAME>` that is set in their place.

        Raises:
            InputError: A variable is not a whole number above 0.
        """
        chosen = {}
        for field in fields(cls):
            variable = f"ATTENDING_LIMIT_{field.name.upper()}"
            text = os.environ.get(variable)
            if text is None:
                continue
            if not text.isascii() or not text.isdigit() or int(text) < 1:
                raise InputError("must be a whole number above 0", field=variable, value=text)
            chosen[field.name] = int(text)
        return cls(**chosen)

    def refuse(self, name: str, problem: str, *, path: object, field: str | None = None, value: object = None) -> None:
        """Raise the `InputError` for going beyond limit `name`, saying the limit and how to raise it."""
        setting = f"ATTENDING_LIMIT_{name.upper()}"
        raise InputError(
            f"{problem}; the limit is {getattr(self, name):,} (set {setting} to raise it)",
            path=str(path),
            field=field,
            value=value,
        )

    def check_inflation(self, inflated: int, compressed: int, *, path: object, field: str | None = None) -> None:
        """Refuse a stream that gives more than `inflate_ratio` bytes for a byte, once it gives more than 64 MiB.

        Label maps compress several hundredfold in earnest, so small ones are let through.
        """
        if inflated > 64 * _MIB and inflated > self.inflate_ratio * max(compressed, 1):
            ratio = inflated / max(compressed, 1)
            self.refuse(
                "inflate_ratio",
                f"{compressed:,} compressed bytes hold {inflated:,} or more ({ratio:.0f} to 1)",
                path=path,
                field=field,
            )
