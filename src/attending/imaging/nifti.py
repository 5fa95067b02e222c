"""NIfTI, plain or gzipped, 3D or with channels, without believing its header before it is checked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError

from attending.errors import InputError, printable
from attending.imaging.files import open_regular
from attending.imaging.limits import Limits
from attending.imaging.study import Series
from attending.imaging.volume import Volume, is_affine

_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is taken as mm, as everyone does
_BROKEN_GZIP: Any = (OSError, EOFError, isal_zlib.error)
_RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@dataclass(frozen=True)
class _Header:
    """A checked header: `shape` is `(X, Y, Z)`, values lie at `offset` as `dtype` and become `* slope + intercept`."""

    shape: tuple[int, int, int]
    channels: int
    rgb: bool
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: npt.NDArray[np.float64]
    description: str
    warnings: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.channels * self.dtype.itemsize


def read_nifti(path: Path, series_id: str, limits: Limits) -> Series:
    """One NIfTI-1 or NIfTI-2 file as a series; its modality is for the user to say, the format has no place for it.

    Raises:
        InputError: The header is broken or contradicts the file, or the file goes beyond `limits`.
    """
    header = _read_header(path, limits)
    volume = Volume(np.empty((1, 1, 1), np.int16), header.affine)

    def read(series: Series) -> Volume:
        return Volume(_read_values(path, header, series), header.affine, series.modality, series.id)

    return Series(
        id=series_id,
        kind="volume",
        modality=None,
        shape=header.shape,
        spacing=volume.spacing,
        read=read,
        orientation=volume.orientation,
        channels=header.channels,
        description=header.description,
        files=(path,),
        warnings=list(header.warnings),
    )


@contextmanager
def _open(path: Path) -> Iterator[BufferedReader | igzip.IGzipFile]:
    """The file, inflated on the fly where it is gzipped."""
    with open_regular(path) as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        with igzip.IGzipFile(fileobj=file, mode="rb") as inflated:
            yield inflated


def _read_header(path: Path, limits: Limits) -> _Header:
    size = path.stat().st_size
    try:
        with _open(path) as file:
            compressed = isinstance(file, igzip.IGzipFile)
            head = file.read(540)
    except _BROKEN_GZIP as error:
        raise InputError(f"is not a whole gzip stream ({error})", path=path) from None
    kinds = {  # by the header length that comes first: class, bytes of it, where its magic stands
        348: (nib.Nifti1Header, 348, 344),
        540: (nib.Nifti2Header, 540, 4),
    }
    length = min(int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if length not in kinds or len(head) < kinds[length][1]:
        raise InputError("is not NIfTI: a header of 348 or 540 bytes must come first", path=path)
    header_class, count, magic_at = kinds[length]
    if head[magic_at : magic_at + 2] == b"ni":
        raise InputError("is one half of a .hdr/.img pair; join it into one .nii first", path=path, field="magic")
    if head[magic_at : magic_at + 2] != b"n+":
        raise InputError("is not NIfTI", path=path, field="magic", value=head[magic_at : magic_at + 3])
    with warnings.catch_warnings(action="ignore"):
        raw = header_class(head[:count], check=False)
    return _check(raw, path, size, compressed, limits)


def _check(raw: Any, path: Path, size: int, compressed: bool, limits: Limits) -> _Header:
    """A header in our terms once every field that is used has been looked at."""
    notes: list[str] = []
    shape, channels = _extents(raw, path)
    try:
        dtype = np.dtype(raw.get_data_dtype())
    except (HeaderDataError, KeyError):
        raise _bad(raw, "datatype", "is not a known NIfTI data type", path) from None
    rgb = dtype == _RGB24
    if rgb:
        if channels > 1:
            raise _bad(raw, "dim", "must be three-dimensional for RGB data", path)
        dtype, channels = np.dtype(np.uint8), 3
    elif dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise _bad(raw, "datatype", f"must be whole numbers, floats or RGB, not {dtype}", path)
    offset = float(raw["vox_offset"])
    if not 0 <= offset < 1 << 31 or offset != int(offset):
        raise _bad(raw, "vox_offset", "must be a whole number of bytes", path)
    slope, intercept = _scaling(raw, path)
    header = _Header(
        shape,
        channels,
        rgb,
        dtype,
        max(int(offset), int(raw.single_vox_offset)),
        slope,
        intercept,
        _affine(raw, path, notes),
        printable(bytes(raw["descrip"]).split(b"\0")[0].decode("latin-1").strip(), 80),
        tuple(notes),
    )
    values = header.data_bytes
    if values > limits.voxel_bytes:
        limits.refuse("voxel_bytes", f"claims {values:,} bytes of voxels", path=path, field="dim", value=shape)
    if compressed:
        limits.check_inflation(header.offset + values, size, path=path, field="dim")
    elif size < header.offset + values:
        raise _bad(raw, "dim", f"needs {header.offset + values:,} bytes where the file has {size:,}", path)
    return header


def _bad(raw: Any, field: str, problem: str, path: Path) -> InputError:
    return InputError(problem, path=path, field=field, value=raw[field])


def _extents(raw: Any, path: Path) -> tuple[tuple[int, int, int], int]:
    """Voxels along x, y, z, and channels."""
    dims = [int(value) for value in raw["dim"]]
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise _bad(raw, "dim", "must give 1 to 7 dimensions, each at least 1", path)
    sizes = dims[1 : dims[0] + 1] + [1] * (7 - dims[0])
    if sum(extent > 1 for extent in sizes[3:]) > 1:
        raise _bad(raw, "dim", "must have at most one dimension beyond x, y and z", path)
    return (sizes[0], sizes[1], sizes[2]), max(sizes[3:])


def _scaling(raw: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN is the format's way of saying that values are not scaled."""
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if np.isinf(slope):
        raise _bad(raw, "scl_slope", "must be finite", path)
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise _bad(raw, "scl_inter", "must be finite where scl_slope is set", path)
    return slope, intercept


def _affine(raw: Any, path: Path, notes: list[str]) -> npt.NDArray[np.float64]:
    """Voxel to RAS mm: the sform, else the qform, else the voxel sizes alone (nifti1.h, "3D image orientation")."""
    sizes = np.array(raw["pixdim"][1:4], float)
    dims = np.array(raw["dim"][1:4])
    used = np.arange(3) < int(raw["dim"][0])
    if not np.isfinite(sizes[used]).all() or (sizes[used & (dims > 1)] <= 0).any():
        raise InputError("must be finite and above 0", path=path, field="pixdim", value=sizes)
    unit = _UNITS_MM.get(int(raw["xyzt_units"]) & 7)
    if unit is None:
        raise InputError("is not a known unit of length", path=path, field="xyzt_units", value=raw["xyzt_units"])
    if int(raw["sform_code"]) > 0:
        field, affine = "sform (srow_x, srow_y, srow_z)", np.array(raw.get_sform(), float)
    elif int(raw["qform_code"]) > 0:
        field = "qform (quatern_b, c, d, pixdim)"
        try:
            affine = np.array(raw.get_qform(), float)
        except (HeaderDataError, ValueError) as error:
            raise InputError(f"is not a rotation ({error})", path=path, field=field) from None
    else:
        notes.append("no orientation in the header (sform and qform are unset): left and right are not certain")
        field, affine = "pixdim", np.array(raw.get_base_affine(), float)
    if unit != 1.0:
        notes.append(f"lengths in the header are not in mm; multiplied by {unit:g}")
        affine[:3] *= unit
    if not is_affine(affine):
        raise InputError(
            "must map voxels to three different directions in mm", path=path, field=field, value=affine[:3].tolist()
        )
    return affine


def _read_values(path: Path, header: _Header, series: Series) -> npt.NDArray[np.generic]:
    """Voxel values `[X, Y, Z]` or `[C, X, Y, Z]`, scaled; the whole stream is read so that its checksum is checked."""
    data = np.empty(header.data_bytes, np.uint8)
    try:
        with _open(path) as file:
            _read_exactly(file, np.empty(header.offset, np.uint8))
            _read_exactly(file, data)
            surplus = 0
            while rest := file.read(1 << 20):
                surplus += len(rest)
                if surplus > header.data_bytes + (1 << 20):
                    raise InputError("holds far more than its header says", path=path, field="dim", value=header.shape)
    except _BROKEN_GZIP as error:
        raise InputError(f"is cut short or corrupt ({error})", path=path, field="voxels") from None
    values: npt.NDArray[Any] = data.view(header.dtype)
    if header.rgb:
        values = values.reshape(3, *header.shape, order="F")  # interleaved, so the channel runs fastest
    elif header.channels > 1:
        values = np.moveaxis(values.reshape(*header.shape, header.channels, order="F"), -1, 0)
    else:
        values = values.reshape(header.shape, order="F")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if (header.slope, header.intercept) != (1.0, 0.0):
        values = _scaled(values, header)
    if values.dtype == np.float64:
        with np.errstate(all="ignore"):
            values = values.astype(np.float32)
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        if not finite.any():
            raise InputError("holds no finite value", path=path, field="voxels")
        series.warnings.append(
            f"{int((~finite).sum())} voxels that are not finite numbers were set to the lowest value"
        )
        values[~finite] = values[finite].min()
    return values


def _scaled(values: npt.NDArray[Any], header: _Header) -> npt.NDArray[Any]:
    """`values * slope + intercept`: int16 stays int16 under a whole shift that fits, all else becomes float32."""
    shift = int(header.intercept)
    whole = values.dtype == np.int16 and header.slope == 1 and header.intercept == shift
    if whole and int(values.min()) + shift >= -(1 << 15) and int(values.max()) + shift < 1 << 15:
        values += np.int16(shift)
        return values
    with np.errstate(all="ignore"):  # what overflows is found and counted with the other values that are not finite
        scaled = values.astype(np.float32)
        scaled *= np.float32(header.slope)
        scaled += np.float32(header.intercept)
    return scaled


def _read_exactly(file: BufferedReader | igzip.IGzipFile, into: npt.NDArray[np.uint8]) -> None:
    """Fill `into`, or raise EOFError."""
    view, filled = into.data, 0
    while filled < len(view):
        got = file.readinto(view[filled:])
        if not got:
            raise EOFError(f"{filled:,} of {len(view):,} bytes")
        filled += got
