import itertools

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from attending.errors import InputError
from attending.imaging import Volume, label_color, overlay_picture, slice_picture

AFFINE = np.diag([1.0, 1, 2, 1])


@pytest.fixture
def volume() -> Volume:
    array = np.random.default_rng(0).integers(-100, 200, (20, 24, 10)).astype(np.int16)
    return Volume(array, AFFINE, "CT", "ct")


@pytest.fixture
def mask() -> Volume:
    array = np.zeros((20, 24, 10), np.uint8)
    array[12:18, 2:8, 3:7] = 1
    array[2:6, 10:20, 4:9] = 26
    return Volume(array, AFFINE)


def lab(colors: list[tuple[int, int, int]]) -> np.ndarray:
    return rgb2lab(np.array(colors, np.float64)[None] / 255)[0]


def test_colours_of_labels_are_clearly_distinct() -> None:
    colors = lab([label_color(label) for label in range(1, 145)])
    first, second = np.array(list(itertools.combinations(range(144), 2))).T
    apart = deltaE_ciede2000(colors[first], colors[second])
    assert apart.min() > 7
    assert apart[second < 20].min() > 19


def test_colours_of_labels_do_not_pass_for_grey_anatomy() -> None:
    colors = lab([label_color(label) for label in range(1, 145)])
    greys = lab([(level, level, level) for level in range(256)])
    for color in colors:
        assert deltaE_ciede2000(np.broadcast_to(color, greys.shape), greys).min() > 15


def test_blended_colours_of_the_first_labels_can_still_be_told_apart() -> None:
    for grey in (40, 128, 200):
        blended = lab([tuple((channel + grey) / 2 for channel in label_color(label)) for label in range(1, 21)])
        first, second = np.array(list(itertools.combinations(range(20), 2))).T
        assert deltaE_ciede2000(blended[first], blended[second]).min() > 10


def test_a_label_has_one_colour_whatever_else_is_there() -> None:
    assert label_color(1) == (255, 0, 0)
    assert label_color(145) == label_color(1)
    assert label_color(2**40) == label_color((2**40 - 1) % 144 + 1)


def test_labels_are_blended_where_they_lie_and_nothing_else_changes(volume: Volume, mask: Volume) -> None:
    plain = slice_picture(volume, "axial", index=5)
    shown = overlay_picture(volume, mask, "axial", index=5, alpha=0.4)
    labels = mask.array[::-1, ::-1, 5].T
    assert np.array_equal(shown.pixels[labels == 0], plain.pixels[labels == 0])
    for label in (1, 26):
        where = labels == label
        expected = plain.pixels[where] * 0.6 + np.array(label_color(label)) * 0.4
        assert np.abs(shown.pixels[where] - expected).max() <= 0.5
    assert (shown.series, shown.index, shown.window) == ("ct", 5, plain.window)


def test_the_legend_lists_what_is_on_the_slice(volume: Volume, mask: Volume) -> None:
    names = {1: "liver", 26: "\x1b[31mhepatic tumour", 7: "not here"}
    both = overlay_picture(volume, mask, "axial", index=5, names=names)
    assert both.legend == (("liver", label_color(1)), (r"\x1b[31mhepatic tumour", label_color(26)))
    assert overlay_picture(volume, mask, "axial", index=8).legend == (("label 26", label_color(26)),)
    assert overlay_picture(volume, mask, "axial", index=0).legend == ()


def test_by_default_the_slice_with_most_of_the_mask_is_shown(volume: Volume, mask: Volume) -> None:
    assert overlay_picture(volume, mask, "axial").index == 4
    assert overlay_picture(volume, mask, "sagittal").index == 2
    assert overlay_picture(volume, mask, "axial", mm=0).index == 0
    empty = Volume(np.zeros(mask.shape, bool), AFFINE)
    assert overlay_picture(volume, empty, "axial").index == 5


def test_an_outline_is_opaque_and_leaves_the_inside_alone(volume: Volume, mask: Volume) -> None:
    plain = slice_picture(volume, "axial", index=3)
    shown = overlay_picture(volume, mask, "axial", index=3, outline=True)
    rows, columns = slice(24 - 8, 24 - 2), slice(20 - 18, 20 - 12)  # label 1 on this slice
    inside = (slice(rows.start + 1, rows.stop - 1), slice(columns.start + 1, columns.stop - 1))
    painted = (shown.pixels == label_color(1)).all(axis=2)
    assert painted[rows, columns].sum() == painted.sum() == 20
    assert np.array_equal(shown.pixels[inside], plain.pixels[inside])


def test_square_pixels_keep_sharp_labels(volume: Volume, mask: Volume) -> None:
    shown = overlay_picture(volume, mask, "coronal", index=5, square=True, alpha=1)
    assert shown.pixels.shape == (20, 20, 3)
    painted = (shown.pixels == label_color(1)).all(axis=2)
    assert painted.sum() == 6 * 8
    assert painted[20 - 2 * 7 : 20 - 2 * 3, 20 - 18 : 20 - 12].all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32, np.float64])
def test_masks_of_any_number_type_are_taken(volume: Volume, dtype: type) -> None:
    array = np.zeros(volume.shape, dtype)
    array[4:8, 4:8, 5] = 1
    assert overlay_picture(volume, Volume(array, AFFINE), "axial").legend == (("label 1", label_color(1)),)


def test_a_mask_stored_in_another_voxel_order_is_on_the_same_grid(volume: Volume, mask: Volume) -> None:
    turned = Volume(mask.array[::-1].transpose(2, 1, 0), AFFINE @ np.eye(4)[:, [2, 1, 0, 3]])
    turned.affine[:3, 2] *= -1
    turned.affine[:3, 3] = [19, 0, 0]
    ours, theirs = (overlay_picture(volume, each, "axial", index=5) for each in (mask, turned))
    assert np.array_equal(ours.pixels, theirs.pixels)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((20, 24, 9)), AFFINE, r"mask shape is \(20, 24, 9\): .* \(20, 24, 10\) voxels"),
        (np.zeros((2, 20, 24, 10)), AFFINE, "without channels"),
        (np.zeros((20, 24, 10)), AFFINE + np.eye(4, k=3) * 0.5, "mask affine: .* 0.5 mm"),
        (np.zeros((20, 24, 10)), np.diag([1.0, 1, 2.01, 1]), "mask affine: .* 0.09 mm"),
        (np.full((20, 24, 10), 0.5), AFFINE, "mask is 0.5: .* whole label ids"),
        (np.full((20, 24, 10), -1), AFFINE, "mask is -1"),
        (np.full((20, 24, 10), np.nan), AFFINE, "mask is nan"),
        (np.full((20, 24, 10), np.inf), AFFINE, "mask is inf"),
        (np.zeros((20, 24, 10), complex), AFFINE, "mask voxel type is complex128"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    volume: Volume, array: np.ndarray, affine: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        overlay_picture(volume, Volume(array, affine), "axial")


def test_a_mask_rounded_to_single_precision_still_fits(volume: Volume, mask: Volume) -> None:
    affine = (AFFINE + np.eye(4, k=3) * -123.4567).astype(np.float32).astype(np.float64)
    placed = Volume(volume.array, AFFINE + np.eye(4, k=3) * -123.4567, "CT")
    assert overlay_picture(placed, Volume(mask.array, affine), "axial").legend


@pytest.mark.parametrize("alpha", [0, 1.5, float("nan")])
def test_an_opacity_out_of_range_is_refused(volume: Volume, mask: Volume, alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        overlay_picture(volume, mask, "axial", alpha=alpha)
