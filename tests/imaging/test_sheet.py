from collections.abc import Callable

import numpy as np
import pytest
from PIL import ImageDraw

from attending.errors import InputError
from attending.imaging import Image2D, Picture, Volume, Window, contact_sheet, slice_positions, with_legend

Texts = list[tuple[str, float, float]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Texts:
    """Every text drawn, with its place (x, y)."""
    texts: Texts = []
    draw: Callable = ImageDraw.ImageDraw.text

    def record(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *args: object, **kwargs: object) -> None:
        texts.append((text, *xy))
        draw(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return texts


def ball(spacing: tuple[float, float, float] = (1, 1, 5)) -> Volume:
    """A ball of 40 mm radius in a cube of 100 mm, its right half darker than its left."""
    shape = [round(100 / step) for step in spacing]
    grid = np.meshgrid(
        *((np.arange(n) + 0.5) * step - 50 for n, step in zip(shape, spacing, strict=True)), indexing="ij"
    )
    array = np.where(sum(axis**2 for axis in grid) < 40**2, np.where(grid[0] > 0, 100, 200), -1000).astype(np.int16)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-50 + step / 2 for step in spacing]
    return Volume(array, affine, "CT", "ball")


def bright(sheet: Picture) -> np.ndarray:
    """Where the ball is drawn: grey, unlike labels and ground, and below the header."""
    pixels = sheet.pixels.astype(int)
    pixels[:52] = 0
    return (np.ptp(pixels, axis=2) < 8) & (pixels[..., 0] > 60) & (pixels[..., 0] < 240)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_ball_of_thick_slices_stays_round_in_every_plane(plane: str) -> None:
    shown = bright(contact_sheet(ball(), plane=plane, tiles=1, window=Window(150, 300)))
    rows, columns = np.flatnonzero(shown.sum(1) > 20), np.flatnonzero(shown.sum(0) > 20)
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(1, abs=0.06)


def test_the_patients_right_is_on_the_left_of_the_sheet() -> None:
    sheet = contact_sheet(ball(), plane="axial", tiles=1, window=Window(150, 300))
    levels = np.where(bright(sheet), sheet.pixels[..., 0], 0)
    middle = levels.shape[1] // 2
    left, right = levels[:, : middle - 20], levels[:, middle + 20 :]
    assert left[left > 0].mean() == pytest.approx(85, abs=3)  # 100 HU in a window from 0 to 300
    assert right[right > 0].mean() == pytest.approx(170, abs=3)


@pytest.mark.parametrize(("plane", "sides"), [("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI")])
def test_each_side_of_a_slice_is_named(written: Texts, plane: str, sides: str) -> None:
    sheet = contact_sheet(ball(), plane=plane, tiles=1)
    places = {text: (x, y) for text, x, y in written if len(text) == 1}
    left, right, top, bottom = (places[side] for side in sides)
    assert len(places) == 4
    assert left[0] < top[0] == bottom[0] < right[0]
    assert top[1] < left[1] == right[1] < bottom[1]
    assert right[0] < sheet.pixels.shape[1]


def test_all_planes_come_with_index_and_millimetres(written: Texts) -> None:
    volume = ball()
    contact_sheet(volume, title="Abdomen portal venous", tiles=6)
    tiles = [text.split() for text, *_ in written if text.startswith(("axial", "coronal", "sagittal"))]
    assert [tile[0] for tile in tiles] == ["axial"] * 2 + ["coronal"] * 2 + ["sagittal"] * 2
    for plane, index, _, position, _ in tiles:
        assert float(position) == pytest.approx(slice_positions(volume, plane)[int(index)], abs=0.05)


def test_the_header_says_what_it_is(written: Texts) -> None:
    contact_sheet(ball(), title="Abdomen", window=Window(40, 400))
    header = " · ".join(text for text, _, y in written if y < 70)
    for fact in ("CT · Abdomen", "100 x 100 x 20 voxels RAS", "1 x 1 x 5 mm", "window 40 / 400"):
        assert fact in header
    assert "oblique" not in header


def test_an_oblique_grid_says_so(written: Texts) -> None:
    volume = ball()
    turn = np.radians(20)
    volume.affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    contact_sheet(volume)
    assert any("oblique by 20°" in text for text, *_ in written)


def test_a_channel_is_chosen_and_named(written: Texts) -> None:
    volume = ball()
    both = Volume(np.stack([volume.array, volume.array // 2]), volume.affine, "CT")
    assert contact_sheet(both, channel=1, tiles=1).digest != contact_sheet(both, tiles=1).digest
    assert any("channel 1 of 0-1" in text for text, *_ in written)
    with pytest.raises(InputError, match="channel is 2"):
        contact_sheet(both, channel=2)


def test_planes_that_would_be_strips_are_left_out_unless_asked_for(written: Texts) -> None:
    one = Volume(ball().array[:, :, 10:11], ball().affine, "CT")
    contact_sheet(one)
    assert [text for text, *_ in written if text.startswith(("axial", "coronal", "sagittal"))] == ["axial 0 · -47.5 mm"]
    assert contact_sheet(one, plane="coronal", tiles=2).pixels.shape[0] < 200


@pytest.mark.parametrize("tiles", [1, 2, 3, 7, 100])
def test_as_many_tiles_as_asked_for(written: Texts, tiles: int) -> None:
    contact_sheet(ball((2, 2, 2)), tiles=tiles)
    assert sum(text.startswith(("axial", "coronal", "sagittal")) for text, *_ in written) == tiles


@pytest.mark.parametrize("tiles", [0, -1, 101, 10**9])
def test_a_number_of_tiles_out_of_range_is_refused(tiles: int) -> None:
    with pytest.raises(InputError, match=rf"tiles is {tiles}: .* 1 to 100"):
        contact_sheet(ball(), tiles=tiles)


def test_hostile_titles_are_drawn_as_what_they_are(written: Texts) -> None:
    contact_sheet(ball(), title="\x1b]0;Schädel\n<b>\u202e日本" + "x" * 5000, tiles=1)
    title = written[0][0]
    assert title.startswith(r"CT · \x1b]0;Schadel\n<b>\u202e??xxx")
    assert title.endswith("…")
    assert len(title) < 250


def test_frames_of_a_clip_are_spread_and_named(written: Texts) -> None:
    clip = np.zeros((30, 24, 32, 3), np.uint8)
    clip[:, 2:20, 4:30] = np.arange(100, 130, dtype=np.uint8)[:, None, None, None]
    sheet = contact_sheet(Image2D(clip, (0.5, 0.5), "US", "clip"), title="heart", tiles=5)
    assert [text for text, *_ in written if text.startswith("frame")] == [f"frame {i}" for i in (3, 9, 15, 21, 27)]
    for level in (103, 109, 115, 121, 127):
        assert (sheet.pixels == level).all(axis=2).sum() > 1000
    assert (sheet.series, sheet.window) == ("clip", None)
    assert any("30 frames · 32 x 24 pixels · 0.5 x 0.5 mm · shown as stored" in text for text, *_ in written)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 60_000), (1, 3000, 7)])
def test_images_of_any_shape_make_a_sheet_of_bounded_size(shape: tuple[int, ...]) -> None:
    sheet = contact_sheet(Image2D(np.ones(shape, np.uint16)))
    assert max(sheet.pixels.shape) < 1000


def test_a_2d_image_has_no_plane() -> None:
    with pytest.raises(InputError, match="plane is axial"):
        contact_sheet(Image2D(np.zeros((1, 4, 4), np.uint8)), plane="axial")


def test_the_legend_stands_beside_the_picture(written: Texts) -> None:
    picture = Picture(
        np.full((64, 80, 3), 90, np.uint8),
        spacing=(2, 2),
        legend=(("liver", (255, 0, 0)), ("\x1b[2Jspleen", (0, 255, 0)), ("a" * 900, (0, 187, 255))),
    )
    drawn = with_legend(picture)
    assert np.array_equal(drawn.pixels[:64, :80], picture.pixels)
    assert (drawn.spacing, drawn.legend) == (picture.spacing, picture.legend)
    assert [text for text, *_ in written[:2]] == ["liver", r"\x1b[2Jspleen"]
    swatches = [np.argwhere((drawn.pixels == color).all(axis=2)) for _, color in picture.legend]
    assert [len(swatch) for swatch in swatches] == [256] * 3
    assert all(swatch[:, 1].min() >= 80 for swatch in swatches)
    for swatch, (_, x, y) in zip(swatches, written, strict=True):
        assert abs(swatch[:, 0].mean() - y) < 1
        assert swatch[:, 1].max() < x
    assert drawn.pixels.shape[1] < 80 + 300


def test_a_long_legend_takes_several_columns() -> None:
    legend = tuple((f"label {i}", (i, 255, 255 - i)) for i in range(45))
    drawn = with_legend(Picture(np.zeros((200, 200, 3), np.uint8), legend=legend))
    assert drawn.pixels.shape[0] < 230
    for _, color in legend:
        assert (drawn.pixels == color).all(axis=2).sum() == 256


def test_without_a_legend_nothing_is_added() -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8))
    assert with_legend(picture) is picture
