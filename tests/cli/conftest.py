import sys
from pathlib import Path

import pytest

for package in ("torch", "transformers", "monai"):
    pytest.importorskip(package)

# scripted, chat_server; bundles; vila_checkpoints
sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("consult", "experts", "model")]


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)
