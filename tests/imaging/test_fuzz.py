"""Damaged files of every format end in a study or in one of our errors, never in anything else."""

import gzip
import io
import random
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import enhanced, voxels
from PIL import Image

import attending
from attending import AttendingError
from attending.imaging import Limits

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
LIMITS = Limits(decoder_seconds=5, voxel_bytes=1 << 28)
NASTY = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"NaN\\",
    b"1e99",
    b"-1\\0",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\xdd\xe0",
)


def _picture(kind):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _nifti(kind):
    return kind(voxels(), np.diag([1, 2, 3, 1.0])).to_bytes()


def _zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.dcm", (FILES / "CT_small.dcm").read_bytes())
    return buffer.getvalue()


def _enhanced():
    buffer = io.BytesIO()
    enhanced(voxels(), (1, 1, 1), [0, 1, 2, 3]).save_as(buffer)
    return buffer.getvalue()


WHOLE = {
    "explicit.dcm": lambda: (FILES / "CT_small.dcm").read_bytes(),
    "implicit.dcm": lambda: (FILES / "MR_small_implicit.dcm").read_bytes(),
    "big-endian.dcm": lambda: (FILES / "MR_small_bigendian.dcm").read_bytes(),
    "deflated.dcm": lambda: (FILES / "image_dfl.dcm").read_bytes(),
    "sequences.dcm": lambda: (FILES / "UN_sequence.dcm").read_bytes(),
    "enhanced.dcm": _enhanced,
    "DICOMDIR": lambda: (FILES / "dicomdirtests" / "DICOMDIR").read_bytes(),
    "one.nii": lambda: _nifti(nib.Nifti1Image),
    "two.nii": lambda: _nifti(nib.Nifti2Image),
    "one.nii.gz": lambda: gzip.compress(_nifti(nib.Nifti1Image), mtime=0),
    "picture.png": lambda: _picture("PNG"),
    "picture.jpg": lambda: _picture("JPEG"),
    "picture.bmp": lambda: _picture("BMP"),
    "picture.tif": lambda: _picture("TIFF"),
    "archive.zip": _zip,
}


def damaged(whole, rng):
    """A copy with a few bytes overwritten, cut out, put in, or the end cut off; mostly in the header."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 2, 4, 10])):
        at = rng.randrange(min(len(data), rng.choice([64, 400, 1500, len(data)])))
        kind = rng.random()
        if kind < 0.5:
            data[at] = rng.randrange(256)
        elif kind < 0.7:
            data[at : at + 4] = rng.choice(NASTY)
        elif kind < 0.8:
            del data[at : at + rng.randrange(1, 9)]
        elif kind < 0.9:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            del data[max(at, 1) :]
        if not data:
            data = bytearray(b"x")
    return bytes(data)


def read(path):
    for series in attending.open_study(path, limits=LIMITS).series:
        _ = series.pixels


def attack(path, whole, rounds, seed):
    rng = random.Random(seed)
    refused = 0
    for _ in range(rounds):
        path.write_bytes(damaged(whole, rng))
        try:
            read(path)
        except AttendingError:
            refused += 1
    return refused


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    assert attack(tmp_path / name, WHOLE[name](), 120, seed=name) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_many_damaged_files_are_read_or_refused(tmp_path, name):
    assert attack(tmp_path / name, WHOLE[name](), 4000, seed=f"many {name}") > 400


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_at_any_sixteenth_is_refused(tmp_path, name):
    whole = WHOLE[name]()
    for sixteenth in range(16):
        (tmp_path / name).write_bytes(whole[: len(whole) * sixteenth // 16])
        with pytest.raises(AttendingError, match=name):
            read(tmp_path / name)
