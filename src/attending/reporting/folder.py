"""The folder of an answer: its files are made aside and appear whole; an earlier answer's files go, the user's stay."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attending.errors import InputError

_ASIDE = ".attending-part-"
_SUMS = "SHA256SUMS"
_MEDIA = re.compile(r"files-[0-9a-f]{8}")
TOP = ("transcript.json", "report.html", "answer.json")
"""Files of fixed name, in the order in which they appear: `answer.json` last, since it lists all others."""


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """A hidden folder within `folder` to make files in; gone at the end, whatever happens.

    Raises:
        InputError: `folder` is no folder, cannot be made or written, or is full.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file; expected a folder to write into", path=folder)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            for left in folder.glob(f"{_ASIDE}*"):  # of runs that were killed
                shutil.rmtree(left, ignore_errors=True)
            aside = folder / f"{_ASIDE}{secrets.token_hex(4)}"
            aside.mkdir()
            try:
                yield aside
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        if new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"cannot write here: {error.strerror or error}", path=folder) from error
        raise


def put(path: Path, data: bytes) -> None:
    """Write a file so that it is on the disk, not only on its way there."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def seal(media: Path) -> str:
    """Write the checksums of all files in `media` beside them, as `sha256sum -c` reads them, and return them."""
    told = "".join(f"{_sha256(path)}  {path.name}\n" for path in sorted(media.iterdir()))
    put(media / _SUMS, told.encode())
    return told


def publish(aside: Path, folder: Path, media: str) -> list[Path]:
    """Move what was made aside to its final names, then remove the files of an earlier answer.

    The pictures and masks get a folder of their own, named by content, so that those of an earlier answer are never
    overwritten one by one: until `answer.json` is replaced, the old answer and all its files are whole.

    Args:
        aside: Holds the files of `TOP` and the folder `media`, sealed.
        folder: Where they go.
        media: Name of the folder of pictures and masks.

    Returns:
        All files, those of fixed name first.
    """
    for name in TOP:
        if (folder / name).is_dir():
            raise InputError("is a folder; a file of this name is to be written", path=folder / name)
    goal, there = folder / media, (folder / media).exists()
    try:
        if there:  # this very answer was written here before
            for path in (aside / media).iterdir():
                os.replace(path, goal / path.name)
        else:
            os.rename(aside / media, goal)
        for name in TOP:
            os.replace(aside / name, folder / name)
    except OSError:
        if not there:
            shutil.rmtree(goal, ignore_errors=True)
        raise
    for old in folder.iterdir():
        if _MEDIA.fullmatch(old.name) and old != goal:
            with suppress(OSError):  # what cannot be removed lies in a folder that no answer names
                _clear(old)
    return [folder / name for name in reversed(TOP)] + [goal / name for name in (*_listed(goal), _SUMS)]


def _clear(old: Path) -> None:
    """Remove the files that an earlier answer wrote and nobody has changed since."""
    if old.is_symlink():
        return
    for name, digest in _listed(old).items():
        path = old / name
        if path.is_file() and not path.is_symlink() and _sha256(path) == digest:
            path.unlink()
    (old / _SUMS).unlink(missing_ok=True)
    old.rmdir()  # stays when the user keeps something there


def _listed(media: Path) -> dict[str, str]:
    """SHA-256 by file name; names that would lead out of the folder are passed over."""
    sums = media / _SUMS
    if not sums.is_file():
        return {}
    rows = (line.split("  ", 1) for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
    return {row[1]: row[0] for row in rows if len(row) == 2 and re.fullmatch(r"[\w-][\w.-]*", row[1], re.ASCII)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time: a second would take the first one's draft for that of a killed run."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
