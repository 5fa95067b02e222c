"""DICOM objects of a phantom: CT, MR and digital X-ray images that `dciodvfy` accepts, the same bytes every time."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attending.phantom.random import uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from attending.imaging import Volume
    from attending.phantom.case import Case

_CT, _MR, _DX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.1.1"
# Repetition, echo and inversion time in ms, as typical for the sequence.
_TIMING = {
    "t1": (600.0, 12.0, None),
    "t1ce": (600.0, 12.0, None),
    "t2": (4500.0, 100.0, None),
    "flair": (9000.0, 120.0, 2500.0),
}
_NAMES = {"t1": "T1", "t1ce": "T1 with contrast", "t2": "T2", "flair": "FLAIR"}


def write_series(case: Case, index: int, name: str, folder: Path) -> list[Path]:
    """Write one image of one visit as a DICOM series.

    Args:
        case: The case.
        index: Which visit.
        name: Which of the visit's volumes.
        folder: Where to; made if need be.

    Returns:
        The files, in order of position.
    """
    visit = case.visits[index]
    volume = visit.volumes[name]
    folder.mkdir(parents=True, exist_ok=True)
    number = sorted(visit.volumes).index(name) + 1
    written = []
    if case.kind == "cxr":
        frames = [np.asarray(volume.array[::-1, 0, ::-1].T)]
    else:  # rows run to posterior, columns to the patient's left
        frames = [np.asarray(volume.array[::-1, ::-1, k].T) for k in range(volume.array.shape[2])]
    for k, pixels in enumerate(frames):
        image = _common(case, index, name, number, k)
        if case.kind == "cxr":
            _radiograph(image, case, index)
        else:
            _slice(image, volume, k)
            (_ct if case.kind == "ct" else _mr)(image, case, index, name, k)
        _pixels(image, pixels)
        path = folder / f"{k + 1:04d}.dcm"
        image.save_as(path, enforce_file_format=True)
        written.append(path)
    return written


def _common(case: Case, index: int, name: str, number: int, k: int) -> Dataset:
    """Patient, study, series, equipment (PS3.3 C.7)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    from attending import __version__

    visit, patient = case.visits[index], case.patient
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = {"ct": _CT, "mri": _MR, "cxr": _DX}[case.kind]
    # Two styles, or two sets of findings, of one seed are different studies of the same patient.
    key = (case.id, [(f.kind, f.size, f.place, f.side) for f in case.findings], volume_shape(visit.volumes[name]))
    image.SOPInstanceUID = uid("image", *key, index, name, k)
    day = visit.date.strftime("%Y%m%d")
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = day
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = "100000"
    image.AccessionNumber = f"{case.seed:08d}{index}"
    image.Modality = {"ct": "CT", "mri": "MR", "cxr": "DX"}[case.kind]
    image.Manufacturer = "attending"
    image.InstitutionName = case.style.title.split(":")[0]
    image.ReferringPhysicianName = ""
    image.StudyDescription = {"ct": "CT thorax and abdomen", "mri": "MRI brain", "cxr": "Chest radiograph"}[case.kind]
    image.SeriesDescription = _NAMES.get(name, image.StudyDescription)
    image.ManufacturerModelName = "phantom"
    image.SoftwareVersions = __version__
    image.DeviceSerialNumber = f"style-{case.style.name}"
    image.PatientName = f"Phantom^{case.seed:08d}"
    image.PatientID = patient.id
    born = case.visits[-1].date - datetime.timedelta(days=round(patient.age * 365.25) + 40)
    image.PatientBirthDate = born.strftime("%Y%m%d")
    image.PatientSex = patient.sex
    image.PatientAge = f"{int((visit.date - born).days / 365.25):03d}Y"
    image.PatientSize = str(round(patient.height / 100, 3))
    image.PatientComments = "Synthetic; not a patient"
    image.StudyInstanceUID = uid("study", *key, index)
    image.SeriesInstanceUID = uid("series", *key, index, name)
    image.StudyID = str(index + 1)
    image.SeriesNumber = number
    image.AcquisitionNumber = 1
    image.InstanceNumber = k + 1
    image.PositionReferenceIndicator = ""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def volume_shape(volume: Volume) -> tuple[int, ...]:
    """Shape as part of an identity."""
    return tuple(int(n) for n in volume.array.shape)


def _slice(image: Dataset, volume: Volume, k: int) -> None:
    """Image plane and frame of reference (PS3.3 C.7.6.2, C.7.4.1)."""
    nx, ny, _ = volume.shape
    corner = volume.to_world([nx - 1, ny - 1, k])
    sx, sy, sz = volume.spacing
    image.FrameOfReferenceUID = uid("frame", image.StudyInstanceUID)
    image.PatientPosition = "HFS"
    image.ImagePositionPatient = [_number(-corner[0]), _number(-corner[1]), _number(corner[2])]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [_number(sy), _number(sx)]
    image.SliceThickness = _number(sz)
    image.SliceLocation = _number(corner[2])


def _number(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _ct(image: Dataset, case: Case, index: int, name: str, k: int) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.KVP = "120"
    image.ConvolutionKernel = "SHARP" if case.style.ct["kernel"] < 0 else "SMOOTH"
    image.BodyPartExamined = "CHESTABDOMEN"
    if case.visits[index].facts["phase"] != "none":
        image.ContrastBolusAgent = "IODINE"
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
    image.WindowCenter, image.WindowWidth = "40", "400"


def _mr(image: Dataset, case: Case, index: int, name: str, k: int) -> None:
    repetition, echo, inversion = _TIMING[name]
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    image.ScanningSequence = ["SE", "IR"] if inversion else "SE"
    image.SequenceVariant = "SK"
    image.ScanOptions = ""
    image.MRAcquisitionType = "3D"
    image.RepetitionTime, image.EchoTime = str(repetition), str(echo)
    image.InversionTime = str(inversion) if inversion else ""
    if not inversion:
        del image.InversionTime
    image.EchoTrainLength = 1
    image.MagneticFieldStrength = "1.5"
    image.BodyPartExamined = "BRAIN"
    if name == "t1ce":
        image.ContrastBolusAgent = "GADOLINIUM"


def _radiograph(image: Dataset, case: Case, index: int) -> None:
    """Digital X-ray for presentation (PS3.3 A.26)."""
    from pydicom.dataset import Dataset

    detector = case.visits[index].facts["detector"]
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.PresentationIntentType = "FOR PRESENTATION"
    image.PatientOrientation = ["L", "F"]
    image.BodyPartExamined = "CHEST"
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = [_code("43799004", "SCT", "Chest")]
    image.ViewPosition = "AP" if "AP" in case.style.cxr["marker"] else "PA"
    view = Dataset()
    view.update(
        _code("399348003", "SCT", "antero-posterior projection")
        if image.ViewPosition == "AP"
        else _code("272479007", "SCT", "postero-anterior projection")
    )
    view.ViewModifierCodeSequence = []
    image.ViewCodeSequence = [view]
    image.PatientOrientationCodeSequence = [_code("10904000", "SCT", "erect")]
    image.PatientGantryRelationshipCodeSequence = [_code("102540001", "SCT", "headfirst")]
    image.PositionerType = "NONE"
    image.FrameOfReferenceUID = uid("frame", image.StudyInstanceUID)
    image.DetectorType = "SCINTILLATOR" if case.style.cxr["look"] == "digital" else "STORAGE"
    image.ImagerPixelSpacing = image.PixelSpacing = [_number(detector["pixel"])] * 2
    image.DistanceSourceToDetector = _number(detector["distance"])
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.PresentationLUTShape = "IDENTITY"
    image.LossyImageCompression = "00"
    image.BurnedInAnnotation = "YES"
    image.AcquisitionContextSequence = []
    image.WindowCenter, image.WindowWidth = "2048", "4096"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _pixels(image: Dataset, pixels: npt.NDArray[Any]) -> None:
    """Image pixel module (PS3.3 C.7.6.3): 16 bits stored, or 12 of a radiograph."""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = 16
    image.BitsStored = 12 if pixels.dtype == np.uint16 else 16
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype == np.int16)
    image.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
