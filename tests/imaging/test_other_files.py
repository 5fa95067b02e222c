"""NRRD, MetaImage, PNG, JPEG, BMP, TIFF, zip and DICOMDIR, in good and in bad order."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import dataset, voxels, write_series
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import MediaStorageDirectoryStorage

import attending
from attending import InputError, NotAvailableError
from attending.imaging import Limits


def only(path, **options):
    (series,) = attending.open_study(path, **options).series
    return series


def refused(path, **options):
    with pytest.raises(InputError) as caught:
        _ = attending.open_study(path, **options).series[0].pixels
    return caught.value


# NRRD and MetaImage


def itk_image(shape=(5, 4, 3)):
    image = sitk.GetImageFromArray(voxels(shape).transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((10, 20, -30))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
    return image


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha", "v.mhd"])
@pytest.mark.parametrize("compressed", [True, False])
def test_nrrd_and_metaimage_come_back_exactly(tmp_path, name, compressed):
    image = itk_image()
    sitk.WriteImage(image, tmp_path / name, useCompression=compressed)
    series = only(tmp_path / name)
    assert np.array_equal(series.volume.array, voxels((5, 4, 3)))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(series.volume.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-6)
    assert series.spacing == pytest.approx((0.5, 0.6, 3.0))


def test_components_become_channels(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (3, 4, 5, 2)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), tmp_path / "v.nrrd")
    volume = only(tmp_path / "v.nrrd").volume
    assert np.array_equal(volume.array, array.transpose(3, 2, 1, 0))


def test_metaimage_and_nrrd_may_not_name_files_elsewhere(tmp_path):
    for name, text in {
        "v.mhd": "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementDataFile = ../../secret\n",
        "v.nrrd": "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n",
    }.items():
        (tmp_path / name).write_text(text)
        error = refused(tmp_path / name)
        assert error.field == "data file"
        assert "below the folder" in error.problem


def test_a_metaimage_that_claims_too_much_is_refused(tmp_path):
    text = (
        "ObjectType = Image\nNDims = 3\nDimSize = 99999 99999 99999\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "v.mha").write_text(text)
    assert "VOXEL_BYTES" in str(refused(tmp_path / "v.mha"))


def test_a_truncated_metaimage_is_refused(tmp_path):
    sitk.WriteImage(itk_image((40, 40, 40)), tmp_path / "v.mha")
    data = (tmp_path / "v.mha").read_bytes()
    (tmp_path / "v.mha").write_bytes(data[: len(data) // 2])
    assert refused(tmp_path / "v.mha").path.endswith("v.mha")


def test_without_simpleitk_the_message_says_what_to_install(tmp_path, monkeypatch):
    sitk.WriteImage(itk_image(), tmp_path / "v.mha")
    monkeypatch.setattr("attending.imaging.itk.find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match=r"pip install 'attending\[itk\]'"):
        attending.open_study(tmp_path / "v.mha")


# Pictures

GREY8 = np.random.default_rng(0).integers(0, 255, (12, 10), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65535, (12, 10), dtype=np.uint16)
RGB = np.random.default_rng(2).integers(0, 255, (12, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB], ids=["grey8", "grey16", "rgb"])
@pytest.mark.parametrize("name", ["p.png", "p.tif", "p.bmp"])
def test_lossless_pictures_come_back_exactly(tmp_path, name, pixels):
    if name == "p.bmp" and pixels.dtype == np.uint16:
        pytest.skip("BMP has no 16-bit grey")
    Image.fromarray(pixels).save(tmp_path / name)
    series = only(tmp_path / name)
    assert np.array_equal(series.image.array[0], pixels)
    assert series.image.array.dtype == pixels.dtype
    assert (series.shape, series.modality, series.kind) == ((10, 12, 1), None, "image")


def test_jpeg(tmp_path):
    Image.fromarray(GREY8).save(tmp_path / "p.jpg", quality=95)
    assert only(tmp_path / "p.jpg").image.array.shape == (1, 12, 10)


def test_palette_cmyk_transparent_and_bilevel_pictures(tmp_path):
    picture = Image.fromarray(RGB)
    picture.quantize(256).save(tmp_path / "palette.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(GREY8).convert("1").save(tmp_path / "bilevel.png")
    faint = np.dstack([RGB, np.zeros((12, 10), np.uint8)])
    Image.fromarray(faint).save(tmp_path / "faint.png")
    study = attending.open_study(tmp_path)
    found = {series.id: series.image.array for series in study.series}
    assert found["palette.png"].shape == found["cmyk.tif"].shape == (1, 12, 10, 3)
    assert set(np.unique(found["bilevel.png"])) == {0, 255}
    assert found["faint.png"].max() == 0, "what is transparent is laid on black"


def test_the_exif_rotation_is_applied(tmp_path):
    picture = Image.fromarray(GREY8)
    exif = picture.getexif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    picture.save(tmp_path / "p.png", exif=exif)
    series = only(tmp_path / "p.png")
    assert np.array_equal(series.image.array[0], np.rot90(GREY8, -1))
    assert series.shape == (12, 10, 1)


def test_pages_are_frames_and_an_animation_shows_its_first(tmp_path):
    pages = [Image.fromarray(np.full((9, 9), 10 * n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "p.png", save_all=True, append_images=pages[1:])
    assert only(tmp_path / "p.tif").image.array[:, 0, 0].tolist() == [0, 10, 20]
    series = only(tmp_path / "p.png")
    assert series.image.array.shape == (1, 9, 9)
    assert "animated" in series.warnings[0]


def png_claiming(width, height):
    """A PNG of a few bytes that says it is large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height", "words"), [(12000, 12000, "IMAGE_PIXELS"), (1, 60000, "IMAGE_SIDE"), (1, 1, "IMAGE_SIDE")]
)
def test_a_picture_of_a_hostile_size_is_refused_unseen(tmp_path, width, height, words):
    (tmp_path / "p.png").write_bytes(png_claiming(width, height))
    error = refused(tmp_path / "p.png")
    assert words in error.problem
    assert (error.field, error.value) == ("size", f"{width} x {height}")


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.tif", "p.bmp"])
def test_a_truncated_picture_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for share in (0.05, 0.5, 0.9):
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        assert refused(tmp_path / name).path.endswith(name)


# Archives


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_zip_of_dicom_is_read_in_place_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    values = voxels()
    files = write_series(tmp_path / "ct", values)
    path = zipped(tmp_path / "ct.zip", {f"export/deep/{file.name}": file.read_bytes() for file in files})
    study = attending.open_study(path)
    assert np.array_equal(study.series[0].volume.array, values)
    assert list((tmp_path / "temporary").iterdir())
    del study
    assert not list((tmp_path / "temporary").iterdir())


def test_a_broken_entry_is_named_as_in_the_archive(tmp_path):
    path = zipped(tmp_path / "ct.zip", {"deep/broken.dcm": b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\xff\xff"})
    assert refused(path).path == "ct.zip/deep/broken.dcm"


EVIL_NAMES = {
    "climbing": "../../evil.dcm",
    "absolute": "/etc/evil.dcm",
    "drive": "C:\\evil.dcm",
    "backslash": "..\\evil.dcm",
    "NUL": "good.dcm\0../evil",
    "too long": "x" * 5000,
    "look-alike dots": "\u2024\u2024/evil.dcm",
    "look-alike slash": "a\uff0f..\uff0f..\uff0fevil",
}


@pytest.mark.parametrize("name", EVIL_NAMES.values(), ids=EVIL_NAMES)
def test_an_evil_entry_name_is_refused_and_nothing_is_written(tmp_path, name):
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(info, b"x")
    before = set(tmp_path.parent.rglob("*"))
    assert refused(tmp_path / "evil.zip").field == "archive entry"
    assert set(tmp_path.parent.rglob("*")) == before


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("link.dcm")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "link" in refused(tmp_path / "link.zip").problem


def test_a_zip_bomb_is_refused_while_it_unpacks_whatever_size_it_declares(tmp_path):
    path = zipped(tmp_path / "bomb.zip", {"a.dcm": bytes(80 << 20)})
    assert "INFLATE_RATIO" in refused(path).problem
    path = zipped(tmp_path / "many.zip", {f"{n}.dcm": bytes(1000) for n in range(20)})
    assert "ARCHIVE_BYTES" in refused(path, limits=Limits(archive_bytes=5000)).problem
    assert "ARCHIVE_ENTRIES" in refused(path, limits=Limits(archive_entries=10)).problem


def test_a_truncated_encrypted_or_empty_zip_is_refused(tmp_path):
    whole = zipped(tmp_path / "a.zip", {"a.dcm": os.urandom(2000)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:1000])
    assert "not a whole zip" in refused(tmp_path / "cut.zip").problem
    (tmp_path / "locked.zip").write_bytes(whole.replace(b"\x14\0\0\0\x08\0", b"\x14\0\x01\0\x08\0"))
    assert refused(tmp_path / "locked.zip").path.endswith("locked.zip")
    assert "no files" in refused(zipped(tmp_path / "empty.zip", {})).problem


# DICOMDIR


def dicomdir(folder, tmp_path):
    files = FileSet()
    for file in sorted(folder.iterdir()):
        files.add(file)
    files.write(tmp_path / "media")
    files._stage["t"].cleanup()  # pydicom leaves its own folder to the garbage collector, which warns
    return tmp_path / "media" / "DICOMDIR"


def test_a_dicomdir_leads_to_its_files(tmp_path):
    values = voxels()
    write_series(tmp_path / "ct", values, StudyID="1", StudyTime="120000")
    series = only(dicomdir(tmp_path / "ct", tmp_path))
    assert np.array_equal(series.volume.array, values)


def test_a_dicomdir_whose_records_loop_is_read_all_the_same(tmp_path):
    values = voxels()
    write_series(tmp_path / "ct", values, StudyID="1", StudyTime="120000")
    path = dicomdir(tmp_path / "ct", tmp_path)
    ds = pydicom.dcmread(path)
    for record in ds.DirectoryRecordSequence:
        record.OffsetOfTheNextDirectoryRecord = 400  # every record's next is an early one
    ds.save_as(path)
    assert np.array_equal(only(path).volume.array, values)


@pytest.mark.parametrize("parts", [["..", "secret"], ["/etc", "passwd"], ["GONE"], ["LINK"]])
def test_a_dicomdir_may_not_lead_out_of_its_folder(tmp_path, parts):
    record, ds = Dataset(), dataset(np.zeros((2, 2), np.uint8), "OT")
    (tmp_path / "media").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media" / "LINK").symlink_to(tmp_path / "secret")
    del ds.PixelData, ds.Rows, ds.BitsAllocated
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    record.DirectoryRecordType = "IMAGE"
    record.add_new("ReferencedFileID", "LO", parts)  # as LO, for pydicom will not write such names as CS
    ds.DirectoryRecordSequence = [record]
    buffer = io.BytesIO()
    ds.save_as(buffer)
    (tmp_path / "media" / "DICOMDIR").write_bytes(buffer.getvalue())
    assert refused(tmp_path / "media" / "DICOMDIR").field == "ReferencedFileID"
