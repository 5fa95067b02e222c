"""The child that decodes DICOM frames: `decode.py` starts it; it writes pixels to a file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels

from attending.imaging.dicom.codestream import check_codestream
from attending.imaging.sandbox import serve


def decode(request: dict[str, Any]) -> dict[str, Any]:
    """Append each of `frames` (file, index) to the file `out`, as `dtype` of `shape`."""
    done = 0
    with open(request["out"], "wb") as out:
        for path, members in groupby(request["frames"], key=lambda frame: frame[0]):
            dataset = pydicom.dcmread(path, force=True)
            for pixels in _decode(dataset, [index for _, index in members]):
                if list(pixels.shape) != request["shape"] or pixels.dtype != np.dtype(request["dtype"]):
                    raise ValueError(f"frame {done + 1} is {pixels.dtype} {pixels.shape}, not what its header says")
                np.ascontiguousarray(pixels).tofile(out)
                done += 1
    return {"frames": done}


def _decode(dataset: pydicom.Dataset, indices: list[int]) -> Iterator[npt.NDArray[Any]]:
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
            check_codestream(frame, dataset.Rows, dataset.Columns)
    for pixels in iter_pixels(dataset, indices=indices):
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            coloured = apply_color_lut(pixels, dataset)
            yield (coloured >> 8 if coloured.dtype == np.uint16 else coloured).astype(np.uint8)
        else:
            yield pixels


if __name__ == "__main__":
    serve(decode)
