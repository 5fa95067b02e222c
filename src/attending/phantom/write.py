"""Write cases as studies: DICOM, NIfTI, PNG, label volumes and truth.json, each case whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.errors import InputError

if TYPE_CHECKING:
    from attending.imaging import Volume
    from attending.phantom.case import Case

FORMATS = ("dicom", "nifti", "png")
"""PNG is for radiographs only."""
_PARTIAL = ".partial-"


def write(case: Case, folder: str | PathLike[str], formats: Sequence[str] = FORMATS) -> Path:
    """Write one case into `folder/<case id>`, beside its truth.

    Files go to a hidden folder first, which is then renamed: a case that is there is whole. One that is there
    already is left as it is.

    Raises:
        InputError: An unknown format, or a folder that cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"expected some of {', '.join(FORMATS)}", field="format", value=name)
    root = Path(folder)
    goal = root / case.id
    if (goal / "truth.json").exists():
        return goal
    aside = root / f"{_PARTIAL}{case.id}-{os.getpid()}"
    try:
        aside.mkdir(parents=True, exist_ok=True)
        files = [_write_visit(case, index, aside, formats) for index in range(len(case.visits))]
        record = case.truth.to_dict()
        for visit, names in zip(record["visits"], files, strict=True):
            visit["files"] = names
        record["finding_seeds"] = [asdict(f) for f in case.findings]
        (aside / "truth.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        aside.rename(goal)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if (goal / "truth.json").exists():  # another process wrote it first
            return goal
        raise InputError(f"cannot write here: {error.strerror}", path=root) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return goal


def clear_partial(folder: str | PathLike[str]) -> int:
    """Remove what killed runs left half written; cases of processes that still run are left alone."""
    removed = 0
    for path in Path(folder).glob(f"{_PARTIAL}*"):
        if not _alive(int(path.name.rpartition("-")[2]) if path.name.rpartition("-")[2].isdigit() else 0):
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def _alive(process: int) -> bool:
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_visit(case: Case, index: int, root: Path, formats: Sequence[str]) -> dict[str, Any]:
    """One visit's files; returns their paths relative to the case, by what they are."""
    visit = case.visits[index]
    base = root / f"visit{index + 1}"
    base.mkdir(exist_ok=True)
    files: dict[str, Any] = {}
    if "dicom" in formats:
        from attending.phantom.dicom import write_series

        for name in visit.volumes:
            write_series(case, index, name, base / "dicom" / name)
        files["dicom"] = {name: f"{base.name}/dicom/{name}" for name in visit.volumes}
    if "nifti" in formats:
        files["nifti"] = {name: _nifti(v, base / f"{name}.nii.gz", root) for name, v in visit.volumes.items()}
    if "png" in formats and case.kind == "cxr":
        from PIL import Image

        pixels = np.rint(visit.volumes["frontal"].array[::-1, 0, ::-1].T.astype(float) / 4095 * 255).astype(np.uint8)
        Image.fromarray(pixels).save(base / "frontal.png")
        files["png"] = {"frontal": f"{base.name}/frontal.png"}
    files["labels"] = _nifti(visit.labels, base / "labels.nii.gz", root)
    files["findings"] = _nifti(visit.instances, base / "findings.nii.gz", root)
    if visit.tissue is not None:
        files["tissue"] = _nifti(visit.tissue, base / "tissue.nii.gz", root)
    if visit.channels:
        files["label_channels"] = list(visit.channels)
    return files


def _nifti(volume: Volume, path: Path, root: Path) -> str:
    """A NIfTI file without a time stamp; channels become the fourth axis."""
    import nibabel as nib

    array = np.moveaxis(volume.array, 0, -1) if volume.array.ndim == 4 else volume.array
    image = nib.Nifti1Image(np.ascontiguousarray(array), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(volume.affine, 1)
    image.set_sform(volume.affine, 1)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
    return path.relative_to(root).as_posix()
