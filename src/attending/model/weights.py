"""Which tensors a checkpoint folder holds, read from safetensors headers alone and trusted in nothing.

Format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON header, the tensors' bytes without
gaps).
"""

import json
import math
import re
from os import stat_result
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from attending.errors import InputError

MAX_HEADER = 100_000_000  # bytes, as in the safetensors library
MAX_JSON = 50_000_000  # bytes of any other JSON file of a checkpoint
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_PLAIN_NAME = re.compile(r"[\w.\-]{1,200}\.safetensors")


class StoredTensor(NamedTuple):
    """Where one tensor lies."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    end: int
    """Last byte in the file + 1."""


def regular(path: Path) -> stat_result:
    """Return the file's status; refuse what is missing or is no regular file (a pipe would hang the reader)."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise InputError("the file is missing or cannot be read", path=path) from error
    if not S_ISREG(status.st_mode):
        raise InputError("not a regular file", path=path)
    return status


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of reasonable size.

    Raises:
        InputError: When there is none.
    """
    size = regular(path).st_size
    if size > MAX_JSON:
        raise InputError(f"too large for a settings file; expected at most {MAX_JSON} bytes", path=path, value=size)
    return parse_json(path, path.read_bytes())


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """Parse a JSON object; a name that occurs twice is refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InputError("a name occurs twice in one JSON object", path=path)
        return found

    try:
        found = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError("not valid JSON", path=path, value=str(error)) from error
    if not isinstance(found, dict):
        raise InputError("expected a JSON object", path=path, value=type(found).__name__)
    return found


def read_header(path: Path) -> list[StoredTensor]:
    """List the tensors of one safetensors file in the order of their bytes.

    Raises:
        InputError: When the file is truncated, its tensors overlap or leave gaps, or any entry is inconsistent.
    """
    size = regular(path).st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise InputError(
                f"not a safetensors file, or truncated: expected at least {length + 8} bytes, found {size}",
                path=path,
                field="header length",
                value=length,
            )
        header = parse_json(path, file.read(length))
    header.pop("__metadata__", None)
    first = 8 + length
    tensors = sorted((_entry(path, name, entry, first) for name, entry in header.items()), key=lambda one: one[4:])
    expected = first
    for tensor in tensors:
        if tensor.start != expected:
            problem = "overlaps the tensor before it" if tensor.start < expected else "leaves a gap before it"
            raise InputError(
                f"{problem}: expected to begin at byte {expected}", path=path, field=tensor.name, value=tensor.start
            )
        expected = tensor.end
    if expected != size:
        raise InputError(f"truncated or too long: expected {expected} bytes", path=path, field="file size", value=size)
    return tensors


def _entry(path: Path, name: str, entry: Any, first: int) -> StoredTensor:
    """Check one header entry; offsets there count from `first`."""
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sizes_ok = all(type(one) is int and 0 <= one < 2**63 for one in (*shape, start, end))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the header entry needs dtype, shape and data_offsets", path=path, field=name) from error
    if dtype not in DTYPE_BYTES:
        raise InputError(f"expected one of {', '.join(DTYPE_BYTES)}", path=path, field=f"dtype of {name}", value=dtype)
    if not sizes_ok:
        raise InputError("shape and offsets must be whole numbers, not negative", path=path, field=name, value=entry)
    wanted = math.prod(shape) * DTYPE_BYTES[dtype]
    if end - start != wanted:
        raise InputError(
            f"{dtype} {list(shape)} takes {wanted} bytes, its offsets span {end - start}", path=path, field=name
        )
    return StoredTensor(path, name, dtype, shape, first + start, first + end)


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """List the tensors of `model.safetensors`, or of the shards its index names, by name, in the order of their bytes.

    Raises:
        InputError: When weights are missing, only exist as pickles, or the shards and their index disagree.
    """
    index_path = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if index_path.exists():
        shards, index = _shards(index_path)
    elif single.exists():
        shards, index = [single], None
    else:
        for pattern in _PICKLES:
            for pickle in sorted(folder.glob(pattern)):
                raise InputError(
                    "weights are read from safetensors only; this is a pickle, which can run code when it is loaded",
                    path=pickle,
                )
        raise InputError("expected model.safetensors or model.safetensors.index.json in this folder", path=folder)
    for shard in shards:
        regular(shard)
    found: dict[str, StoredTensor] = {}
    for shard in shards:
        for tensor in read_header(shard):
            if tensor.name in found:
                raise InputError(f"the tensor is also in {found[tensor.name].path.name}", path=shard, field=tensor.name)
            if index is not None and index.get(tensor.name) != shard.name:
                raise InputError("the index does not place this tensor here", path=shard, field=tensor.name)
            found[tensor.name] = tensor
    for name, shard_name in (index or {}).items():
        if name not in found:
            raise InputError(
                f"the index places this tensor in {shard_name}, which lacks it", path=index_path, field=name
            )
    return found


def _shards(index_path: Path) -> tuple[list[Path], dict[str, str]]:
    """The shards an index names, in order, and its map from tensor to shard name."""
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError("expected a map from tensor to file", path=index_path, field="weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _PLAIN_NAME.fullmatch(shard):
            raise InputError(
                "expected the name of a .safetensors file in the same folder",
                path=index_path,
                field=f"weight_map of {name}",
                value=shard,
            )
    return [index_path.parent / shard for shard in sorted(set(weight_map.values()))], weight_map
