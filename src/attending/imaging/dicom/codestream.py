"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of its own size, read without decoding it."""

from __future__ import annotations

import struct

_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})  # TEM, RSTn, SOI, EOI
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOFn, and SOF55 of JPEG-LS


def check_codestream(data: bytes, rows: int, columns: int) -> None:
    """Refuse a codestream whose own size is not that of the DICOM header; a codec would believe the codestream.

    Args:
        data: One encapsulated frame. Without a known codestream in it (RLE), nothing is checked.
        rows: Rows of the DICOM header.
        columns: Columns of the DICOM header.

    Raises:
        ValueError: The sizes differ.
    """
    size = codestream_size(data)
    if size is not None and size != (rows, columns):
        raise ValueError(f"its codestream is {size[0]} x {size[1]} where Rows x Columns is {rows} x {columns}")


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns by the codestream's header (ISO 10918-1, 14495-1, 15444-1), or None where it has none."""
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 24:
        width, height, left, top = struct.unpack_from(">IIII", data, 8)
        return height - top, width - left
    if data[4:8] == b"jP  ":  # a JP2 file around the codestream
        start = data.find(b"\xff\x4f\xff\x51")
        return codestream_size(data[start:]) if start >= 0 else None
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", data, position + 5)
            return rows, columns
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None
