"""NRRD and MetaImage through SimpleITK in a child process, after a look at the sizes and files their header names."""

from __future__ import annotations

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from attending.errors import InputError, NotAvailableError
from attending.imaging import sandbox
from attending.imaging.files import check_relative, open_regular
from attending.imaging.limits import Limits
from attending.imaging.study import Series
from attending.imaging.volume import Volume, is_affine

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHILD = "attending.imaging.itk_reader"
_HEADER_BYTES = 1 << 16
_LINE = re.compile(r"^\s*([\w ]+?)\s*(?::=|:|=)\s*(.*?)\s*$")


def read_itk(path: Path, kind: str, series_id: str, limits: Limits) -> Series:
    """One NRRD (`kind` nrrd) or MetaImage (metaimage) file as a series; its modality is for the user to say.

    Raises:
        InputError: The header is broken, names a file outside its folder, or goes beyond `limits`.
        NotAvailableError: SimpleITK is not installed.
    """
    if find_spec("SimpleITK") is None:
        raise NotAvailableError(f"{path.name} is read with SimpleITK, which is missing: pip install 'attending[itk]'")
    _check_text(path, kind, limits)
    # A child that only looks at the header; the voxels are for later.
    facts = _ask(path, limits, out=None, data_bytes=0)
    size = [*facts["size"], 1][:3]
    shape, channels = (int(size[0]), int(size[1]), int(size[2])), int(facts["channels"])
    dtype = np.dtype(facts["dtype"])
    data_bytes = int(np.prod(shape, dtype=object)) * channels * dtype.itemsize
    if data_bytes > limits.voxel_bytes:
        limits.refuse("voxel_bytes", f"claims {data_bytes:,} bytes of voxels", path=path, field="size", value=size)
    affine = _affine(facts, path)
    grid = Volume(np.empty((1, 1, 1), np.int16), affine)

    def read(series: Series) -> Volume:
        with tempfile.TemporaryDirectory(prefix="attending-") as folder:
            out = Path(folder, "voxels")
            _ask(path, limits, out=out, data_bytes=data_bytes)
            values = np.fromfile(out, dtype)
        if values.nbytes != data_bytes:
            raise InputError("holds fewer voxels than its header says", path=path, field="voxels")
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError("holds values that are not finite numbers", path=path, field="voxels")
        array = values.reshape(channels, *shape, order="F") if channels > 1 else values.reshape(shape, order="F")
        return Volume(array, affine, series.modality, series.id)

    return Series(
        id=series_id,
        kind="volume",
        modality=None,
        shape=shape,
        spacing=grid.spacing,
        read=read,
        orientation=grid.orientation,
        channels=channels,
        files=(path,),
    )


def _check_text(path: Path, kind: str, limits: Limits) -> None:
    """Bound what the text header claims, and keep it from naming other people's files."""
    with open_regular(path) as file:
        text = file.read(_HEADER_BYTES).split(b"\n\n" if kind == "nrrd" else b"ElementDataFile")
    fields: dict[str, str] = {}
    lines = text[0].decode("latin-1").splitlines()
    if kind == "metaimage" and len(text) > 1:
        lines.append("ElementDataFile" + text[1].split(b"\n")[0].decode("latin-1"))
    for line in lines:
        found = _LINE.match(line)
        if found:
            fields[found[1].lower()] = found[2]
    sizes = fields.get("sizes" if kind == "nrrd" else "dimsize", "")
    try:
        extents = [int(part) for part in sizes.split()]
    except ValueError:
        extents = []
    if not extents or min(extents) < 1:
        raise InputError("must be whole numbers above 0", path=path, field="sizes", value=sizes)
    if int(np.prod(extents, dtype=object)) > limits.voxel_bytes:
        limits.refuse("voxel_bytes", "claims too many voxels", path=path, field="sizes", value=sizes)
    data = fields.get("data file", fields.get("datafile", "")) if kind == "nrrd" else fields.get("elementdatafile", "")
    if data and data.upper() != "LOCAL":
        check_relative(data, path, "data file", limits)
        if data.upper().startswith("LIST") or "%" in data:
            raise InputError("names several data files; join them into one first", path=path, field="data file")
        if not (path.parent / data).resolve().is_relative_to(path.parent.resolve()):
            raise InputError("leads out of the folder of the header", path=path, field="data file", value=data)
        with open_regular(path.parent / data):
            pass
    packed = path.stat().st_size + ((path.parent / data).stat().st_size if data and data.upper() != "LOCAL" else 0)
    limits.check_inflation(int(np.prod(extents, dtype=object)), packed, path=path, field="sizes")


def _ask(path: Path, limits: Limits, *, out: Path | None, data_bytes: int) -> dict[str, Any]:
    request = {"path": str(path.resolve()), "out": str(out) if out else None}
    answer = sandbox.run(_CHILD, request, memory=4 * data_bytes, path=str(path), limits=limits)
    if "error" in answer:
        raise InputError(f"cannot be read: {answer['error']}", path=path)
    return answer


def _affine(facts: dict[str, Any], path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """SimpleITK's origin, spacing and direction (LPS) as one matrix to RAS mm."""
    count = len(facts["size"])
    affine = np.eye(4)
    direction = np.array(facts["direction"], float).reshape(count, count)
    affine[:count, :count] = direction * np.array(facts["spacing"], float)
    affine[:count, 3] = facts["origin"]
    if not is_affine(affine):
        raise InputError(
            "must map voxels to three different directions in mm",
            path=path,
            field="space directions",
            value=affine.tolist(),
        )
    return _LPS_TO_RAS @ affine
