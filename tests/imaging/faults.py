"""The faults of input files, each as a small file made here, and what the error must name.

`python tests/imaging/faults.py` prints what `attending show` says to each.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pydicom
from dicom_files import dataset, enhanced, voxels, write_series
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit


class Fault(NamedTuple):
    """A fault by its number, how to make it in a folder, and words that the error must hold."""

    number: int
    name: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(number: int, name: str, *words: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    """Register the function below as the maker of a fault."""

    def register(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        FAULTS.append(Fault(number, name, make, words))
        return make

    return register


def save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path)
    return path


def as_bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def small(**changes: object) -> Dataset:
    """A good axial slice, but for `changes`."""
    geometry = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "SliceThickness": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    return dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), **{**geometry, **changes})


def raw_text(ds: Dataset, keyword: str, text: str) -> bytes:
    """The file of `ds` with the value of one element replaced by text that pydicom would not write there."""
    mark = "7" * max(4, len(text) + len(text) % 2)
    element = ds[keyword]
    del ds[keyword]
    ds.add_new(element.tag, "LO", mark)
    data = as_bytes(ds)
    vr = element.VR.encode()
    at = data.index(mark.encode())
    return data[: at - 4] + vr + struct.pack("<H", len(mark)) + text.ljust(len(mark)).encode() + data[at + len(mark) :]


def encapsulated(frame: bytes, syntax: str, **changes: object) -> Dataset:
    ds = small(**changes)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return ds


def series_with(folder: Path, edit: Callable[[int, Dataset], None], count: int = 8, **changes: object) -> Path:
    write_series(folder / "ct", voxels((8, 8, count)), edit=edit, **changes)
    return folder / "ct"


# Files


@fault(1, "deflate bomb", "deflated data set", "ATTENDING_LIMIT_INFLATE_RATIO")
def deflate_bomb(folder: Path) -> Path:
    ds = small()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, ds.file_meta)
    meta = b"\0" * 128 + b"DICM" + buffer.getvalue()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(b"\x10\0\x10\0LT\0\0" * 10)
    for _ in range(256):
        body += squeeze.compress(bytes(1 << 20))
    (folder / "bomb.dcm").write_bytes(meta + body + squeeze.flush())
    return folder / "bomb.dcm"


@fault(2, "gzip bomb", "dim", "ATTENDING_LIMIT_INFLATE_RATIO")
def gzip_bomb(folder: Path) -> Path:
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).header
    header.set_data_shape((1024, 512, 256))
    data = gzip.compress(header.binaryblock + bytes(4) + bytes(1024 * 512 * 256), 9)
    (folder / "bomb.nii.gz").write_bytes(data)
    return folder / "bomb.nii.gz"


@fault(2, "NIfTI of 352 bytes claiming 32767 cubed", "dim", "ATTENDING_LIMIT_VOXEL_BYTES")
def nifti_claims(folder: Path) -> Path:
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).header
    header.set_data_shape((32767, 32767, 32767))
    (folder / "claim.nii").write_bytes(header.binaryblock + bytes(4))
    return folder / "claim.nii"


@fault(3, "65535 x 65535 x 9999 frames over 128 bytes", "Rows x Columns", "ATTENDING_LIMIT_IMAGE_PIXELS")
def size_overflow(folder: Path) -> Path:
    return save(small(Rows=65535, Columns=65535, NumberOfFrames=9999), folder / "huge.dcm")


@fault(3, "more rows than pixels", "PixelData", "must be 8,192 bytes")
def short_pixels(folder: Path) -> Path:
    return save(small(Rows=512), folder / "short.dcm")


@fault(4, "50,000 nested sequences", "ATTENDING_LIMIT_SEQUENCE_DEPTH")
def nested(folder: Path) -> Path:
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    (folder / "nested.dcm").write_bytes(as_bytes(without_pixels()) + opening * 50_000)
    return folder / "nested.dcm"


def without_pixels() -> Dataset:
    ds = small()
    del ds.PixelData
    return ds


@fault(5, "cut short in its pixels", "PixelData", "cut short")
def truncated(folder: Path) -> Path:
    (folder / "cut.dcm").write_bytes(as_bytes(small())[:-40])
    return folder / "cut.dcm"


@fault(5, "cut short in its header", "cut short")
def truncated_header(folder: Path) -> Path:
    (folder / "cut.dcm").write_bytes(as_bytes(small())[:600])
    return folder / "cut.dcm"


@fault(5, "an element length beyond the file", "element", "cut short or corrupt")
def corrupt_length(folder: Path) -> Path:
    data = as_bytes(small())
    at = data.index(b"\x08\0\x60\0CS")
    (folder / "length.dcm").write_bytes(data[: at + 6] + b"\xff\xff" + data[at + 8 :])
    return folder / "length.dcm"


@fault(6, "a Windows program that is also DICOM", "preamble", "Windows program")
def polyglot(folder: Path) -> Path:
    (folder / "mz.dcm").write_bytes(b"MZ" + as_bytes(small())[2:])
    return folder / "mz.dcm"


@fault(6, "a PDF that is also DICOM", "preamble", "PDF")
def pdf_polyglot(folder: Path) -> Path:
    (folder / "pdf.dcm").write_bytes(b"%PDF-1.7" + as_bytes(small())[8:])
    return folder / "pdf.dcm"


@fault(6, "HTML named .dcm", "named as dicom")
def html(folder: Path) -> Path:
    (folder / "page.dcm").write_text("<html><script>alert(1)</script>" * 20)
    return folder / "page.dcm"


@fault(6, "a zip named .dcm", "named as dicom", "zip")
def zip_as_dcm(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "zip.dcm", "w") as archive:
        archive.writestr("a", "b")
    return folder / "zip.dcm"


@fault(7, "a private transfer syntax", "TransferSyntaxUID", "1.2.3.4.5")
def private_syntax(folder: Path) -> Path:
    ds = small()
    ds.file_meta.TransferSyntaxUID = "1.2.3.4.5"
    return save(ds, folder / "private.dcm")


@fault(7, "noise where a JPEG should be", "PixelData", "cannot be decoded")
def fake_jpeg(folder: Path) -> Path:
    noise = np.random.default_rng(0).bytes(500)
    return save(encapsulated(noise, JPEGBaseline8Bit, BitsAllocated=8, BitsStored=8, HighBit=7), folder / "fake.dcm")


@fault(7, "a JPEG 2000 that claims 60000 x 60000", "PixelData", "60000 x 60000 where Rows x Columns is 8 x 8")
def j2k_claims(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "JPEG2000", no_jp2=True)
    stream = bytearray(buffer.getvalue())
    stream[8:16] = struct.pack(">II", 60000, 60000)
    ds = encapsulated(bytes(stream), JPEG2000Lossless, BitsAllocated=8, BitsStored=8, HighBit=7)
    return save(ds, folder / "claim.dcm")


@fault(7, "two frames said, one fragment there", "PixelData", "cannot be decoded")
def too_few_fragments(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "JPEG")
    ds = encapsulated(buffer.getvalue(), JPEGBaseline8Bit, BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=2)
    return save(ds, folder / "few.dcm")


def _value(keyword: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ds = small()
        if keyword == "WindowWidth":  # used for images without a place only
            ds = small(WindowCenter=1, WindowWidth=1, ImagePositionPatient=None)
        (folder / "value.dcm").write_bytes(raw_text(ds, keyword, text))
        return folder / "value.dcm"

    return make


for _keyword, _texts in {
    "PixelSpacing": ("NaN\\1", "0\\0", "-1\\1", "inf\\1", "xy", "1"),
    "ImagePositionPatient": ("NaN\\0\\0", "0\\0", "1e999\\0\\0"),
    "ImageOrientationPatient": ("1\\0\\0\\1\\0\\0", "0\\0\\0\\0\\0\\0", "NaN\\0\\0\\0\\1\\0"),
    "RescaleSlope": ("0", "NaN", "xy"),
    "RescaleIntercept": ("inf",),
    "WindowWidth": ("0", "-5", "NaN"),
}.items():
    for _text in _texts:
        fault(8, f"{_keyword} = {_text}", _keyword)(_value(_keyword, _text))


@fault(8, "NIfTI with a NaN voxel size", "pixdim")
def nan_pixdim(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), folder / "nan.nii")
    data = bytearray((folder / "nan.nii").read_bytes())
    data[80:84] = struct.pack("<f", float("nan"))
    (folder / "nan.nii").write_bytes(data)
    return folder / "nan.nii"


@fault(8, "NIfTI with an infinite slope", "scl_slope")
def infinite_slope(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), folder / "inf.nii")
    data = bytearray((folder / "inf.nii").read_bytes())
    data[112:116] = struct.pack("<f", float("inf"))
    (folder / "inf.nii").write_bytes(data)
    return folder / "inf.nii"


@fault(9, "zip entry that climbs", "archive entry", "../../evil.dcm")
def zip_slip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "slip.zip", "w") as archive:
        archive.writestr("../../evil.dcm", "x")
    return folder / "slip.zip"


@fault(9, "DICOMDIR that leads out", "ReferencedFileID")
def dicomdir_slip(folder: Path) -> Path:
    ds, record = without_pixels(), Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.add_new("ReferencedFileID", "LO", ["..", "..", "etc", "passwd"])
    ds.DirectoryRecordSequence = [record]
    return save(ds, folder / "DICOMDIR")


@fault(9, "a pipe", "not a regular file")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.dcm")
    return folder / "pipe.dcm"


@fault(10, "PNG of 12000 x 12000 in a few bytes", "size", "ATTENDING_LIMIT_IMAGE_PIXELS")
def png_bomb(folder: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return folder / "bomb.png"


@fault(10, "picture of 1 x 1", "size", "too small")
def one_pixel(folder: Path) -> Path:
    Image.new("L", (1, 1)).save(folder / "one.png")
    return folder / "one.png"


@fault(10, "picture of 1 x 60000", "size", "too small")
def one_column(folder: Path) -> Path:
    Image.new("L", (1, 60000)).save(folder / "thin.png")
    return folder / "thin.png"


# Series


@fault(11, "a missing slice", "1 slice(s) missing", "IM004", "5.000 mm where 2.500 mm")
def missing(folder: Path) -> Path:
    path = series_with(folder, lambda k, ds: None)
    (path / "IM003").unlink()
    return path


@fault(12, "many doubled positions", "4 of 12 slices", "lies where")
def doubled(folder: Path) -> Path:
    path = series_with(folder, lambda k, ds: None)
    values = voxels((8, 8, 4), seed=9)
    write_series(path, values, name="DUP{}", edit=lambda k, ds: setattr(ds, "SOPInstanceUID", f"1.5.{k}"))
    return path


@fault(13, "one slice displaced along the stack", "slice 4 of 8 lies 1.200 mm off the regular grid along the stack")
def jittered(folder: Path) -> Path:
    def edit(k: int, ds: Dataset) -> None:
        if k == 3:
            x, y, z = ds.ImagePositionPatient
            ds.ImagePositionPatient = [x, y, float(z) + 1.2]

    return series_with(folder, edit)


@fault(13, "one slice displaced sideways", "slice 4 of 8 lies 3.000 mm off the regular grid within its plane")
def shifted(folder: Path) -> Path:
    def edit(k: int, ds: Dataset) -> None:
        if k == 3:
            x, y, z = ds.ImagePositionPatient
            ds.ImagePositionPatient = [float(x) + 3, y, z]

    return series_with(folder, edit)


@fault(14, "gantry tilt", "gantry tilt", "15.00 degrees", "0.670 mm")
def gantry_tilt(folder: Path) -> Path:
    def edit(k: int, ds: Dataset) -> None:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, float(y) + k * 2.5 * np.tan(np.radians(15)), z]

    return series_with(folder, edit)


@fault(14, "one slice tilted", "ImageOrientationPatient", "tilted by 2.00 degrees")
def one_tilted(folder: Path) -> Path:
    def edit(k: int, ds: Dataset) -> None:
        if k == 3:
            c, s = np.cos(np.radians(2)), np.sin(np.radians(2))
            ds.ImageOrientationPatient = [1, 0, 0, 0, round(c, 9), round(s, 9)]

    return series_with(folder, edit)


@fault(15, "slices of two pixel sizes", "PixelSpacing")
def two_spacings(folder: Path) -> Path:
    return series_with(folder, lambda k, ds: setattr(ds, "PixelSpacing", [0.5, 0.5]) if k == 3 else None)


@fault(16, "two patients under one Series UID", "PatientID", "P2", "two patients")
def two_patients(folder: Path) -> Path:
    return series_with(folder, lambda k, ds: setattr(ds, "PatientID", "P2") if k > 3 else None)


@fault(16, "two frames of reference under one Series UID", "FrameOfReferenceUID", "1.2.9")
def two_frames(folder: Path) -> Path:
    return series_with(folder, lambda k, ds: setattr(ds, "FrameOfReferenceUID", "1.2.9") if k > 3 else None)


@fault(18, "a position but no pixel size", "PixelSpacing", "missing")
def no_spacing(folder: Path) -> Path:
    return save(small(PixelSpacing=None), folder / "nospacing.dcm")


@fault(18, "enhanced multi-frame with too few groups", "PerFrameFunctionalGroupsSequence", "2 items")
def too_few_groups(folder: Path) -> Path:
    ds = enhanced(voxels((8, 8, 3)), (1, 1, 1), [0, 1, 2])
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:2]
    return save(ds, folder / "groups.dcm")


@fault(0, "an empty file", "is empty")
def empty(folder: Path) -> Path:
    (folder / "empty").touch()
    return folder / "empty"


@fault(0, "an empty folder", "holds no files")
def empty_folder(folder: Path) -> Path:
    return folder


@fault(0, "nothing there", "No such file")
def nothing(folder: Path) -> Path:
    return folder / "gone.dcm"


@fault(0, "a text file", "not a medical image")
def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("hello")
    return folder / "notes.txt"


def main() -> None:
    """Print each fault with what the command line says to it."""
    import subprocess

    for number, name, make, _ in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            command = [sys.executable, "-m", "attending", "show", str(path), "--out", f"{folder}/out"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = done.stderr.replace(folder + "/", "").strip()
            print(f"{number or '-':>2}  {name}\n    exit {done.returncode}  {said}")


if __name__ == "__main__":
    main()
