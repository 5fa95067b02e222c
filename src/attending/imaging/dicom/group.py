"""Group DICOM files into series: volumes, images and localizers, patient by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from attending.errors import InputError
from attending.imaging.dicom.frames import Frame, frames_of, header_window, pixel_spacing, thickness
from attending.imaging.dicom.geometry import build_grid, split_by_orientation
from attending.imaging.dicom.header import Header
from attending.imaging.dicom.instance import Instance, PixelFormat, read_instance
from attending.imaging.dicom.pixels import read_image, read_volume
from attending.imaging.image2d import Image2D
from attending.imaging.limits import Limits
from attending.imaging.sequences import sequence_of
from attending.imaging.study import Patient, Series
from attending.imaging.volume import Volume
from attending.imaging.window import Window

_PROJECTIONS = frozenset({"CR", "DX", "MG", "IO", "PX", "RF", "XA", "RG"})
"""Radiographs: each is a view of its own, so a series of them is as many images, not frames of one."""

_HEAD = frozenset({"", "HEAD", "BRAIN", "SKULL", "NEURO"})
"""Body parts, or none given, of which an MR series may be one of the four sequences of a brain-tumour study."""


def read_dicom(
    files: Iterable[tuple[Path, str]],
    limits: Limits,
    progress: Callable[[int], None] = lambda count: None,
) -> tuple[list[Series], list[InputError], dict[str, int]]:
    """Read the headers of DICOM files and group them into series.

    Args:
        files: Each file, and how messages call it.
        limits: What it may cost.
        progress: Called with the number of files read so far.

    Returns:
        The series; an error for each file or series that cannot be used; other files counted by what they are.
    """
    instances: list[Instance] = []
    rejected: list[InputError] = []
    skipped: dict[str, int] = {}
    for count, (path, name) in enumerate(files, 1):
        try:
            found = read_instance(path, limits, name)
        except InputError as error:
            rejected.append(error)
        else:
            if isinstance(found, Instance):
                instances.append(found)
            else:
                skipped[found] = skipped.get(found, 0) + 1
        progress(count)
    series: list[Series] = []
    instances.sort(key=_uids)
    for (study_uid, series_uid), members in groupby(instances, key=_uids):
        group = list(members)
        try:
            series += _one_series(group, study_uid, series_uid, limits, rejected)
        except InputError as error:
            rejected.append(error)
    series.sort(key=lambda s: (s.patient.id, s.patient.name, s.date, s.study_uid, s.number or 0, s.id))
    return series, rejected, skipped


def _uids(instance: Instance) -> tuple[str, str]:
    header = instance.header
    return header.text("StudyInstanceUID"), header.text("SeriesInstanceUID")


def _one_series(
    group: list[Instance], study_uid: str, series_uid: str, limits: Limits, rejected: list[InputError]
) -> list[Series]:
    """What one Series Instance UID holds: usually one series, or several set apart."""
    _one_patient(group)
    group = _without_copies(group, rejected)
    series_id = series_uid or f"series of {group[0].header.name}"
    placed: list[Frame] = []
    flat: list[list[Frame]] = []
    for instance in group:
        frames = frames_of(instance)
        grey = instance.format.samples == 1 and instance.format.photometric.startswith("MONOCHROME")
        volumetric = grey and instance.header.text("Modality") not in _PROJECTIONS
        if volumetric and all(frame.place is not None for frame in frames):
            placed += frames
        else:
            flat.append(frames)
    found: list[Series] = []
    # Localizers are told apart by their image type, sizes and orientations by themselves.
    placed.sort(key=_kind_of_frame)
    for (localizer, *_), members in groupby(placed, key=_kind_of_frame):
        for frames in split_by_orientation(list(members), series_id):
            try:
                found.append(_volume_series(frames, localizer, series_id, limits))
            except InputError as error:
                rejected.append(error)
    for frames in _stack_flat(flat):
        found.append(_image_series(frames, limits))
    if len(found) > 1:
        found.sort(key=lambda s: (s.kind == "localizer", -s.shape[2]))
        for index, series in enumerate(found):
            series.warnings.append(f"series {series_id} holds {len(found)} different things; this is one of them")
            if index:
                series.id = f"{series_id}#{index + 1}"
    for series in found:
        series.study_uid = study_uid
    return found


def _kind_of_frame(frame: Frame) -> tuple[bool, int, int]:
    return frame.instance.localizer, frame.instance.format.rows, frame.instance.format.columns


def _one_patient(group: list[Instance]) -> None:
    first = group[0].header
    for instance in group[1:]:
        for keyword in ("PatientID", "PatientName"):
            if instance.header.raw(keyword) != first.raw(keyword):
                raise instance.header.error(
                    keyword,
                    f"differs from {first.text(keyword) or 'nothing'} in {first.name}, which has the same Series "
                    "Instance UID: two patients must not share a series",
                )


def _without_copies(group: list[Instance], rejected: list[InputError]) -> list[Instance]:
    """Drop files with a SOP Instance UID that was seen already: the same object, copied."""
    seen: dict[str, Instance] = {}
    kept = []
    for instance in sorted(group, key=lambda i: i.header.name):
        uid = instance.header.text("SOPInstanceUID")
        if uid and uid in seen:
            first = seen[uid]
            same = all(
                instance.header.raw(keyword) == first.header.raw(keyword)
                for keyword in ("ImagePositionPatient", "InstanceNumber", "Rows", "Columns")
            )
            if not same:
                rejected.append(
                    instance.header.error("SOPInstanceUID", f"is also that of {first.header.name}, another image")
                )
            continue
        seen[uid] = instance
        kept.append(instance)
    return kept


def _stack_flat(flat: list[list[Frame]]) -> list[list[Frame]]:
    """Frames without a place, by series: each radiograph by itself, other images of one look together."""
    flat.sort(key=lambda frames: (frames[0].instance.number, frames[0].instance.header.name))
    alone: list[list[Frame]] = []
    together: dict[tuple[PixelFormat, bytes], list[Frame]] = {}
    for frames in flat:
        instance = frames[0].instance
        if instance.format.frames > 1 or instance.header.text("Modality") in _PROJECTIONS:
            alone.append(frames)
        else:
            together.setdefault((instance.format, instance.header.raw("PixelSpacing")), []).extend(frames)
    return alone + list(together.values())


def _describe(header: Header) -> dict[str, object]:
    modality = header.text("Modality").upper() or None
    description = header.text("SeriesDescription")
    facts: dict[str, object] = {
        "modality": modality,
        "description": description or header.text("ProtocolName") or header.text("StudyDescription"),
        "body_part": header.text("BodyPartExamined").upper(),
        "patient": Patient(
            header.text("PatientID"),
            header.text("PatientName").replace("^", " ").strip(),
            header.text("PatientSex"),
            header.text("PatientAge"),
        ),
        "date": header.text("StudyDate"),
        "number": int(header.hint("SeriesNumber")) if header.raw("SeriesNumber") else None,
    }
    if modality == "MR" and facts["body_part"] in _HEAD:
        names = (description, header.text("ProtocolName"), header.text("SequenceName"))
        facts["sequence"] = sequence_of(*names, contrast_agent=header.text("ContrastBolusAgent"))
    return facts


def _volume_series(frames: list[Frame], localizer: bool, series_id: str, limits: Limits) -> Series:
    header = frames[0].instance.header
    for frame in frames:
        other = frame.instance.header
        header_window(other)  # a volume does not use it; a broken one says that the header is not to be trusted
        if other.raw("FrameOfReferenceUID") != header.raw("FrameOfReferenceUID"):
            raise other.error(
                "FrameOfReferenceUID",
                f"differs from {header.text('FrameOfReferenceUID')} in {header.name}: slices of one series must share "
                "their coordinates",
            )
        if (frame.instance.format.dtype, frame.instance.format.bits_stored) != (
            frames[0].instance.format.dtype,
            frames[0].instance.format.bits_stored,
        ):
            raise other.error("BitsStored", "differs within the series", value=frame.instance.format.bits_stored)
    grid = build_grid(frames, series_id, thickness(header))
    depth = len(grid.frames[0])
    pixels = frames[0].instance.format
    x, y, z = np.linalg.norm(grid.affine[:3, :3], axis=0)
    # Only orientation letters are needed before the voxels are read, so an empty grid stands for them.
    orientation = Volume(np.empty((1, 1, 1), np.int16), grid.affine).orientation
    warnings = list(grid.warnings)
    modality = header.text("Modality").upper()
    rescale_type = header.text("RescaleType").upper()
    if modality == "CT" and rescale_type not in ("", "HU") and not localizer:
        warnings.append(f"RescaleType is {rescale_type}, not HU: the values may not be Hounsfield units")
    if modality == "CT" and not header.raw("RescaleIntercept") and not header.items("SharedFunctionalGroupsSequence"):
        warnings.append("RescaleIntercept is missing: the values may not be Hounsfield units")

    def read(series: Series) -> Volume:
        stacks = [read_volume(stack, modality, limits) for stack in grid.frames]
        array = np.stack(stacks) if len(stacks) > 1 else stacks[0]
        # Stored [Z, Y, X]; seen as [X, Y, Z] without a copy.
        return Volume(np.moveaxis(array, (-1, -2, -3), (-3, -2, -1)), grid.affine, series.modality, series.id)

    return Series(
        id=series_id,
        kind="localizer" if localizer else "volume",
        shape=(pixels.columns, pixels.rows, depth),
        spacing=(float(x), float(y), float(z)),
        read=read,
        orientation=orientation,
        channels=len(grid.frames),
        files=_files(frames),
        warnings=warnings,
        **_describe(header),  # type: ignore[arg-type]
    )


def _image_series(frames: list[Frame], limits: Limits) -> Series:
    first = frames[0].instance
    header = first.header
    modality = header.text("Modality").upper()
    spacing = pixel_spacing(header, header.numbers("PixelSpacing", 2), "PixelSpacing") or pixel_spacing(
        header, header.numbers("ImagerPixelSpacing", 2), "ImagerPixelSpacing"
    )
    warnings = []
    if modality in ("CT", "MR", "PT", "NM") and first.format.samples == 1:
        warnings.append("no position or orientation in the patient: shown as pictures, nothing can be measured in 3D")
    window = header_window(header)
    if window is not None and first.format.photometric == "MONOCHROME1":
        low, high = first.format.value_range
        turned = frames[0].slope * (low + high) + 2 * frames[0].intercept
        window = Window(turned - window.center, window.width)

    def read(series: Series) -> Image2D:
        return Image2D(read_image(frames, limits), spacing, series.modality, series.id, window)

    return Series(
        id=header.text("SeriesInstanceUID") or f"series of {header.name}",
        kind="localizer" if first.localizer else "image",
        shape=(first.format.columns, first.format.rows, len(frames)),
        spacing=None if spacing is None else (spacing[1], spacing[0]),
        read=read,
        channels=first.format.samples,
        files=_files(frames),
        warnings=warnings,
        **_describe(header),  # type: ignore[arg-type]
    )


def _files(frames: list[Frame]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(frame.instance.path for frame in frames))
