"""Unpack a zip within bounds: every name is checked, every byte counted, and nothing keeps the name it came with."""

from __future__ import annotations

import shutil
import stat
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path

from attending.errors import InputError, printable
from attending.imaging.files import check_relative, open_regular
from attending.imaging.limits import Limits

_CHUNK = 1 << 20


class Unpacked:
    """The files of a zip in a temporary folder that goes when this object does.

    Attributes:
        files: Each file with the name it had in the archive; for messages only.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        folder = Path(tempfile.mkdtemp(prefix="attending-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.files = _unpack(path, folder, limits)


def _unpack(path: Path, folder: Path, limits: Limits) -> list[tuple[Path, str]]:
    files = []
    total = 0
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > limits.archive_entries:
                limits.refuse("archive_entries", f"has {len(entries):,} entries", path=path)
            for entry in entries:
                _check_entry(entry, path, limits)
            for number, entry in enumerate(entry for entry in entries if not entry.is_dir()):
                # A plain number and the suffix, which says what kind of file it claims to be.
                suffix = "".join(Path(entry.filename).suffixes[-2:])[-12:]
                target = folder / f"{number:06d}{suffix if suffix.isascii() else ''}"
                total += _extract(archive, entry, target, path, limits, limits.archive_bytes - total)
                files.append((target, f"{path.name}/{printable(entry.filename, 300)}"))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise InputError(f"is not a whole zip that can be read ({error})", path=path) from None
    return files


def _check_entry(entry: zipfile.ZipInfo, path: Path, limits: Limits) -> None:
    name = entry.orig_filename  # `filename` ends at a NUL and has its backslashes turned
    check_relative(name.rstrip("/") or name, path, "archive entry", limits)
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError("is a link or a device", path=path, field="archive entry", value=name)
    if entry.flag_bits & 1:
        raise InputError("is encrypted; unpack it first", path=path, field="archive entry", value=name)


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, path: Path, limits: Limits, allowed: int
) -> int:
    """Write one entry, counting what really comes out: the size it declares is only a claim."""
    written = 0
    with archive.open(entry) as packed, target.open("wb") as out:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > allowed:
                limits.refuse("archive_bytes", "holds too many bytes", path=path, field=entry.filename)
            limits.check_inflation(written, entry.compress_size, path=path, field=entry.filename)
            out.write(chunk)
    return written
