"""DICOM series become volumes whose every voxel and millimetre is right."""

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import dataset, enhanced, voxels, write_series

import attending
from attending import InputError
from attending.imaging.dicom.pixels import AIR_HU

OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix()
ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "axial, flipped in plane": ((-1, 0, 0), (0, -1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "head down": ((1, 0, 0), (0, -1, 0)),
    "oblique": (OBLIQUE[0::3], OBLIQUE[1::3]),
}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_affine(image):
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_voxels_spacing_and_orientation_are_those_of_simpleitk(tmp_path, name):
    values = voxels()
    paths = write_series(tmp_path / "ct", values, directions=ORIENTATIONS[name])
    (series,) = attending.open_study(tmp_path / "ct").series
    volume = series.volume
    ordered = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct"))
    assert sorted(ordered) == sorted(map(str, paths))
    image = sitk.ReadImage(ordered)
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    assert np.array_equal(volume.array, values)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, itk_affine(image), atol=1e-6)
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5), atol=1e-9)
    assert series.shape == volume.shape
    assert series.spacing == pytest.approx(volume.spacing)
    assert series.orientation == volume.orientation
    assert (series.kind, series.modality, series.warnings) == ("volume", "CT", [])


def test_a_voxel_lies_where_its_header_says(tmp_path):
    write_series(tmp_path, voxels(), origin=(-100, -120, 50), spacing=(0.7, 0.8, 2.5))
    volume = attending.open_study(tmp_path).series[0].volume
    lps = np.array([-100 + 2 * 0.7, -120 + 3 * 0.8, 50 + 1 * 2.5])
    np.testing.assert_allclose(volume.to_world([2, 3, 1]), lps * [-1, -1, 1])
    np.testing.assert_allclose(volume.to_voxels(volume.to_world([2, 3, 1])), [2, 3, 1], atol=1e-9)


def test_the_order_is_that_of_positions_not_of_names_or_numbers(tmp_path):
    values = voxels((4, 4, 7))
    shuffled = [3, 0, 6, 1, 5, 2, 4]

    def shuffle(k, ds):
        ds.InstanceNumber = shuffled[k] + 1

    paths = write_series(tmp_path, values, edit=shuffle)
    for path, number in zip(paths, shuffled, strict=True):
        path.rename(tmp_path / f"any name {number}.whatever")
    assert np.array_equal(attending.open_study(tmp_path).series[0].volume.array, values)


def test_enhanced_multiframe_uses_each_frames_own_position_and_rescale(tmp_path):
    values = voxels((5, 4, 6))
    enhanced(values, (0.5, 0.6, 3.0), [4, 0, 5, 2, 1, 3]).save_as(tmp_path / "enhanced.dcm")
    (series,) = attending.open_study(tmp_path / "enhanced.dcm").series
    assert np.array_equal(series.volume.array, values)
    np.testing.assert_allclose(series.volume.affine[:3, 3], [10, 20, 0])
    assert series.spacing == pytest.approx((0.5, 0.6, 3.0))


def test_rescale_is_applied_frame_by_frame(tmp_path):
    values = voxels((4, 4, 3), 0, 1000)

    def edit(k, ds):
        ds.RescaleSlope, ds.RescaleIntercept = [1, 2, 0.5][k], [-1024, -2048, -512][k]

    write_series(tmp_path, values, edit=edit)
    array = attending.open_study(tmp_path).series[0].volume.array
    assert array.dtype == np.float32
    expected = np.stack([values[..., 0], values[..., 1] * 2.0, values[..., 2] * 0.5], -1)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_values_at_the_ends_of_their_type_survive(tmp_path, dtype):
    info = np.iinfo(dtype)
    values = np.array([[info.min, info.max], [0, 1]], dtype)
    ds = dataset(values, "MR", ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.save_as(tmp_path / "mr.dcm")
    array = attending.open_study(tmp_path / "mr.dcm").series[0].volume.array
    np.testing.assert_array_equal(array[..., 0].T, values.astype(array.dtype))
    assert float(array.max()) == pytest.approx(float(info.max))


def test_an_intercept_that_leaves_int16_gives_float(tmp_path):
    stored = np.array([[0, 65535]], np.uint16)
    ds = dataset(stored, RescaleSlope=1, RescaleIntercept=-1024, PixelSpacing=[1, 1], SliceThickness=1)
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.save_as(tmp_path / "ct.dcm")
    array = attending.open_study(tmp_path / "ct.dcm").series[0].volume.array
    assert array[:, 0, 0].tolist() == [-1024, 64511]


def test_overlay_bits_above_bits_stored_are_not_part_of_the_value(tmp_path):
    values = voxels((4, 3, 2), 0, 1000)

    def edit(k, ds):
        ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0xF000).tobytes()

    write_series(tmp_path, values, edit=edit)
    assert np.array_equal(attending.open_study(tmp_path).series[0].volume.array, values)


def test_padding_becomes_air_in_ct(tmp_path):
    values = voxels((4, 3, 2), 0, 1000)
    values[0, 0, 0] = -1000

    def edit(k, ds):
        ds.PixelPaddingValue = 24

    write_series(tmp_path, values, edit=edit)
    array = attending.open_study(tmp_path).series[0].volume.array
    assert array[0, 0, 0] == AIR_HU
    assert np.array_equal(array.ravel()[1:], values.ravel()[1:])


def test_padding_becomes_the_lowest_real_value_elsewhere(tmp_path):
    values = voxels((4, 3, 2), 100, 1000)
    values[1, 1, 1] = -32768
    write_series(tmp_path, values, modality="MR", PixelPaddingValue=-32768)
    array = attending.open_study(tmp_path).series[0].volume.array
    assert array[1, 1, 1] == values[values > 0].min()


def test_several_images_at_each_position_are_channels(tmp_path):
    first, second = voxels(seed=1), voxels(seed=2)
    write_series(tmp_path / "a", first, AcquisitionNumber=1)
    write_series(tmp_path / "b", second, AcquisitionNumber=2, edit=lambda k, ds: setattr(ds, "InstanceNumber", 50 + k))
    for k, path in enumerate(sorted((tmp_path / "b").iterdir())):
        ds = attending_dataset(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.9.{k}"
        ds.save_as(path)
    (series,) = attending.open_study(tmp_path).series
    assert series.channels == 2
    assert np.array_equal(series.volume.array, np.stack([first, second]))
    assert "2 channels" in series.warnings[0]


def attending_dataset(path):
    import pydicom

    return pydicom.dcmread(path)


def test_localizers_and_other_orientations_are_set_apart(tmp_path):
    values = voxels((6, 6, 5))
    write_series(tmp_path, values)
    write_series(
        tmp_path / "scout",
        voxels((6, 6, 1)),
        directions=ORIENTATIONS["coronal"],
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        edit=lambda k, ds: setattr(ds, "SOPInstanceUID", "1.8.1"),
    )
    write_series(
        tmp_path / "sagittal",
        voxels((6, 6, 3)),
        directions=ORIENTATIONS["sagittal"],
        edit=lambda k, ds: setattr(ds, "SOPInstanceUID", f"1.8.2{k}"),
    )
    study = attending.open_study(tmp_path)
    assert [(s.kind, s.shape[2]) for s in study.series] == [("volume", 5), ("volume", 3), ("localizer", 1)]
    assert len({s.id for s in study.series}) == 3
    assert np.array_equal(study.series[0].volume.array, values)
    assert all("holds 3 different things" in s.warnings[0] for s in study.series)


def test_series_and_patients_in_one_folder_are_told_apart(tmp_path):
    first, second = voxels(seed=1), voxels(seed=2)
    write_series(tmp_path / "x", first)
    write_series(
        tmp_path / "x", second, SeriesInstanceUID="1.2.9", PatientID="P2", PatientName="Roe^Richard", name="B{}"
    )
    study = attending.open_study(tmp_path)
    assert [str(p) for p in study.patients] == ["Doe Jane, ID P1, F, 061Y", "Roe Richard, ID P2, F, 061Y"]
    assert [s.patient.id for s in study.series] == ["P1", "P2"]
    assert np.array_equal(study.series[1].volume.array, second)
    assert "2 patients" in study.warnings[0]


def test_copies_of_a_file_count_once(tmp_path):
    values = voxels()
    paths = write_series(tmp_path, values)
    (tmp_path / "copy of slice 2").write_bytes(paths[1].read_bytes())
    (series,) = attending.open_study(tmp_path).series
    assert np.array_equal(series.volume.array, values)


def test_a_few_duplicates_are_left_out_with_a_warning(tmp_path):
    values = voxels((4, 4, 8))
    write_series(tmp_path, values)
    write_series(
        tmp_path / "again", values[:, :, :1], edit=lambda k, ds: setattr(ds, "SOPInstanceUID", "1.7.7"), name="dup{}"
    )
    (series,) = attending.open_study(tmp_path).series
    assert np.array_equal(series.volume.array, values)
    assert "1 duplicate slice" in series.warnings[0]
    assert "dup0" in series.warnings[0]


def test_slight_jitter_is_put_right_with_a_warning(tmp_path):
    def jitter(k, ds):
        if k == 3:
            x, y, z = ds.ImagePositionPatient
            ds.ImagePositionPatient = [x, y, float(z) + 0.05]

    write_series(tmp_path, voxels((4, 4, 9)), edit=jitter)
    (series,) = attending.open_study(tmp_path).series
    assert "slice 4 of 9 lies" in series.warnings[0]
    assert "IM003" in series.warnings[0]
    assert series.spacing[2] == pytest.approx(2.5, abs=0.01)


def test_a_bad_series_does_not_take_a_good_one_with_it(tmp_path):
    good = voxels(seed=3)
    write_series(tmp_path / "good", good)
    bad = write_series(tmp_path / "bad", voxels(seed=4), SeriesInstanceUID="1.2.9")
    bad[2].unlink()
    study = attending.open_study(tmp_path)
    assert np.array_equal(study.series[0].volume.array, good)
    assert len(study.series) == 1
    (problem,) = study.rejected
    assert "1 slice(s) missing" in problem.problem


def test_voxels_are_read_when_first_asked_for_and_can_be_unloaded(tmp_path):
    values = voxels()
    paths = write_series(tmp_path, values)
    (series,) = attending.open_study(tmp_path).series
    held = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    with pytest.raises(InputError):
        _ = series.volume
    for path, content in zip(paths, held, strict=True):
        path.write_bytes(content)
    volume = series.volume
    assert series.volume is volume
    series.unload()
    assert series.volume is not volume
    with pytest.raises(InputError, match="not a 2D image"):
        _ = series.image


def test_a_single_slice_takes_its_thickness_across(tmp_path):
    write_series(tmp_path, voxels((4, 4, 1)), spacing=(1, 1, 7))
    assert attending.open_study(tmp_path).series[0].spacing == pytest.approx((1, 1, 7))


def test_a_single_slice_without_thickness_is_assumed_1_mm_and_says_so(tmp_path):
    write_series(tmp_path, voxels((4, 4, 1)), SliceThickness=None)
    (series,) = attending.open_study(tmp_path).series
    assert series.spacing[2] == 1
    assert "1 mm is assumed" in series.warnings[0]


@pytest.mark.parametrize(
    ("element", "value", "words"),
    [("RescaleType", "US", "not HU"), ("RescaleIntercept", None, "RescaleIntercept is missing")],
)
def test_ct_that_may_not_be_in_hounsfield_units_says_so(tmp_path, element, value, words):
    write_series(tmp_path, voxels(), **{element: value})
    assert words in attending.open_study(tmp_path).series[0].warnings[0]
