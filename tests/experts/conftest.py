import sys
from pathlib import Path

import pytest

for package in ("torch", "monai", "scipy"):
    pytest.importorskip(package)

sys.path.insert(0, str(Path(__file__).parent))  # bundles, standins


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)
