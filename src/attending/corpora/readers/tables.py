"""Rows of JSON, JSON lines, CSV and plain pickles, from files that may be broken or hostile."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from attending.errors import InputError
from attending.imaging import Limits
from attending.imaging.files import check_relative, open_regular

_FILE_BYTES = 4 << 30
_CELL = 1 << 20

Report = Callable[[InputError], None]


def append_to(path: Path) -> TextIO:
    """Open a file of lines to add to it.

    Raises:
        InputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=path) from None


def first_of(folder: Path, *names: str) -> Path:
    """The first of these files that is in the folder.

    Raises:
        InputError: None is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"expected {' or '.join(names)} in this folder", path=folder)


def inside(root: Path, name: object, path: Path, field: str) -> Path:
    """The file `name` below `root`, as a table at `path` names it, relative to `root` or in full.

    Raises:
        InputError: It is no plain name below the folder.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError("expected the name of a file", path=path, field=field, value=name)
    if Path(name).is_absolute() and Path(name).is_relative_to(root.absolute()):
        name = str(Path(name).relative_to(root.absolute()))
    check_relative(name, path, field, Limits())
    return root / name


def text_in(row: Mapping[str, Any], key: str, path: Path, where: str) -> str:
    """A text or number of a row, as text without white space around it.

    Raises:
        InputError: It is missing, of another kind, or not a finite number.
    """
    value = row.get(key)
    whole = isinstance(value, int) and not isinstance(value, bool)
    real = isinstance(value, float) and math.isfinite(value)
    if not (isinstance(value, str) or whole or real):
        raise InputError("expected a text or a number", path=path, field=f"{where}, {key}", value=value)
    return f"{value:g}" if real else str(value).strip()


def _content(path: Path) -> bytes:
    size = path.stat().st_size if path.is_file() else 0
    if size > _FILE_BYTES:
        raise InputError(f"is larger than {_FILE_BYTES:,} bytes", path=path, field="size", value=f"{size:,}")
    with open_regular(path) as file:
        return file.read()


def json_rows(path: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list, or of JSON lines, each with where it stands (`row 3`).

    Raises:
        InputError: The file is not JSON, or no list of objects.
    """
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _lines(path, report)
        return
    try:
        found = json.loads(_content(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", path=path) from None
    if not isinstance(found, list):
        raise InputError("expected a list of objects", path=path, value=type(found).__name__)
    for number, row in enumerate(found, 1):
        if isinstance(row, dict):
            yield f"row {number}", row
        else:
            report(InputError("expected an object", path=path, field=f"row {number}", value=row))


def _lines(path: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_regular(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                if not isinstance(row, dict):
                    raise ValueError("expected an object")
            except (ValueError, RecursionError) as error:
                report(InputError(f"is not a JSON object ({error})", path=path, field=f"line {number}"))
                continue
            yield f"line {number}", row


def csv_rows(path: Path, needed: tuple[str, ...], report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV, gzipped or not, by column name, each with where it stands (`row 3`, the header being 1).

    Raises:
        InputError: It is not text, or lacks one of the `needed` columns.
    """
    csv.field_size_limit(_CELL)
    with open_regular(path) as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        with io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8-sig", newline="") as text:
            yield from _cells(text, path, needed, report)


def _cells(text: TextIO, path: Path, needed: tuple[str, ...], report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    table = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(table, [])]
        missing = [name for name in needed if name not in header]
        if missing:
            shown = ", ".join(header) or "none"
            raise InputError(f"lacks the column {', '.join(missing)}; it has: {shown}", path=path)
        while header and not header[-1]:  # a comma at the end of the header
            header.pop()
        for cells in table:
            where = f"row {table.line_num}"
            if not cells:
                continue
            if len(cells) < len(header):
                report(InputError(f"expected {len(header)} cells", path=path, field=where, value=len(cells)))
                continue
            yield where, dict(zip(header, cells, strict=False))
    except (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"cannot be read as CSV ({error})", path=path, field=f"row {table.line_num}") from None


class _Plain(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers only: a pickle that names a class or function could run anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only plain values are read")


def pickle_rows(path: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a pickled list of plain values.

    Raises:
        InputError: It is no such pickle.
    """
    try:
        found = _Plain(io.BytesIO(_content(path)), encoding="utf-8").load()
    except Exception as error:  # hostile bytes reach the unpickler, which raises many kinds
        raise InputError(f"is not a pickled list of plain values ({error})", path=path) from None
    if not isinstance(found, list):
        raise InputError("expected a list of objects", path=path, value=type(found).__name__)
    for number, row in enumerate(found, 1):
        if isinstance(row, dict):
            yield f"row {number}", row
        else:
            report(InputError("expected an object", path=path, field=f"row {number}", value=row))
