"""Sliding windows against MONAI's own, the way back to the source grid, and precision."""

import numpy as np
import pytest
import torch
from bundles import SEGRESNET, ball, oblique
from monai.inferers import sliding_window_inference
from monai.networks.nets import SegResNet

from attending.errors import InputError
from attending.experts import ExpertError
from attending.experts.device import computing, on_best_device, precision
from attending.experts.grid import back, decided, network_grid, onto
from attending.experts.window import MAX_BYTES_ON_CPU, blended, count_windows, window_for
from attending.imaging import Volume
from attending.spatial import resample

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SegResNet(**{k: v for k, v in SEGRESNET.items() if k[0] != "_"}).eval().requires_grad_(False)


def whole(image, predict, **how):
    slabs = list(blended(image, predict, **how))
    assert [at for at, _ in slabs] == np.cumsum([0] + [slab.shape[1] for _, slab in slabs])[:-1].tolist()
    return torch.cat([slab for _, slab in slabs], 1)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("shape", [(40, 24, 16), (33, 17, 30), (16, 16, 16), (70, 16, 20), (10, 40, 12)])
def test_blended_windows_are_those_of_monai(network, shape, overlap):
    image = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    theirs = sliding_window_inference(image[None], (16, 16, 16), 1, network, overlap=overlap, mode="gaussian")[0]
    ours = whole(image, lambda window: network(window)[0], roi=(16, 16, 16), overlap=overlap)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_windows_are_counted_and_the_buffers_never_hold_the_image():
    image = torch.zeros(1, 200, 16, 16)
    seen = []

    def predict(window):
        seen.append(window.shape)
        return window[0]

    slabs = [slab.shape for _, slab in blended(image, predict, roi=(16, 16, 16), overlap=0.5)]
    assert len(seen) == count_windows((200, 16, 16), (16, 16, 16), 0.5)
    assert max(shape[1] for shape in slabs) <= 16


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (lambda w: torch.full_like(w[0], torch.nan), "no numbers"),
        (lambda w: torch.full_like(w[0], torch.inf), "no numbers"),
        (lambda w: w[0, :, :8], "returned the shape"),
        (lambda w: w, "returned the shape"),
    ],
)
def test_a_network_that_returns_no_numbers_or_another_shape_has_no_result(out, says):
    with pytest.raises(ExpertError, match=says):
        list(blended(torch.zeros(1, 16, 16, 16), out, roi=(16, 16, 16), overlap=0.25))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_window_fits_the_image_and_on_a_cpu_the_memory(monkeypatch, dtype):
    monkeypatch.setattr("attending.experts.window.precision", lambda device: dtype)
    assert window_for((40, 33, 64), (128, 128, 128), CPU) == (64, 64, 64)
    assert window_for((20, 300, 300), (96, 96, 96), CPU) == (32, 96, 96)
    large = window_for((256, 256, 128), (240, 240, 160), CPU)
    assert np.prod(large) * dtype.itemsize <= MAX_BYTES_ON_CPU
    whole = (128, 128, 128) if dtype is torch.bfloat16 else (96, 96, 96)
    assert window_for((256, 256, 128), (128, 128, 128), CPU) == whole
    assert all(side % 32 == 0 for side in large)
    assert window_for((256, 256, 192), (240, 240, 160), torch.device("cuda")) == (240, 240, 160)


def test_bfloat16_agrees_with_float32_where_it_is_used(network):
    image = torch.randn(4, 32, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        exact = network(image[None])[0].argmax(0)
        with computing(CPU):
            fast = network(image[None])[0].argmax(0)
    assert (exact == fast).float().mean() > 0.98
    if precision(CPU) is torch.float32:
        assert torch.equal(exact, fast)


def test_work_that_does_not_fit_the_accelerator_is_done_once_on_the_cpu(monkeypatch):
    tried = []

    def work(device):
        tried.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError("full")
        return "done"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert on_best_device(work) == "done"
    assert tried == ["cuda", "cpu"]


@pytest.mark.parametrize("orientation", [None, "RAS", "LPS", "RPI"])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5), (0.8, 0.9, 3.1), (2.0, 2.0, 2.0)])
def test_labels_made_on_the_networks_grid_land_within_half_a_voxel_of_it(spacing, orientation):
    source = Volume(np.zeros((37, 41, 19), np.int16), oblique(), "CT", "one")
    grid = network_grid(source, spacing, orientation)
    if orientation is not None:
        assert grid.orientation == orientation
    if spacing is not None:
        assert grid.spacing == pytest.approx(spacing, rel=0.01)
    # Each label is a plane of the network's grid, so a voxel's label says where it was taken from.
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        planes = np.broadcast_to(np.arange(1, grid.shape[axis] + 1, dtype=np.uint8).reshape(shape), grid.shape)
        landed = back(planes.copy(), grid, source)
        assert landed.array.dtype == np.uint8
        np.testing.assert_array_equal(landed.affine, source.affine)
        taken = landed.array.astype(float) - 1
        asked = grid.to_voxels(source.to_world(np.moveaxis(np.indices(source.shape), 0, -1)))[..., axis]
        assert landed.array.min() > 0
        assert np.abs(taken - asked).max() <= 0.5 + 1e-5


def test_the_networks_grid_takes_no_memory_and_the_image_keeps_its_values_where_only_axes_turn():
    values = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 10)).astype(np.int16)
    source = Volume(values, oblique(), "CT")
    grid = network_grid(source, source.spacing, "RAS")
    assert grid.array.strides == (0, 0, 0)
    np.testing.assert_array_equal(onto(source.canonical(), grid, -1024).array, source.canonical().array)
    np.testing.assert_allclose(onto(source, grid, -1024).array, source.canonical().array, atol=1e-2)


def test_a_ball_goes_to_the_network_and_back():
    affine = oblique()
    array = ball(affine, (48, 48, 24), (24, 22, 12), 14)
    source = Volume(np.where(array, 200, -1000).astype(np.int16), affine, "CT")
    grid = network_grid(source, (1.5, 1.5, 1.5), "RAS")
    seen = onto(source, grid, -1000).array > -400
    landed = back(seen.astype(np.uint8), grid, source).array > 0
    dice = 2 * (landed & array).sum() / (landed.sum() + array.sum())
    assert dice > 0.97


def two_layers(logits):
    values = logits.movedim(0, -1)
    return torch.stack([values.argmax(-1), (values + torch.tensor([0, 1.0, 0, 0])).argmax(-1)]).to(torch.uint8)


@pytest.mark.parametrize("orientation", [None, "RAS", "LPS", "RPI"])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5), (0.8, 0.9, 3.1), (2.0, 2.0, 2.0)])
def test_labels_decided_on_the_source_grid_are_those_of_the_resampled_logits(spacing, orientation):
    source = Volume(np.zeros((37, 41, 19), np.int16), oblique(), "CT", "one")
    grid = network_grid(source, spacing, orientation)
    logits = torch.randn(4, *grid.shape, generator=torch.Generator().manual_seed(2))
    slabs = ((at, logits[:, at : at + 3]) for at in range(0, grid.shape[0], 3))
    found = decided(slabs, two_layers, grid, source)
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(1)  # a voxel more on each side, of the same logits
    wide = [Volume(np.pad(one, 1, mode="edge"), affine) for one in logits.numpy()]
    on_source = np.stack([resample(one, source, nearest=False, outside=np.nan).array for one in wide])
    for layer, wanted in zip(found, two_layers(torch.from_numpy(on_source)), strict=True):
        assert layer.array.dtype == np.uint8
        assert layer.series == "one"
        np.testing.assert_array_equal(layer.affine, source.affine)
        np.testing.assert_array_equal(layer.array, wanted)


def test_on_the_networks_own_grid_labels_are_decided_voxel_by_voxel():
    source = Volume(np.zeros((9, 8, 7), np.int16), oblique(), "CT")
    logits = torch.randn(4, 9, 8, 7, generator=torch.Generator().manual_seed(3))
    found = decided([(0, logits)], two_layers, network_grid(source), source)
    np.testing.assert_array_equal([one.array for one in found], two_layers(logits))


def test_a_sphere_decided_on_the_source_grid_is_closer_to_the_truth_than_the_nearest_labels():
    affine = oblique()
    truth = ball(affine, (48, 48, 24), (24, 22, 12), 9)
    source = Volume(np.zeros(truth.shape, np.int16), affine, "CT")
    grid = network_grid(source, (2.5, 2.5, 3.5), "RAS")
    centre = affine @ [24, 22, 12, 1]
    away = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - centre[:3], axis=-1)
    logits = torch.from_numpy((9 - away).astype(np.float32))[None]

    def dice(found):
        return 2 * (found & truth).sum() / (found.sum() + truth.sum())

    nearest = back((logits[0] > 0).numpy().astype(np.uint8), grid, source).array > 0
    (between,) = decided([(0, logits)], lambda one: (one > 0).to(torch.uint8), grid, source)
    assert dice(between.array > 0) > 0.97 > dice(nearest) + 0.02


def test_an_orientation_with_axes_in_another_order_is_refused():
    with pytest.raises(InputError, match="then A or P"):
        network_grid(Volume(np.zeros((4, 4, 4)), np.eye(4)), None, "SAR")
