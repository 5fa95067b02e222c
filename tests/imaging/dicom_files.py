"""Small DICOM files for tests, written by pydicom the way scanners write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "OT": SecondaryCaptureImageStorage,
    "US": UltrasoundMultiFrameImageStorage,
}
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def voxels(shape: tuple[int, int, int] = (6, 5, 4), low: int = -1000, high: int = 1000, seed: int = 0) -> np.ndarray:
    """Random int16 voxels `[X, Y, Z]`; no two slices, rows or columns are alike."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int16)


def dataset(pixels: np.ndarray, modality: str = "CT", number: int = 1, **changes: object) -> FileDataset:
    """One image of stored values `[rows, columns]`, `[rows, columns, 3]` or `[frames, rows, columns]`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{changes.get('series', 1)}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientID, ds.PatientName, ds.PatientSex, ds.PatientAge = "P1", "Doe^Jane", "F", "061Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", f"1.2.3.2.{changes.pop('series', 1)}"
    ds.FrameOfReferenceUID = "1.2.3.3"
    ds.Modality, ds.StudyDate, ds.SeriesNumber, ds.InstanceNumber = modality, "20260101", 3, number
    ds.SeriesDescription, ds.ImageType = "thin slices", ["ORIGINAL", "PRIMARY", "AXIAL"]
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    if pixels.ndim == 3 and not colour:
        ds.NumberOfFrames = len(pixels)
    ds.Rows, ds.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in changes.items():
        if value is None:
            if keyword in ds:
                del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def write_series(
    folder: Path,
    values: np.ndarray,
    *,
    modality: str = "CT",
    directions: tuple[tuple[float, ...], tuple[float, ...]] = AXIAL,
    spacing: tuple[float, float, float] = (0.7, 0.8, 2.5),
    origin: tuple[float, float, float] = (-100.0, -120.0, 50.0),
    edit: Callable[[int, Dataset], None] = lambda k, ds: None,
    name: str = "IM{:03d}",
    **changes: object,
) -> list[Path]:
    """A series of real values `[X, Y, Z]` (HU for CT), one file a slice.

    Args:
        directions: Of increasing column and row index, LPS.
        spacing: mm along X (columns), Y (rows) and Z.
        origin: LPS mm of voxel (0, 0, 0).
        edit: Called with slice index and data set before each is written.
        name: File name pattern.
        changes: Elements to set on every slice; None deletes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row, column = (np.array(direction) for direction in directions)
    normal = np.cross(row, column)
    paths = []
    for k in range(values.shape[2]):
        stored = (values[:, :, k].T + 1024).astype(np.uint16) if modality == "CT" else values[:, :, k].T.copy()
        ds = dataset(stored, modality, k + 1)
        if modality == "CT":
            ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 12, 11, 1, -1024, "HU"
        position = np.array(origin) + k * spacing[2] * normal
        ds.ImagePositionPatient = [f"{coordinate:.10g}"[:16] for coordinate in position]
        ds.ImageOrientationPatient = [f"{cosine:.10g}"[:16] for cosine in (*row, *column)]
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        for keyword, value in changes.items():
            if value is None:
                if keyword in ds:
                    del ds[keyword]
            else:
                setattr(ds, keyword, value)
        edit(k, ds)
        paths.append(folder / name.format(k))
        ds.save_as(paths[-1])
    return paths


def enhanced(values: np.ndarray, spacing: tuple[float, float, float], order: list[int]) -> FileDataset:
    """An enhanced multi-frame CT of HU `[X, Y, Z]`, its frames in `order`, each with an intercept of its own."""
    intercepts = [-1024 - k for k in range(values.shape[2])]
    stored = np.stack([values[:, :, k].T - intercepts[k] for k in order]).astype(np.uint16)
    ds = dataset(stored)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    del ds.ImageType
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for k in order:
        position, transformation, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10, -20, k * spacing[2]]
        transformation.RescaleSlope, transformation.RescaleIntercept = 1, intercepts[k]
        transformation.RescaleType = "HU"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [transformation]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    return ds
