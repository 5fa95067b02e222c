import sys
import threading
from pathlib import Path

import pytest

for package in ("torch", "monai", "scipy"):
    pytest.importorskip(package)

sys.path.insert(0, str(Path(__file__).parent))  # bundles, standins


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _experts_left_behind():
    """Wait for runs that were given up: they draw random numbers, for which the next test may have set the seed."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("expert "):
            thread.join(60)
