"""Journal: every raw answer on disk as a JSON line; appended whole, repaired after a kill, read back line by line."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from attending.errors import InputError

_SYNC_SECONDS = 5.0
_MAX_LINE = 50_000_000  # bytes


class Journal:
    """Appends records to one file, which no other process may write at the same time.

    A record is one `write` call, so that a killed process leaves it whole or not at all; the disk is told to keep what
    it has every few seconds and at the end. A full disk leaves the file as it was before the record.

    Raises:
        InputError: The file cannot be written, or another run has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", path=path) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise InputError("another run is writing here; wait for it, or choose another --out", path=path) from error
        self._size = _whole(self._file)
        os.ftruncate(self._file, self._size)
        self._synced = time.monotonic()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            InputError: The disk is full or fails; what was there before is kept.
        """
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(28, "no space left on device")
            self._size += written
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self.sync()
        except OSError as error:
            os.ftruncate(self._file, self._size)
            problem = (
                f"cannot be written: {error.strerror}; what is there is kept, and the same command goes on from it"
            )
            raise InputError(problem, path=self.path) from error

    def sync(self) -> None:
        """Wait until the disk has all of it."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.sync()
        finally:
            os.close(self._file)


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, in order; a last line without its end, from a run that was killed, is left out.

    Raises:
        InputError: A line that is no record; names it.
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1):
            if not line.endswith(b"\n"):
                if len(line) == _MAX_LINE:
                    raise InputError(f"line {number} is longer than {_MAX_LINE} bytes", path=path)
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"line {number} is no JSON record", path=path) from error
            if not isinstance(record, dict):
                raise InputError(f"line {number} is no JSON object", path=path)
            yield record


def write_whole(path: Path, text: str) -> None:
    """Write a file aside, then put it in place, so that it is there whole or as it was.

    Raises:
        InputError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", path=path) from error


def _whole(file: int) -> int:
    """Bytes up to and with the last line end."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        chunk = os.pread(file, end - start, start)
        at = chunk.rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
