"""Run one expert on 256 x 256 x 128 voxels with a network of the published size; print the peak memory in bytes."""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bundles import BRATS, VISTA3D, oblique, series_of, study_of, write_bundle
from monai.networks.nets import SegResNet, vista3d132

from attending.experts import run_expert
from attending.experts.brats import Brats
from attending.experts.vista3d import Vista3D


def main(which: str, structures: str) -> None:
    shape = (256, 256, 128)
    folder = Path(tempfile.mkdtemp())
    values = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
    if which == "vista3d":
        affine = oblique((1.5, 1.5, 1.5))
        config = VISTA3D | {"network_def": "$monai.networks.nets.vista3d132()", "patch_size": [128, 128, 128]}
        expert = Vista3D(write_bundle(folder / "b", config, vista3d132()))
        study, arguments = study_of(series_of(values, affine)), {"structures": structures}
    else:
        affine = oblique((1, 1, 1))
        network = {"blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1], "init_filters": 16, "in_channels": 4,
                   "out_channels": 3, "dropout_prob": 0.2}  # fmt: skip
        inferer = BRATS["inferer"] | {"roi_size": [240, 240, 160]}
        config = BRATS | {"network_def": {"_target_": "SegResNet", **network}, "inferer": inferer}
        expert = Brats(write_bundle(folder / "b", config, SegResNet(**network)))
        study = study_of(*(series_of(values, affine, "MR", role, sequence=role) for role in expert.card.sequences))
        arguments = {}
    began = time.monotonic()
    finding = run_expert(expert, study, arguments, seconds=3000)
    assert finding.status == "done", finding.text
    took = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{peak / 1e6:.0f} MB, {took:.0f} s, window {finding.record.settings['window']}", file=sys.stderr)
    print(peak)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
