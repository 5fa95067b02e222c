import sys
from pathlib import Path

import pytest

for package in ("torch", "transformers", "monai"):
    pytest.importorskip(package)

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parent.parent / "experts"),
]  # scripted; bundles, standins


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)
