from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attending.errors import InputError
from attending.imaging import Image2D, Picture, Window, picture_of


def random_picture(rows: int, columns: int, spacing: tuple[float, float] | None = None) -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    return Picture(pixels, spacing=spacing)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_anything_but_8_bit_rgb_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        Picture(pixels)


def test_a_saved_picture_comes_back_to_the_bit(tmp_path: Path) -> None:
    picture = random_picture(7, 5)
    picture.save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture.pixels)


def test_the_digest_depends_on_shape_and_pixels_only() -> None:
    picture = random_picture(6, 4)
    same = Picture(np.asfortranarray(picture.pixels), series="other", index=3)
    assert picture.digest == same.digest
    assert picture.digest != Picture(picture.pixels.reshape(4, 6, 3)).digest
    assert picture.digest != Picture(255 - picture.pixels).digest


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((40, 100), (5.0, 1.0), (200, 100)),
        ((100, 40), (0.5, 2.0), (100, 160)),
        ((30, 30), (0.7, 0.7), (30, 30)),
        ((30, 20), None, (30, 20)),
        ((1, 60_000), (1.0, 1.0), (1, 60_000)),  # never larger than it was because of a hostile shape
        ((100, 100), (1.0, 1e-6), (4096, 1)),
        ((2, 2), (1e300, 1e-300), (4096, 1)),
    ],
)
def test_square_pixels_keep_the_millimetres_and_stay_within_a_limit(
    shape: tuple[int, int], spacing: tuple[float, float] | None, expected: tuple[int, int]
) -> None:
    squared = random_picture(*shape, spacing).square()
    assert squared.pixels.shape == (*expected, 3)
    if spacing and max(spacing) < 10 and min(spacing) > 0.1:
        assert squared.spacing == pytest.approx((min(spacing),) * 2)


def test_resizing_does_not_move_the_picture() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10, :10] = 255
    resized = Picture(pixels, spacing=(4, 2)).resized(80, 40)
    assert resized.spacing == (1, 1)
    assert resized.pixels[:38, :18].min() == 255
    assert resized.pixels[42:].max() == 0
    assert resized.pixels[:, 22:].max() == 0


def image(array: np.ndarray, window: Window | None = None) -> Image2D:
    return Image2D(array, spacing=(0.2, 0.1), modality="DX", series="s", window=window)


def test_colour_passes_through_with_its_origin() -> None:
    array = np.random.default_rng(1).integers(0, 256, (3, 5, 6, 3)).astype(np.uint8)
    shown = picture_of(image(array), 2, Window(1, 1))
    assert np.array_equal(shown.pixels, array[2])
    assert (shown.series, shown.index, shown.spacing, shown.window) == ("s", 2, (0.2, 0.1), None)


def test_8_bit_grey_without_a_window_is_shown_as_stored() -> None:
    array = np.arange(30, dtype=np.uint8).reshape(1, 5, 6)
    shown = picture_of(image(array))
    assert np.array_equal(shown.pixels, np.repeat(array[0, ..., None], 3, axis=2))
    assert shown.window is None


def test_the_callers_window_comes_before_the_files() -> None:
    array = np.array([[[0, 1000, 2000, 3000]]], np.uint16)
    assert picture_of(image(array, Window(1500, 1000))).pixels[0, :, 0].tolist() == [0, 0, 255, 255]
    asked = picture_of(image(array, Window(1500, 1000)), window=Window(500, 1000))
    assert asked.pixels[0, :, 0].tolist() == [0, 255, 255, 255]
    assert asked.window == Window(500, 1000)


def test_16_bit_grey_without_a_window_gets_one_from_its_own_frame() -> None:
    rng = np.random.default_rng(2)
    array = np.stack([rng.normal(1000, 50, (64, 64)), rng.normal(30000, 900, (64, 64))]).astype(np.uint16)
    array[1, 0, 0] = 65535
    for frame in (0, 1):
        levels = picture_of(image(array), frame).pixels
        assert 100 < levels.mean() < 155
        assert (levels.min(), levels.max()) == (0, 255)


def test_a_constant_image_is_black() -> None:
    assert not picture_of(image(np.full((1, 8, 8), 4000, np.int16))).pixels.any()


@pytest.mark.parametrize("frame", [-1, 3, 10**12])
def test_a_frame_that_is_not_there_is_named_with_those_that_are(frame: int) -> None:
    with pytest.raises(InputError, match=rf"frame is {frame}: .* 0 to 2"):
        picture_of(image(np.zeros((3, 4, 4), np.uint8)), frame)
