"""The child that reads NRRD and MetaImage with SimpleITK: `itk.py` starts it; it writes voxels to a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from attending.imaging.sandbox import serve


def read(request: dict[str, Any]) -> dict[str, Any]:
    """What the header of `path` says and, where `out` is set, the voxels in that file, X running fastest."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(request["path"])
    reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise ValueError(f"it has {reader.GetDimension()} dimensions; 2 or 3 (with channels) are read")
    pixel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    if request["out"]:
        image = reader.Execute()  # kept by name: the view below does not keep it alive
        sitk.GetArrayViewFromImage(image).tofile(request["out"])
    return {
        "size": reader.GetSize(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
        "channels": reader.GetNumberOfComponents(),
        "dtype": np.dtype(sitk.GetArrayViewFromImage(pixel).dtype).str,
    }


if __name__ == "__main__":
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    serve(read)
