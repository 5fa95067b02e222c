"""open_study: whatever the user points at becomes a `Study`, or an error that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from attending.errors import InputError, NotAvailableError, printable
from attending.imaging.archive import Unpacked
from attending.imaging.dicom import is_dicomdir, read_dicom, referenced_files
from attending.imaging.files import READABLE, sniff, walk
from attending.imaging.itk import read_itk
from attending.imaging.limits import Limits
from attending.imaging.nifti import read_nifti
from attending.imaging.raster import read_raster
from attending.imaging.sequences import SEQUENCES
from attending.imaging.study import Series, Study

MODALITIES = ("CT", "MR", "CR", "DX", "MG", "XA", "RF", "US", "PT", "NM", "OP", "ES", "GM", "SM", "XC", "OT")
"""DICOM's terms for what a picture was made with, as far as `attending` knows them (PS3.3 section C.7.3.1.1.1)."""

_SPOKEN = {"MRI": ("MR", ""), "CXR": ("DX", "CHEST"), "X-RAY": ("DX", ""), "XRAY": ("DX", ""), "PET": ("PT", "")}

_NOT_AN_IMAGE = "not a medical image"


def open_study(
    path: str | PathLike[str],
    *,
    modality: str | None = None,
    body_part: str | None = None,
    sequences: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Study:
    """Read what lies at `path`: headers now, voxels when first asked for.

    Args:
        path: A DICOM file, a folder of any depth and naming, a DICOMDIR, a zip of these, NIfTI, NRRD, MetaImage, PNG,
            JPEG, BMP or TIFF. A folder may hold several formats, series and patients; they are told apart.
        modality: What the pictures were made with, where the files do not say: a DICOM term such as `CT`, `MR`, `DX`,
            `US`, or `MRI`, `CXR`, `PET`. It is never guessed from a file name.
        body_part: The body part, where the files do not say, such as `CHEST`.
        sequences: Series by role, for brain-tumour MRI: `{"t1ce": key, ...}`, a key being a series' id, number or
            description (for NIfTI, its path below `path`).
        limits: What the input may cost; by default `Limits.from_environment()`.
        progress: Called with the number of files looked at so far.

    Returns:
        A study of at least one series. What could not be read is in its `rejected` and `skipped`.

    Raises:
        InputError: Nothing can be read; names the file, the field and the value at fault.
        NotAvailableError: Nothing can be read without an extra that is not installed.
    """
    limits = limits or Limits.from_environment()
    told_modality, told_part = _told(modality, body_part)
    study = _open(Path(path).expanduser(), limits, progress)
    for series in study.series:
        series.modality = series.modality or told_modality
        series.body_part = series.body_part or told_part
    _name_sequences(study, sequences or {})
    return study


def _told(modality: str | None, body_part: str | None) -> tuple[str | None, str]:
    if modality is None:
        return None, (body_part or "").upper()
    term, part = _SPOKEN.get(modality.upper(), (modality.upper(), ""))
    if term not in MODALITIES:
        allowed = ", ".join((*MODALITIES, *_SPOKEN))
        raise InputError(f"must be one of {allowed}", field="modality", value=modality)
    return term, (body_part or part).upper()


def _name_sequences(study: Study, sequences: Mapping[str, str]) -> None:
    for role, key in sequences.items():
        if role not in SEQUENCES:
            raise InputError(f"must be one of {', '.join(SEQUENCES)}", field="sequence", value=role)
        chosen = study.find(key)
        for series in study.series:
            if series.sequence == role:
                series.sequence = None
        chosen.sequence = role


def _open(path: Path, limits: Limits, progress: Callable[[int], None]) -> Study:
    archive = None
    if path.is_dir():
        files = [(file, str(file.relative_to(path))) for file in walk(path, limits)]
        single = False
    else:
        kind = sniff(path)
        if kind == "zip":
            archive = Unpacked(path, limits)
            files, single = archive.files, False
        elif kind == "dicom" and is_dicomdir(path, limits):
            files, single = [(file, str(file)) for file in referenced_files(path, limits)], False
        else:
            files, single = [(path, str(path))], True
    study = _read(path, files, single, limits, progress)
    for series in study.series:
        series.archive = archive
    if not study.series:
        raise _nothing(study, len(files), single)
    return study


def _read(
    path: Path, files: list[tuple[Path, str]], single: bool, limits: Limits, progress: Callable[[int], None]
) -> Study:
    study = Study(path, [])
    dicom: list[tuple[Path, str]] = []
    missing: NotAvailableError | None = None
    for count, (file, name) in enumerate(files, 1):
        kind = None
        try:
            kind = sniff(file)
            if kind == "dicom":
                dicom.append((file, name))
            elif kind is None or kind == "zip":
                study.skipped[_NOT_AN_IMAGE] = study.skipped.get(_NOT_AN_IMAGE, 0) + 1
            else:
                study.series.append(_read_other(file, kind, file.name if single else name, limits))
        except InputError as error:
            study.rejected.append(error)
        except NotAvailableError as error:
            missing = error
            study.skipped[str(error)] = study.skipped.get(str(error), 0) + 1
        if kind != "dicom":
            progress(count)
    others = len(files) - len(dicom)
    series, rejected, skipped = read_dicom(dicom, limits, lambda count: progress(others + count))
    study.series = series + study.series
    study.rejected += rejected
    study.skipped |= skipped
    if missing and not study.series:
        raise missing
    return study


def _read_other(path: Path, kind: str, series_id: str, limits: Limits) -> Series:
    series_id = printable(series_id, 500)
    if kind in ("nifti", "gzip"):
        return read_nifti(path, series_id, limits)
    if kind in ("nrrd", "metaimage"):
        return read_itk(path, kind, series_id, limits)
    return read_raster(path, kind, series_id, limits)


def _nothing(study: Study, count: int, single: bool) -> InputError:
    """The error for a study without a series: the first thing that went wrong, or what was seen instead."""
    if study.rejected:
        first = study.rejected[0]
        if len(study.rejected) == 1:
            return first
        more = f"{first.problem} (and {len(study.rejected) - 1} more such problems)"
        return InputError(more, path=first.path, field=first.field, value=first.value)
    if not count:
        return InputError("holds no files", path=study.path)
    if single:
        what = next(iter(study.skipped))
        return InputError(f"is {what}; {READABLE} is needed", path=study.path)
    seen = ", ".join(f"{number} x {what}" for what, number in study.skipped.items())
    return InputError(f"holds no medical image ({seen}); {READABLE} is needed", path=study.path)
