"""Decode compressed and coloured frames through the sandboxed child, `decoder.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from attending.errors import InputError, NotAvailableError
from attending.imaging import sandbox
from attending.imaging.dicom.frames import Frame
from attending.imaging.dicom.instance import uid_name
from attending.imaging.dicom.parse import NATIVE
from attending.imaging.limits import Limits

_JPEG_PROCESSES = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.70")


def decode(frames: list[Frame], limits: Limits) -> Iterator[npt.NDArray[Any]]:
    """Decoded frames in the order given: `[rows, columns]` grey or `[rows, columns, 3]` RGB.

    Raises:
        InputError: The pixel data is broken, or decoding takes more memory or time than `limits` allow.
        NotAvailableError: No codec for the transfer syntax is installed.
    """
    for syntax in {frame.instance.header.syntax for frame in frames} - NATIVE:
        _require_codec(syntax)
    pixels, where = frames[0].instance.format, frames[0].instance.header.name
    palette = pixels.photometric == "PALETTE COLOR"
    shape = (pixels.rows, pixels.columns) + ((3,) if palette or pixels.samples == 3 else ())
    # The child reduces the entries of a palette, 8 or 16 bits, to 8; single bits become bytes.
    dtype = np.dtype(np.uint8) if palette or pixels.bits_allocated == 1 else pixels.dtype
    count = int(np.prod(shape))
    with tempfile.TemporaryDirectory(prefix="attending-") as folder:
        out = Path(folder, "pixels")
        request = {
            "frames": [[str(frame.instance.path.resolve()), frame.index] for frame in frames],
            "out": str(out),
            "shape": shape,
            "dtype": dtype.str,
        }
        memory = 8 * count * dtype.itemsize
        answer = sandbox.run("attending.imaging.dicom.decoder", request, memory=memory, path=where, limits=limits)
        if "error" in answer or answer.get("frames") != len(frames):
            written = out.stat().st_size // (count * dtype.itemsize) if out.exists() else 0
            at = frames[min(written, len(frames) - 1)].where
            problem = answer.get("error", "frames are missing")
            raise InputError(f"cannot be decoded: {problem}", path=at, field="PixelData")
        with out.open("rb") as file:
            for _ in frames:
                yield np.fromfile(file, dtype, count).reshape(shape)


def _require_codec(syntax: str) -> None:
    if get_decoder(UID(syntax)).is_available:
        return
    extra = "dicom-codecs-gpl" if syntax.startswith(_JPEG_PROCESSES) else "dicom-codecs"
    raise NotAvailableError(
        f"{uid_name(syntax)} pixel data needs a codec that is not installed: pip install 'attending[{extra}]'"
    )
