"""What the published checkpoints were trained on: compared with MONAI 1.6.1 once, with scikit-image here."""

import hashlib

import numpy as np
import pytest
from skimage.color import label2rgb

from attending.errors import InputError
from attending.imaging import Volume, reference_overlay, reference_picture, reference_pictures, slice_picture
from attending.imaging.reference import REFERENCE_CT_WINDOW

COLORS = [
    *("red", "blue", "yellow", "magenta", "green", "indigo", "darkorange", "cyan", "pink", "brown", "orange", "lime"),
    *("orange", "gold", "yellowgreen", "darkgreen"),
]


def sliced(levels: np.ndarray, index: int) -> np.ndarray:
    """The reference's slice of a RAS volume that is already scaled to 0-255."""
    return np.rot90(levels[:, :, index].astype(np.uint8).swapaxes(0, 1), 2)


def ct_levels(array: np.ndarray) -> np.ndarray:
    scaled = (array.astype(np.float32) - np.float32(-150)) / np.float32(400) * np.float32(255)
    return np.clip(scaled, 0, 255)


def mr_levels(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    return (array - array.min()) / (array.max() - array.min()) * np.float32(255)


def volumes() -> dict[str, tuple[Volume, np.ndarray]]:
    rng = np.random.default_rng(7)
    hounsfield = rng.normal(50, 250, (30, 40, 20))
    signal = rng.gamma(2, 300, (30, 40, 20))
    arrays = {
        "CT int16": ("CT", hounsfield.astype(np.int16)),
        "CT float32": ("CT", hounsfield.astype(np.float32)),
        "CT float64": ("CT", hounsfield),
        "MR uint16": ("MR", signal.astype(np.uint16)),
        "MR float32": ("MR", signal.astype(np.float32)),
        "MR negative": ("MR", (signal - 700).astype(np.float32)),
        "MR large int16": ("MR", np.tile(signal.astype(np.int16), (3, 3, 3))),
    }
    affine = np.diag([0.8, 0.8, 5, 1])
    return {
        name: (Volume(array, affine, modality), (ct_levels if modality == "CT" else mr_levels)(array))
        for name, (modality, array) in arrays.items()
    }


@pytest.mark.parametrize("name", list(volumes()))
def test_slices_are_the_references_to_the_bit(name: str) -> None:
    volume, levels = volumes()[name]
    shown = list(reference_pictures(volume))
    assert len(shown) == volume.shape[2]
    for index, picture in enumerate(shown):
        assert (picture.pixels == sliced(levels, index)[..., None]).all()
        assert picture.digest == reference_picture(volume, index).digest


def test_ct_edges_are_cut_not_rounded() -> None:
    array = np.zeros((5, 1, 1), np.float32)
    array[:, 0, 0] = [-150, -148.44, 50, 249.9, 250]  # -148.44 would round to 1
    shown = reference_picture(Volume(array, np.eye(4), "CT"))
    assert shown.pixels[0, ::-1, 0].tolist() == [0, 0, 127, 254, 255]
    assert shown.window == REFERENCE_CT_WINDOW


def test_pixels_recorded_from_monai() -> None:
    # MONAI 1.6.1 (Orientation, ScaleIntensityRange, ScaleIntensity), then uint8, swapaxes and rot90 twice, gave these.
    grid = np.add.outer(np.add.outer(np.arange(24) * 37, np.arange(20) * 11), np.arange(6) * 101) % 1500 - 500
    recorded = {
        "CT": "eec34035488b2b66f52943785d411d4b1af38569d54c95426b837aca88dcb545",
        "MR": "6addb10db9a126356d4257a9a51508319ae2001da3319d07e18b141b94bd32a2",
    }
    affine = np.diag([-1.0, -1, 2, 1])
    for modality, digest in recorded.items():
        pictures = reference_pictures(Volume(grid.astype(np.int16), affine, modality))
        levels = np.stack([picture.pixels[..., 0] for picture in pictures])
        assert hashlib.sha256(levels.tobytes()).hexdigest() == digest


def test_each_mr_channel_is_scaled_by_itself() -> None:
    array = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype(np.float32)
    array[1] *= 1000
    volume = Volume(array, np.eye(4), "MR")
    for channel in (0, 1):
        shown = reference_picture(volume, 1, channel=channel)
        assert np.array_equal(shown.pixels[..., 0], sliced(mr_levels(array[channel]), 1))


def test_the_middle_slice_is_the_default_and_lies_as_slice_picture_lays_it() -> None:
    volume, _ = volumes()["MR float32"]
    shown, usual = reference_picture(volume), slice_picture(volume, "axial")
    assert (shown.index, shown.position, shown.spacing) == (10, usual.position, usual.spacing)
    assert np.abs(shown.pixels.astype(int) - slice_picture(volume, "axial", window=shown.window).pixels).max() <= 1


def test_mr_of_one_value_is_black_and_voxels_that_are_not_numbers_do_no_harm() -> None:
    flat = reference_picture(Volume(np.full((4, 4, 4), 7.0), np.eye(4), "MR"))
    assert not flat.pixels.any()
    assert flat.window is None
    array = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    expected = reference_picture(Volume(array.copy(), np.eye(4), "MR"), 1).pixels
    array[0, 0, 0], array[3, 3, 3] = np.nan, np.inf
    array[0, 0, 3], array[3, 3, 2] = 0, 63
    assert np.array_equal(reference_picture(Volume(array, np.eye(4), "MR"), 1).pixels, expected)
    assert not reference_picture(Volume(np.full((2, 2, 2), np.nan), np.eye(4), "MR")).pixels.any()


@pytest.mark.parametrize("modality", [None, "PT", "US"])
def test_other_modalities_are_refused(modality: str | None) -> None:
    with pytest.raises(InputError, match="CT and MR"):
        reference_picture(Volume(np.zeros((2, 2, 2)), np.eye(4), modality))


def test_a_slice_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"index is 2: .* 0 to 1"):
        reference_picture(Volume(np.zeros((2, 2, 2)), np.eye(4), "CT"), 2)


def by_scikit_image(volume: Volume, mask: np.ndarray, index: int) -> np.ndarray:
    grey = sliced(ct_levels(volume.array), index)
    painted = label2rgb(sliced(mask.astype(np.int64), index), image=grey, colors=COLORS, bg_label=0)
    return (painted * 255).astype(np.uint8)


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 5, 26, 27], list(range(40)), [3, 4]])
def test_overlays_are_label2rgbs_to_the_bit(labels: list[int]) -> None:
    volume, _ = volumes()["CT int16"]
    mask = np.random.default_rng(2).choice(labels, volume.shape).astype(np.uint8)
    picture, colors = reference_overlay(volume, Volume(mask, volume.affine), 3)
    assert np.array_equal(picture.pixels, by_scikit_image(volume, mask, 3))
    present = [label for label in labels if label]
    assert colors == {label: COLORS[rank % 16] for rank, label in enumerate(present)}


def test_every_grey_under_every_colour_is_label2rgbs() -> None:
    array = np.repeat(np.linspace(-150, 250, 256)[:, None, None], 17, axis=1)
    mask = np.broadcast_to(np.arange(17)[None, :, None], array.shape).astype(np.uint8)
    volume = Volume(array, np.eye(4), "CT")
    picture, _ = reference_overlay(volume, Volume(mask, np.eye(4)))
    assert np.array_equal(picture.pixels, by_scikit_image(volume, mask, 0))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_label_ids_are_cut_to_8_bits(dtype: type) -> None:
    volume, _ = volumes()["CT int16"]
    mask = np.zeros(volume.shape, dtype)
    mask[:10], mask[10:15], mask[15:20] = 282, 256, 3
    picture, colors = reference_overlay(volume, Volume(mask, volume.affine), 0)
    assert colors == {3: "red", 26: "blue"}
    assert np.array_equal(picture.pixels, by_scikit_image(volume, mask.astype(np.int64) % 256, 0))
    assert picture.legend == (("label 3", (255, 0, 0)), ("label 26", (0, 0, 255)))


def test_colours_go_round_over_the_labels_of_the_slice_only() -> None:
    volume, _ = volumes()["CT int16"]
    mask = np.zeros(volume.shape, np.uint8)
    mask[0, 0, 4], mask[0, 0, 5] = 9, 4
    mask[1, 1, 5] = 9
    assert reference_overlay(volume, Volume(mask, volume.affine), 4)[1] == {9: "red"}
    assert reference_overlay(volume, Volume(mask, volume.affine), 5)[1] == {4: "red", 9: "blue"}


def test_a_mask_elsewhere_is_refused() -> None:
    volume, _ = volumes()["CT int16"]
    moved = volume.affine.copy()
    moved[0, 3] = 4
    with pytest.raises(InputError, match="4 mm"):
        reference_overlay(volume, Volume(np.zeros(volume.shape), moved))
