"""Tiny bundles in MONAI's own format, and studies to run them on. Their networks know nothing: for tests alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DenseNet, SegResNet, vista3d132

from attending.imaging import Series, Study, Volume

# As in the published bundle vista3d, but for the width of the network and the window.
VISTA3D = {
    "imports": ["$import os", "$import scripts"],
    "bundle_root": "./",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "image_key": "image",
    "input_channels": 1,
    "resample_spacing": [1.5, 1.5, 1.5],
    "patch_size": [32, 32, 32],
    "network_def": "$monai.networks.nets.vista3d132(encoder_embed_dim=8, in_channels=@input_channels)",
    "network": "$@network_def.to(@device)",
    "preprocessing_transforms": [
        {"_target_": "LoadImaged", "keys": "@image_key", "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
        {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@resample_spacing", "mode": "bilinear"},
        {"_target_": "CropForegroundd", "keys": "@image_key", "allow_smaller": True, "margin": 10},
        {"_target_": "monai.apps.vista3d.transforms.VistaPreTransformd", "keys": "@image_key"},
        {"_target_": "ScaleIntensityRanged", "keys": "@image_key", "a_min": -963.82, "a_max": 1053.68, "b_min": 0,
         "b_max": 1, "clip": True},
        {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    ],
    "preprocessing": {"_target_": "Compose", "transforms": "$@preprocessing_transforms "},
    "inferer": {"_target_": "scripts.inferer.Vista3dInferer", "roi_size": "@patch_size", "overlap": 0.3},
    "run": ["$os.system('touch ran')"],
}  # fmt: skip
SEGRESNET = {"_target_": "SegResNet", "blocks_down": [1, 1], "blocks_up": [1], "init_filters": 8, "in_channels": 4,
             "out_channels": 3, "dropout_prob": 0.2}  # fmt: skip
BRATS = {
    "imports": ["$import glob"],
    "network_def": SEGRESNET,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [64, 64, 32], "sw_batch_size": 1, "overlap": 0.5},
}


def write_bundle(folder: Path, config: dict, network: torch.nn.Module, safetensors: bool = False, **metadata) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps({"version": "0.0.1", **metadata}))
    if safetensors:
        from safetensors.torch import save_file

        state = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
        save_file(state, folder / "models" / "model.safetensors")
    else:
        torch.save({"model": network.state_dict()}, folder / "models" / "model.pt")
    return folder


def vista3d_bundle(folder: Path, **changes) -> Path:
    """VISTA3D-shaped, random weights."""
    torch.manual_seed(0)
    return write_bundle(folder, VISTA3D | changes, vista3d132(encoder_embed_dim=8))


def brats_bundle(folder: Path, **changes) -> Path:
    """SegResNet-shaped, random weights."""
    torch.manual_seed(0)
    arguments = {k: v for k, v in SEGRESNET.items() if k[0] != "_"}
    return write_bundle(folder, BRATS | changes, SegResNet(**arguments), safetensors=True)


FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Fracture", "Nodule", "Pneumothorax")
_SMALL = {"blocks_down": [1, 1], "blocks_up": [1], "init_filters": 8}
_DENSENET = {
    "spatial_dims": 2, "in_channels": 1, "out_channels": 8, "init_features": 8, "growth_rate": 4, "block_config": [1, 1]
}  # fmt: skip


def embedded_bundles(root: Path, **chest) -> Path:
    """Folders as those of the embedded experts, with random weights in float16 whose SHA-256 the metadata keeps."""
    torch.manual_seed(0)
    window = {"roi_size": [32, 32, 32], "overlap": 0.25}
    for name, inputs, outputs in (("torso", 1, 15), ("brain", 4, 3)):
        arguments = _SMALL | {"in_channels": inputs, "out_channels": outputs}
        steps = [
            {"_target_": "Orientationd", "axcodes": "RAS"},
            {"_target_": "Spacingd", "pixdim": [1.5, 1.5, 1.5]},
            {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True},
        ]
        config = {
            "network_def": {"_target_": "SegResNet", **arguments},
            "preprocessing": {"transforms": steps if name == "brain" else []},
            "inferer": window,
        }
        _kept(write_bundle(root / name, config, SegResNet(**arguments).half(), safetensors=True))
    config = {
        "network_def": {"_target_": "DenseNet", **_DENSENET},
        "preprocessing": {"transforms": [{"_target_": "ScaleIntensityd", "minv": -1, "maxv": 1}]},
    }
    outputs = {"outputs": {"pred": {"channel_def": {str(i): name for i, name in enumerate(FINDINGS)}}}}
    facts = {"network_data_format": outputs, "input_size": [48, 40]} | chest
    _kept(write_bundle(root / "chest", config, DenseNet(**_DENSENET).half(), safetensors=True, **facts))
    return root


def _kept(folder: Path) -> None:
    path = folder / "configs" / "metadata.json"
    digest = hashlib.sha256((folder / "models" / "model.safetensors").read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": digest}))


class Levels(torch.nn.Module):
    """A network that takes the grey level of its first input for the label, and keeps what it was shown."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels, self.seen = labels, []

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        self.seen.append(window.clone())
        levels = window[:, 0].round().long().clamp(0, self.labels - 1)
        return torch.nn.functional.one_hot(levels, self.labels).movedim(-1, 1).float()


def bright(network: SegResNet, channels: int = 1, level: float = 1.0) -> SegResNet:
    """Make a SegResNet answer yes where its first input is `level` standard deviations above the window's mean."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.convInit.conv.weight[0, 0, 1, 1, 1] = 1.0  # its first feature is the first input
        norm, conv = network.conv_final[0], network.conv_final[2].conv
        norm.weight.fill_(1.0)
        conv.weight[-channels:, 0] = 1.0
        conv.bias[-channels:] = -level
    return network


def series_of(array, affine, modality="CT", name="one", **facts) -> Series:
    volume = Volume(array, affine, modality, name)
    return Series(
        name, "volume", modality, volume.shape, volume.spacing, lambda series: volume, volume.orientation, **facts
    )


def study_of(*series: Series) -> Study:
    return Study(Path("made"), list(series))


def oblique(spacing=(1.2, 1.2, 2.5), degrees=20.0) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-c, -s, 0], [s, -c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = (40, -20, 100)
    return affine


def ball(affine, shape, centre_voxel, radius_mm) -> np.ndarray:
    where = np.moveaxis(np.indices(shape), 0, -1) - np.array(centre_voxel)
    return np.linalg.norm(where @ affine[:3, :3].T, axis=-1) <= radius_mm
