"""Bundles in MONAI's format are read as data; what they say is never run, and what does not fit is named."""

import json
import pickle

import monai.transforms
import numpy as np
import pytest
import torch
from bundles import BRATS, SEGRESNET, VISTA3D, brats_bundle, vista3d_bundle, write_bundle
from monai.networks.nets import SegResNet, vista3d132

from attending.errors import InputError
from attending.experts.bundle import missing_for, read_bundle, weights_hash


def test_the_network_of_a_bundle_has_its_weights(tmp_path):
    bundle = read_bundle(brats_bundle(tmp_path / "b"))
    network = bundle.network()
    torch.manual_seed(0)
    want = SegResNet(**{k: v for k, v in SEGRESNET.items() if k[0] != "_"})
    for name, tensor in want.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_network_written_as_a_call_is_built_without_running_it(tmp_path):
    network = read_bundle(vista3d_bundle(tmp_path / "b")).network()
    assert network.image_encoder.encoder.conv_init.out_channels == 8
    assert not (tmp_path / "ran").exists()


def test_arguments_of_a_call_may_be_tuples_and_references(tmp_path):
    arguments = "blocks_down=(1, 1), blocks_up=[1], init_filters=8, in_channels=@four, out_channels=3"
    call = f"$monai.networks.nets.SegResNet({arguments})"
    network = read_bundle(brats_bundle(tmp_path / "b", network_def=call, four=4)).network()
    assert network.convInit.conv.in_channels == 4


def test_the_recipe_is_that_of_the_config(tmp_path):
    recipe = read_bundle(vista3d_bundle(tmp_path / "v")).recipe()
    assert (recipe.spacing, recipe.orientation) == ((1.5, 1.5, 1.5), "RAS")
    assert (recipe.roi, recipe.overlap, recipe.padding) == ((32, 32, 32), 0.3, "constant")
    image = torch.tensor([-2000.0, 44.93, 2000.0]).reshape(1, 3, 1, 1)
    assert recipe.scale(image).ravel().tolist() == pytest.approx([0, 0.5, 1])
    recipe = read_bundle(brats_bundle(tmp_path / "b")).recipe()
    assert (recipe.spacing, recipe.orientation) == (None, None)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (4, 6, 6, 6)).astype(np.float32))
    want = monai.transforms.NormalizeIntensity(nonzero=True, channel_wise=True)(image.clone())
    assert torch.equal(recipe.scale(image), torch.as_tensor(want))


def test_yaml_configs_and_padding_are_read(tmp_path):
    import yaml

    config = BRATS | {"inferer": {"roi_size": 64, "padding_mode": "replicate"}}
    folder = write_bundle(tmp_path / "b", config, torch.nn.Identity())
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    recipe = read_bundle(folder).recipe()
    assert (recipe.roi, recipe.overlap, recipe.padding) == ((64, 64, 64), 0.25, "replicate")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network_def": {"_target_": "os.system", "command": "touch ran"}}, "network of monai.networks.nets"),
        ({"network_def": "$__import__('os').system('touch ran')"}, "keyword arguments"),
        ({"network_def": "$os.system(command='touch ran')"}, "network of monai.networks.nets"),
        ({"network_def": "$monai.networks.nets.SegResNet(in_channels=__import__('os').getpid())"}, "not run"),
        ({"network_def": "$scripts.networks.Own"}, "expected a network with"),
        ({"network_def": "$SegResNet(" * 5000}, "expected a network with"),
        ({"network_def": SEGRESNET | {"init_filters": "$print('ran')"}}, "not run; write the value"),
        ({"network_def": SEGRESNET | {"init_filters": "@nowhere"}}, "not in the config"),
        ({"network_def": SEGRESNET | {"init_filters": "@a"}, "a": "@b", "b": "@a"}, "refers to itself"),
        ({"network_def": SEGRESNET | {"wrong": 1}}, "cannot be built"),
        ({"network_def": SEGRESNET | {"init_filters": 16}}, "does not fit the network"),
    ],
)
def test_a_network_that_cannot_be_had_safely_is_refused_and_nothing_runs(tmp_path, monkeypatch, change, says):
    monkeypatch.chdir(tmp_path)
    bundle = read_bundle(brats_bundle(tmp_path / "b", **change))
    with pytest.raises(InputError, match=says):
        bundle.network()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"preprocessing": {"transforms": [{"_target_": "HistogramNormalized", "keys": "image"}]}}, "not known"),
        ({"inferer": {"roi_size": [8, 8]}}, "three sides"),
        ({"inferer": {"roi_size": [4, 64, 64]}}, "three sides"),
        ({"inferer": {"overlap": 1.0}}, "below 1"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        read_bundle(brats_bundle(tmp_path / "b", **change)).recipe()


class Attack:
    def __reduce__(self):
        import os

        return os.mkdir, ("ran",)


@pytest.mark.parametrize("damage", ["pickle", "truncated", "safetensors", "missing", "not a state"])
def test_weights_that_are_hostile_or_damaged_are_refused(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    network = SegResNet(**{k: v for k, v in SEGRESNET.items() if k[0] != "_"})
    folder = write_bundle(tmp_path / "b", BRATS, network)
    path = folder / "models" / "model.pt"
    if damage == "pickle":
        path.write_bytes(pickle.dumps(Attack()))
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "safetensors":
        (folder / "models" / "model.safetensors").write_bytes(b"\xff" * 64)
    elif damage == "missing":
        path.unlink()
    else:
        torch.save([1, 2], path)
    with pytest.raises(InputError, match="model"):
        read_bundle(folder).network()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "[" * 100_000])
def test_a_config_that_is_no_table_is_refused(tmp_path, text):
    folder = brats_bundle(tmp_path / "b")
    (folder / "configs" / "inference.json").write_text(text)
    with pytest.raises(InputError, match=r"inference\.json"):
        read_bundle(folder)


def test_a_folder_that_is_no_bundle_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"configs/inference\.json"):
        read_bundle(tmp_path)
    assert "attending experts pull vista3d" in missing_for(tmp_path, "vista3d")
    own = missing_for(tmp_path / "spleen_ct")
    assert "copy the MONAI bundle spleen_ct there" in own
    assert "pull" not in own


def test_the_hash_follows_the_file(tmp_path):
    folder = brats_bundle(tmp_path / "b")
    path = read_bundle(folder).weights_file
    import hashlib

    assert weights_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"other")
    assert weights_hash(path) == hashlib.sha256(b"other").hexdigest()


def test_vista3ds_own_network_loads_strictly(tmp_path):
    folder = write_bundle(tmp_path / "b", VISTA3D, vista3d132(encoder_embed_dim=16))
    with pytest.raises(InputError, match="does not fit"):
        read_bundle(folder).network()
    assert json.loads((folder / "configs" / "inference.json").read_text())["run"]
