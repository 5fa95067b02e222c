import itertools
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from attending.errors import InputError
from attending.imaging import Volume, Window, key_slices, largest_slice, pictures, slice_picture, slice_positions

AS_STORED = Window(127.5, 255)
ORIENTATIONS = [
    "".join(codes) for letters in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*letters)
]


def in_orientation(volume: Volume, codes: str) -> Volume:
    """The same patient, with voxel axes stored as `codes` says."""
    turn = ornt_transform(nib.io_orientation(volume.affine), axcodes2ornt(codes))
    array = apply_orientation(volume.array, turn)
    return Volume(array, volume.affine @ inv_ornt_aff(turn, volume.shape), volume.modality)


@pytest.fixture
def body() -> Volume:
    """RAS, 10 x 12 x 14 voxels of 1 x 2 x 3 mm; bright blocks: right 50, anterior 100, superior 200 (not symmetric)."""
    array = np.zeros((10, 12, 14), np.uint8)
    array[8:, 5:7, 6:8] = 50
    array[4:6, 10:, 6:8] = 100
    array[4:6, 5:7, 12:] = 200
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = [-4, -20, 100]
    return Volume(array, affine, "MR", "series-1")


def test_axial_has_the_patients_right_on_the_left_and_anterior_up(body: Volume) -> None:
    pixels = slice_picture(body, "axial", index=6, window=AS_STORED).pixels[..., 0]
    assert pixels.shape == (12, 10)
    assert (pixels[5:7, :2] == 50).all()
    assert (pixels[:2, 4:6] == 100).all()
    assert np.count_nonzero(pixels) == 8


def test_coronal_has_the_patients_right_on_the_left_and_superior_up(body: Volume) -> None:
    pixels = slice_picture(body, "coronal", index=5, window=AS_STORED).pixels[..., 0]
    assert pixels.shape == (14, 10)
    assert (pixels[6:8, :2] == 50).all()
    assert (pixels[:2, 4:6] == 200).all()
    assert np.count_nonzero(pixels) == 8


def test_sagittal_has_anterior_on_the_left_and_superior_up(body: Volume) -> None:
    pixels = slice_picture(body, "sagittal", index=4, window=AS_STORED).pixels[..., 0]
    assert pixels.shape == (14, 12)
    assert (pixels[6:8, :2] == 100).all()
    assert (pixels[:2, 5:7] == 200).all()
    assert np.count_nonzero(pixels) == 8


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_order_of_the_file_does_not_show(body: Volume, codes: str) -> None:
    stored = in_orientation(body, codes)
    assert stored.orientation == codes
    for plane, index in (("axial", 6), ("coronal", 5), ("sagittal", 4)):
        ours, theirs = slice_picture(stored, plane, index=index), slice_picture(body, plane, index=index)
        assert np.array_equal(ours.pixels, theirs.pixels)
        assert ours.position == pytest.approx(theirs.position)
        assert ours.spacing == pytest.approx(theirs.spacing)


def test_a_picture_says_where_it_is_from(body: Volume) -> None:
    picture = slice_picture(body, "coronal", index=3)
    assert (picture.series, picture.plane, picture.index) == ("series-1", "coronal", 3)
    assert picture.position == pytest.approx(-14)
    assert picture.spacing == (3, 1)
    assert picture.window is not None


def test_millimetres_find_the_nearest_slice(body: Volume) -> None:
    assert slice_picture(body, "axial", mm=100).index == 0
    assert slice_picture(body, "axial", mm=104.4).index == 1
    assert slice_picture(body, "axial", mm=104.6).index == 2
    assert slice_picture(body, "axial", mm=98.5).index == 0  # half a slice beyond the first centre is still in it
    assert slice_picture(body, "sagittal", mm=-4).index == 0


def test_neither_index_nor_millimetres_is_the_middle(body: Volume) -> None:
    assert slice_picture(body, "axial").index == 7


def test_positions_rise_and_agree_with_the_pictures_of_an_oblique_grid(body: Volume) -> None:
    turn = np.radians(25)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = body.affine.copy()
    affine[:3, :3] = rotation @ np.diag([-1, 2, -3])
    oblique = Volume(body.array, affine)
    for plane in ("axial", "coronal", "sagittal"):
        positions = slice_positions(oblique, plane)
        assert (np.diff(positions) > 0).all()
        shown = list(pictures(oblique, plane))
        assert [picture.position for picture in shown] == pytest.approx(positions.tolist())
        assert slice_picture(oblique, plane, mm=positions[3] + 0.1).index == 3


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"plane": "axial", "index": 14}, "index is 14: there is no such axial slice; 0 to 13"),
        ({"plane": "coronal", "index": -1}, "index is -1: .* 0 to 11"),
        ({"plane": "axial", "mm": 141}, r"mm is 141: the axial slices cover 98.5 to 140.5 mm"),
        ({"plane": "axial", "mm": float("nan")}, "mm is nan"),
        ({"plane": "axial", "mm": 3, "index": 3}, "give one"),
        ({"plane": "transverse"}, "plane is transverse: a plane is axial, coronal or sagittal"),
        ({"plane": "axial", "channel": 1}, "channel is 1: .* 0 to 0"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(body: Volume, chosen: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        slice_picture(body, **chosen)


def test_a_single_slice_is_found_by_millimetres_within_its_thickness() -> None:
    volume = Volume(np.zeros((4, 4, 1)), np.diag([1.0, 1, 5, 1]))
    assert slice_picture(volume, "axial", mm=2.4).index == 0
    with pytest.raises(InputError, match=r"cover -2.5 to 2.5 mm"):
        slice_picture(volume, "axial", mm=2.6)


def test_channels_have_their_own_window(body: Volume) -> None:
    both = Volume(np.stack([body.array.astype(np.int16), body.array.astype(np.int16) * 10]), body.affine, "MR")
    first, second = (slice_picture(both, "axial", index=6, channel=channel) for channel in (0, 1))
    assert np.array_equal(first.pixels, second.pixels)
    assert second.window.width == pytest.approx(10 * first.window.width)


def test_square_pixels_give_the_patients_proportions(body: Volume) -> None:
    picture = slice_picture(body, "coronal", index=5, square=True)
    assert picture.pixels.shape == (42, 10, 3)
    assert picture.spacing == (1, 1)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_slices_at_once_are_those_one_by_one(plane: str, order: str) -> None:
    array = np.random.default_rng(0).normal(50, 300, (30, 20, 25)).astype(np.int16, order=order)
    volume = in_orientation(Volume(array, np.diag([1.0, 1, 2, 1]), "CT"), "LPS")
    together = list(pictures(volume, plane, Window(40, 400)))
    assert [picture.index for picture in together] == list(range(volume.canonical().shape["sca".index(plane[0])]))
    for picture in together:
        alone = slice_picture(volume, plane, index=picture.index, window=Window(40, 400))
        assert picture.digest == alone.digest
        assert picture.position == alone.position


def test_all_slices_at_once_refuse_bad_input_at_the_call(body: Volume) -> None:
    with pytest.raises(InputError, match="plane is up"):
        pictures(body, "up")


def test_walking_through_a_volume_takes_little_memory() -> None:
    volume = Volume(np.zeros((256, 256, 256), np.float32), np.eye(4), "CT")
    tracemalloc.start()
    for _ in pictures(volume, "axial", AS_STORED):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volume.array.nbytes / 4


def test_key_slices_skip_empty_ends_and_lie_evenly() -> None:
    array = np.full((20, 20, 100), -1000, np.int16)
    array[5:15, 5:15, 40:80] = 40
    array[0, 0, 95] = 3000  # a speck is no body
    volume = Volume(array, np.eye(4), "CT")
    assert key_slices(volume, "axial", 4) == [45, 55, 65, 75]
    assert key_slices(volume, "axial", 1) == [60]
    assert key_slices(volume, "coronal", 2) == [7, 12]
    assert key_slices(volume, "axial", 500) == list(range(40, 80))


def test_key_slices_of_a_coronal_ct_leave_the_table_out() -> None:
    array = np.full((40, 60, 20), -1000, np.int16)
    array[5:35, 20:40] = 40
    array[:, 10:12] = 100  # behind the patient, who lies on his back
    assert key_slices(Volume(array, np.eye(4), "CT"), "coronal", 1) == [30]
    assert key_slices(Volume(array, np.eye(4), "CT"), "coronal", 500) == list(range(20, 40))


def test_key_slices_find_the_body_without_a_modality_and_in_large_grids() -> None:
    array = np.zeros((300, 280, 60), np.float32)
    array[50:250, 50:250, 20:40] = 900
    array += np.random.default_rng(0).normal(0, 5, array.shape)
    assert key_slices(Volume(array, np.eye(4)), "axial", 2) == [25, 35]


@pytest.mark.parametrize("array", [np.zeros((5, 5, 8)), np.full((5, 5, 8), np.nan), np.full((5, 5, 8), -1000)])
def test_key_slices_of_an_empty_volume_are_spread_over_all_of_it(array: np.ndarray) -> None:
    assert key_slices(Volume(array, np.eye(4), "CT"), "axial", 2) == [2, 6]


def test_no_key_slices_cannot_be_asked_for(body: Volume) -> None:
    with pytest.raises(InputError, match="count is 0"):
        key_slices(body, "axial", 0)


def test_the_slice_with_most_of_a_label() -> None:
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[:2, 0, 3] = 1
    mask[:3, 0, 5] = 2
    volume = in_orientation(Volume(mask, np.eye(4)), "LAI")
    assert largest_slice(volume, "axial") == 5
    assert largest_slice(volume, "axial", label=1) == 3
    with pytest.raises(InputError, match="label 9"):
        largest_slice(volume, "axial", label=9)
    with pytest.raises(InputError, match="anything"):
        largest_slice(Volume(np.zeros((2, 2, 2)), np.eye(4)), "axial")
