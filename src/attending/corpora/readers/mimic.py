"""What MIMIC-CXR-JPG and the sets built on it share: where pictures lie, and who is who."""

from __future__ import annotations

from pathlib import Path

from attending.corpora.readers.tables import first_of, inside
from attending.errors import InputError

SPLIT_OF = {"train": "train", "validate": "validate", "val": "validate", "test": "test"}


def number(text: str, path: Path, field: str) -> str:
    """An id that tables give as `50414267` or, by way of a float, `50414267.0`.

    Raises:
        InputError: It is none.
    """
    found = text.strip().removesuffix(".0")
    if not (found.isascii() and found.isdigit() and len(found) <= 12):
        raise InputError("expected a whole number", path=path, field=field, value=text)
    return found


def picture(root: Path, subject: str, study: str, dicom: str, path: Path, field: str) -> Path:
    """`files/p10/p10000032/s50414267/<dicom id>.jpg`."""
    return inside(root, f"files/p{subject[:2]}/p{subject}/s{study}/{dicom.strip()}.jpg", path, field)


def patient(subject: str) -> str:
    """One name for a patient in all sets that come from MIMIC-CXR."""
    return f"MIMIC {subject}"


def table(folder: Path, kind: str) -> Path:
    """`mimic-cxr-2.0.0-<kind>.csv.gz`, unpacked or not.

    Raises:
        InputError: It is not in the folder.
    """
    names = [f"mimic-cxr-{version}-{kind}.csv{end}" for version in ("2.0.0", "2.1.0") for end in (".gz", "")]
    return first_of(folder, *names)
