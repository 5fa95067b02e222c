"""Toy runs made once for all tests of training."""

from pathlib import Path

import pytest
import torch
from toys import write_data

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), 24)
