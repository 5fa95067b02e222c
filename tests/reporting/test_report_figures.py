"""Which slices a report shows, and that plain and overlay are the same place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_answers import AFFINE, DOE, mask, segmented, series

from attending.experts import Segmentation
from attending.imaging import Series, Study, Volume, slice_picture
from attending.reporting.album import Album
from attending.reporting.figures import caption, figures_of, place_name


def figures(finding=None, study=None):
    return list(figures_of(finding or segmented(), study or Study(Path("x"), [series()])))


def test_one_axial_slice_of_everything_then_each_lesion_in_three_planes():
    found = figures()
    assert [(f.about, f.overlay.plane) for f in found] == [
        ("", "axial"),
        ("hepatic tumor, enlarged", "axial"),
        ("hepatic tumor, enlarged", "coronal"),
        ("hepatic tumor, enlarged", "sagittal"),
    ]
    assert [name for name, _ in found[0].overlay.legend] == ["liver", "hepatic tumor"]
    assert {name for f in found[1:] for name, _ in f.overlay.legend} == {"hepatic tumor"}


def test_without_lesions_the_whole_mask_is_shown_in_three_planes():
    found = figures(segmented(measurements={"liver": {"volume_ml": 5.0}}))
    assert [(f.about, f.overlay.plane) for f in found] == [("", "axial"), ("", "coronal"), ("", "sagittal")]


def test_the_slices_are_those_with_most_of_the_finding():
    assert 8 <= figures()[0].overlay.index < 12, "through the tumour, not only the liver"
    labels = mask().labels.array
    labels[:, :, 17] = 1
    found = figures(segmented(Segmentation(Volume(labels, AFFINE), {1: "liver"}), measurements={}))
    assert found[0].overlay.index == 17


def test_overlay_and_plain_are_one_place_and_differ_only_where_the_label_is():
    for figure in figures():
        plain, overlay = figure.plain, figure.overlay
        assert (plain.index, plain.position, plain.spacing) == (overlay.index, overlay.position, overlay.spacing)
        assert plain.pixels.shape == overlay.pixels.shape
        changed = (plain.pixels != overlay.pixels).any(axis=-1)
        assert 0.01 < changed.mean() < 0.6
        if figure.about:  # one lesion by its outline; all labels filled
            colors = {tuple(pixel) for pixel in overlay.pixels[changed].tolist()}
            assert colors == {tuple(color) for _, color in overlay.legend}


@pytest.mark.parametrize("corner", [(0, 0, 0), (34, 30, 16), (18, 15, 8)])
def test_a_lesion_is_enlarged_around_itself_also_at_the_edge(corner):
    x, y, z = corner
    labels = np.zeros((40, 36, 20), np.uint8)
    labels[x : x + 6, y : y + 6, z : z + 4] = 26
    found = Segmentation(Volume(labels, AFFINE), {26: "hepatic tumor"})
    for figure in figures(segmented(found))[1:]:
        colored = (figure.overlay.pixels != figure.plain.pixels).any(axis=-1)
        rows, columns = np.flatnonzero(colored.any(1)), np.flatnonzero(colored.any(0))
        assert len(rows) * figure.overlay.spacing[0] == pytest.approx(
            30 if figure.overlay.plane == "axial" else 24, abs=5
        )
        assert len(columns) * figure.overlay.spacing[1] == pytest.approx(30, abs=5)
        high, wide = figure.overlay.pixels.shape[:2]
        assert 100 <= max(high, wide) * figure.overlay.spacing[0] <= 130
        if corner == (18, 15, 8):
            assert rows.mean() == pytest.approx((high - 1) / 2, abs=2)
            assert columns.mean() == pytest.approx((wide - 1) / 2, abs=2)


def test_planes_that_are_thin_strips_are_left_out():
    flat = series(array=np.zeros((40, 36, 3), np.int16))
    labels = np.ones((40, 36, 3), np.uint8)
    found = figures(
        segmented(Segmentation(Volume(labels, AFFINE), {1: "liver"}), measurements={}), Study(Path(), [flat])
    )
    assert [f.overlay.plane for f in found] == ["axial"]


def test_the_first_input_that_fits_the_mask_is_shown():
    other = series("1.2.4", array=np.zeros((8, 8, 8), np.int16))
    record = segmented().record
    inputs = {"1.2.4": "ab", "1.2.3": "cd"}
    finding = segmented(record=type(record)("BRATS", inputs=inputs))
    assert {f.plain.series for f in figures(finding, Study(Path("x"), [series(), other]))} == {"1.2.3"}


def test_a_series_with_channels_is_shown_by_its_first():
    array = np.random.default_rng(3).integers(0, 99, (2, 40, 36, 20)).astype(np.int16)
    volume = Volume(array, AFFINE, "MR", "1.2.3")
    several = Series("1.2.3", "volume", "MR", volume.shape, volume.spacing, lambda _: volume, channels=2, patient=DOE)
    first = figures(study=Study(Path("x"), [several]))[0].plain
    expected = slice_picture(volume, "axial", index=first.index, channel=0, square=True)
    assert np.array_equal(first.pixels, expected.pixels)


def test_captions_and_file_names_say_where():
    picture = slice_picture(series().volume, "coronal", index=7)
    study = Study(Path("x"), [series()])
    assert caption(picture, study) == f"abdomen, coronal slice 7, 35.0 mm, window {picture.window.center:g} / 400"
    assert place_name(picture) == "coronal-007"


def test_one_picture_is_kept_once_and_another_of_the_same_name_gets_a_number(tmp_path):
    album = Album(tmp_path, None)
    one, two = (slice_picture(series().volume, "axial", index=index) for index in (3, 4))
    assert [album.add(p, "a").file for p in (one, two, one, two)] == ["a.png", "a-2.png", "a.png", "a-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a.png"]


def test_the_page_takes_pictures_while_there_is_room(tmp_path):
    album = Album(tmp_path, None)
    picture = slice_picture(series().volume, "axial", index=3)
    assert album.add(picture, "a").uri == ""
    album.room = 1_000_000
    shot = album.add(picture, "a")
    assert shot.uri.startswith("data:image/jpeg;base64,")
    assert album.room == 1_000_000 - len(shot.uri)
    album.room = len(shot.uri) - 1
    assert album.add(picture, "a").uri == ""


def test_a_large_picture_is_made_smaller_for_the_page_alone(tmp_path):
    array = np.random.default_rng(0).integers(-200, 300, (900, 700, 3)).astype(np.int16)
    album = Album(tmp_path, None)
    album.room = 1_000_000
    shot = album.add(slice_picture(Volume(array, np.eye(4), "CT"), "axial"), "a")
    assert (shot.width, shot.height) == (560, 436)
    with Image.open(tmp_path / shot.file) as kept:
        assert kept.size == (900, 700)
