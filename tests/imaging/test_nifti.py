"""NIfTI comes back as nibabel reads it, in our terms, or is refused with the field that is wrong."""

import gzip

import nibabel as nib
import numpy as np
import pytest

import attending
from attending import InputError

OBLIQUE = np.array([[0.8, -0.3, 0.1, -20], [0.2, 0.9, -0.4, 30], [0.1, 0.3, 2.4, -7], [0, 0, 0, 1.0]])


def saved(tmp_path, array, affine=OBLIQUE, name="v.nii.gz", kind=nib.Nifti1Image, **header):
    image = kind(array, affine)
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, tmp_path / name)
    return tmp_path / name


def patched(path, **fields):
    """The same file with raw header fields changed, as a hostile writer would."""
    compressed = path.name.endswith(".gz")
    data = bytearray(gzip.decompress(path.read_bytes()) if compressed else path.read_bytes())
    header = np.frombuffer(data, nib.nifti1.header_dtype, 1)[0].copy()
    for field, value in fields.items():
        header[field] = value
    data[:348] = header.tobytes()
    path.write_bytes(gzip.compress(bytes(data), mtime=0) if compressed else bytes(data))
    return path


def only(path):
    (series,) = attending.open_study(path).series
    return series


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2"])
def test_voxels_and_affine_are_those_of_nibabel(tmp_path, name, kind, dtype):
    array = np.random.default_rng(0).integers(0, 200, (5, 4, 3)).astype(dtype)
    series = only(saved(tmp_path, array, name=name, kind=kind))
    peer = nib.load(tmp_path / name)
    assert np.array_equal(series.volume.array, np.asanyarray(peer.dataobj))
    assert series.volume.array.dtype.isnative
    np.testing.assert_allclose(series.volume.affine, peer.affine, atol=1e-6)
    assert series.orientation == "".join(nib.aff2axcodes(peer.affine))
    assert (series.modality, series.id) == (None, name)


def test_four_dimensions_become_channels(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).astype(np.float32)
    series = only(saved(tmp_path, array))
    assert series.channels == 2
    assert np.array_equal(series.volume.array, np.moveaxis(array, -1, 0))


def test_rgb_voxels_become_three_channels(tmp_path):
    colour = np.zeros((4, 3, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    colour["R"], colour["B"] = 7, np.arange(24).reshape(4, 3, 2)
    volume = only(saved(tmp_path, colour)).volume
    assert np.array_equal(volume.array, np.stack([colour["R"], colour["G"], colour["B"]]))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, np.int16), (0.5, 3, np.float32), (2, 0, np.float32)]
)
def test_scaling_is_applied(tmp_path, slope, intercept, dtype):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    path = patched(saved(tmp_path, array), scl_slope=slope, scl_inter=intercept)
    found = only(path).volume.array
    assert found.dtype == dtype
    assert np.array_equal(found, array * slope + intercept)


def test_a_slope_of_zero_or_nan_means_unscaled(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    for slope in (0.0, np.nan):
        path = patched(saved(tmp_path, array), scl_slope=slope, scl_inter=5)
        assert np.array_equal(only(path).volume.array, array)


def test_values_that_are_not_numbers_are_replaced_and_counted(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 3, 2) + 10
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    series = only(saved(tmp_path, array))
    assert series.volume.array[0, 0, 0] == series.volume.array[1, 1, 1] == 11
    assert "2 voxels" in series.warnings[0]


def test_the_qform_and_then_the_voxel_sizes_stand_in_for_a_missing_sform(tmp_path):
    array = np.zeros((4, 3, 2), np.int16)
    image = nib.Nifti1Image(array, None)
    image.set_qform(np.diag([2.0, -3, 4, 1]), code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(only(tmp_path / "q.nii").volume.affine, np.diag([2.0, -3, 4, 1]), atol=1e-6)
    path = patched(tmp_path / "q.nii", qform_code=0)
    series = only(path)
    assert series.spacing == pytest.approx((2, 3, 4))
    assert "left and right are not certain" in series.warnings[0]


def test_lengths_in_metres_become_millimetres(tmp_path):
    path = patched(saved(tmp_path, np.zeros((4, 3, 2), np.int16), np.diag([0.001, 0.002, 0.003, 1])), xyzt_units=1)
    assert only(path).spacing == pytest.approx((1, 2, 3))


HOSTILE = {
    "dim": [{"dim": [3, 0, 3, 2, 1, 1, 1, 1]}, {"dim": [9, 4, 3, 2, 1, 1, 1, 1]}, {"dim": [5, 4, 3, 2, 2, 2, 1, 1]}],
    "pixdim": [{"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, {"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]},
               {"pixdim": [1, -1, 1, 1, 0, 0, 0, 0]}],
    "datatype": [{"datatype": 77}, {"datatype": 32, "bitpix": 64}],
    "scl_slope": [{"scl_slope": np.inf}],
    "scl_inter": [{"scl_slope": 1, "scl_inter": np.nan}],
    "vox_offset": [{"vox_offset": np.nan}, {"vox_offset": -1}],
    "xyzt_units": [{"xyzt_units": 5}],
    "sform": [{"srow_x": [0, 0, 0, 0]}, {"srow_x": [np.nan, 0, 0, 0]}],
    "qform": [{"sform_code": 0, "qform_code": 1, "quatern_b": 5}],
    "magic": [{"magic": b"ni1"}],
}  # fmt: skip


@pytest.mark.parametrize(("field", "change"), [(f, c) for f, changes in HOSTILE.items() for c in changes])
def test_a_hostile_header_is_refused_by_field(tmp_path, field, change):
    path = patched(saved(tmp_path, np.zeros((4, 3, 2), np.int16), name="v.nii"), **change)
    with pytest.raises(InputError) as caught:
        attending.open_study(path)
    assert caught.value.field.startswith(field)
    assert caught.value.path == str(path)


def test_a_header_that_claims_more_than_the_file_has_is_refused_before_memory_is_spent(tmp_path):
    path = patched(saved(tmp_path, np.zeros((4, 3, 2), np.int16), name="v.nii"), dim=[3, 1000, 1000, 1000, 1, 1, 1, 1])
    with pytest.raises(InputError, match="needs 2,000,000,352 bytes where the file has"):
        attending.open_study(path)
    path = patched(path, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    with pytest.raises(InputError, match="ATTENDING_LIMIT_VOXEL_BYTES"):
        attending.open_study(path)


def test_a_gzip_bomb_is_refused_by_its_ratio(tmp_path):
    header = nib.Nifti1Image(np.zeros((600, 600, 400), np.uint8), np.eye(4)).header.binaryblock + bytes(4)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header + bytes(600 * 600 * 400), 9))
    with pytest.raises(InputError, match="INFLATE_RATIO"):
        attending.open_study(tmp_path / "bomb.nii.gz")


@pytest.mark.parametrize("damage", ["truncated", "checksum", "length", "not gzip inside"])
def test_a_damaged_stream_is_refused(tmp_path, damage):
    path = saved(tmp_path, np.random.default_rng(0).integers(0, 99, (40, 30, 20)).astype(np.int16))
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "checksum":
        data[-8] ^= 1
    elif damage == "length":
        data[-1] ^= 1
    else:
        data[30:60] = b"\xff" * 30
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"v\.nii\.gz"):
        _ = only(path).volume
