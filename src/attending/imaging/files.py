"""Files from outside: only regular ones are opened, and what a file is comes from its first bytes."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath

from attending.errors import InputError
from attending.imaging.limits import Limits

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty archive
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"NRRD000", "nrrd"),
    (b"ObjectType", "metaimage"),
    (b"NDims", "metaimage"),
)
_SUFFIX_KINDS = {
    ".dcm": ("dicom",),
    ".dicom": ("dicom",),
    ".nii": ("nifti",),
    ".nii.gz": ("gzip",),
    ".zip": ("zip",),
    ".png": ("png",),
    ".jpg": ("jpeg",),
    ".jpeg": ("jpeg",),
    ".bmp": ("bmp",),
    ".tif": ("tiff",),
    ".tiff": ("tiff",),
    ".nrrd": ("nrrd",),
    ".mha": ("metaimage",),
    ".mhd": ("metaimage",),
}
READABLE = (
    "a DICOM file, folder, DICOMDIR or zip, NIfTI (.nii, .nii.gz), NRRD, MetaImage (.mha, .mhd), PNG, JPEG, BMP or TIFF"
)


def open_regular(path: Path) -> BufferedReader:
    """Open `path` for reading if it is a regular file.

    Raises:
        InputError: It does not exist, is a pipe, device or folder, or may not be read.
    """
    try:
        mode = path.stat().st_mode  # before opening: opening a pipe waits for its writer
        if stat.S_ISREG(mode):
            return path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from None
    raise InputError("is not a regular file (a folder, pipe or device)", path=path)


def sniff(path: Path) -> str | None:
    """What a file holds, by its first bytes: a key such as `dicom`, `nifti`, `gzip`, `zip`, `png`; None if unknown.

    Raises:
        InputError: The file is empty, cannot be read, or its name claims a kind that its content is not.
    """
    with open_regular(path) as file:
        head = file.read(512)
    if not head:
        raise InputError("is empty", path=path)
    kind = _kind(head)
    claimed = next((kinds for suffix, kinds in _SUFFIX_KINDS.items() if path.name.lower().endswith(suffix)), None)
    if claimed and kind not in claimed:
        raise InputError(f"is named as {claimed[0]} but its content is {kind or 'something else'}", path=path)
    return kind


def _kind(head: bytes) -> str | None:
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    size = head[:4]
    if size in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and head[344:347] in (b"n+1", b"ni1"):
        return "nifti"
    if size in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:7] in (b"n+2", b"ni2"):
        return "nifti"
    # DICOM without the 128-byte preamble begins with group 0002 or 0008, little endian, and a short element.
    if head[:2] in (b"\x02\0", b"\x08\0") and head[2:4] < b"\x40\0" and len(head) > 16:
        return "dicom"
    return None


def walk(folder: Path, limits: Limits) -> Iterator[Path]:
    """Regular files below `folder` in a fixed order; hidden files are passed over, folder links not followed.

    Raises:
        InputError: There are more than `limits.files`.
    """
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or not path.is_file():
                continue
            count += 1
            if count > limits.files:
                limits.refuse("files", "holds more files than one study may", path=folder)
            yield path


def check_relative(name: str, path: Path, field: str, limits: Limits) -> None:
    """Refuse a file name from outside that could lead out of its folder, or is made to look like another.

    Args:
        name: The name, parts joined by `/`.
        path: The file it stands in.
        field: The field it stands in.
        limits: For the longest name.

    Raises:
        InputError: It is absolute, climbs, holds NUL or a backslash, or is too long.
    """
    if len(name) > limits.name_length:
        limits.refuse("name_length", "is too long a name", path=path, field=field, value=f"{len(name)} characters")
    plain = unicodedata.normalize("NFKC", name)  # look-alikes of dots and slashes become what they look like
    bad = (
        "\0" in plain
        or "\\" in plain
        or plain.startswith("/")
        or (len(plain) > 1 and plain[1] == ":")
        or ".." in PurePosixPath(plain).parts
    )
    if bad or not plain:
        raise InputError("must be a plain name below the folder it is in", path=path, field=field, value=name)
