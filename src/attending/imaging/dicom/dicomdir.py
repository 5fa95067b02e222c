"""DICOMDIR: the files a directory record names, each checked to lie below it."""

from __future__ import annotations

from pathlib import Path

from attending.errors import InputError
from attending.imaging.dicom.header import read_header
from attending.imaging.files import check_relative
from attending.imaging.limits import Limits


def is_dicomdir(path: Path, limits: Limits) -> bool:
    """Whether a DICOM file is a directory of others, whatever its name.

    Raises:
        InputError: It is not well-formed DICOM.
    """
    return bool(read_header(path, limits).raw("DirectoryRecordSequence"))


def referenced_files(path: Path, limits: Limits) -> list[Path]:
    """The files that the records of a DICOMDIR name (PS3.3 annex F), in the order of the records.

    The records are read as the flat list they are; the offsets that chain them, which can loop, are not followed.

    Raises:
        InputError: It is not a DICOMDIR, or a reference leads out of its folder or to no file.
    """
    header = read_header(path, limits)
    root = path.parent.resolve()
    found: dict[Path, None] = {}
    for record in header.items("DirectoryRecordSequence"):
        try:
            parts = record.get("ReferencedFileID")
        except Exception as error:  # hostile bytes reach pydicom here; it raises many kinds
            raise InputError(f"cannot be read ({error})", path=path, field="ReferencedFileID") from None
        if parts is None:
            continue
        names = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        found[_below(root, names, path, limits)] = None
    if not found:
        raise InputError("names no files", path=path, field="DirectoryRecordSequence")
    if len(found) > limits.files:
        limits.refuse("files", "names more files than one study may hold", path=path)
    return list(found)


def _below(root: Path, names: list[str], path: Path, limits: Limits) -> Path:
    shown = "\\".join(names)
    joined = "/".join(names)
    check_relative(joined, path, "ReferencedFileID", limits)
    file = root.joinpath(*names)
    if not file.resolve().is_relative_to(root):
        raise InputError("leads out of the folder of the DICOMDIR", path=path, field="ReferencedFileID", value=shown)
    if not file.is_file():
        raise InputError("names a file that is not there", path=path, field="ReferencedFileID", value=shown)
    return file
