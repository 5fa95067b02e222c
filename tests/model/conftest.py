"""Checkpoints made once for all tests of the model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vila_checkpoints import write_published

from attending.model import LocalModel, import_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a checkpoint in the published layout; see `write_published`."""

    def make(tokenizer: str = "llama", **settings: object) -> Path:
        folder = tmp_path_factory.mktemp("published")
        return write_published(folder, tokenizer, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def published(make_published: Callable[..., Path]) -> dict[str, Path]:
    return {name: make_published(name) for name in ("llama", "vicuna")}


@pytest.fixture(scope="session")
def imported(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: import_checkpoint(path, tmp_path_factory.mktemp("imported") / name) for name, path in published.items()
    }


@pytest.fixture(scope="session")
def local(imported: dict[str, Path]) -> LocalModel:
    return LocalModel.load(imported["llama"])
