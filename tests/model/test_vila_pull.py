"""Fetching a published checkpoint, against a hub of our own making."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import InputError, NotAvailableError
from attending.model.pull import pull_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "README.md": b"# model",
    "LICENSE": b"research only",
    "LLAMA3-LICENSE": b"llama",
    "llm/model-00001-of-00002.safetensors": b"weights",
    "llm/tokenizer.model": b"pieces",
    "vision_tower/config.json": b"{}",
    "mm_projector/model.safetensors": b"more",
    "trainer_state.json": b"not wanted",
    "llm/pytorch_model.bin": b"never wanted",
    "../escape.json": b"never wanted",
}


class Hub:
    """What the hub's client gives."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.files = dict(FILES)
        self.asked: list[tuple[str, str | None]] = []
        patch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=self.info))
        patch.setattr(huggingface_hub, "hf_hub_download", self.download)

    def info(self, repository: str, revision: str | None, **_: Any) -> Any:
        self.asked.append((repository, revision))
        siblings = []
        for name, content in FILES.items():
            large = name.endswith("safetensors")
            lfs = SimpleNamespace(sha256=hashlib.sha256(content).hexdigest()) if large else None
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            siblings.append(SimpleNamespace(rfilename=name, lfs=lfs, blob_id=blob))
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def download(self, _repository: str, name: str, revision: str, local_dir: Path) -> str:
        assert revision == COMMIT, "every file comes from the one commit"
        path = Path(local_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[name])
        return str(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def test_what_is_needed_comes_checked_from_one_commit(hub: Hub, tmp_path: Path) -> None:
    out = pull_checkpoint("Llama3-VILA-M3-8B", tmp_path / "out", COMMIT)
    assert hub.asked == [("MONAI/Llama3-VILA-M3-8B", COMMIT)]
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {name for name, content in FILES.items() if b"wanted" not in content} | {"SOURCE"}
    assert (out / "SOURCE").read_text() == f"MONAI/Llama3-VILA-M3-8B {COMMIT}\n"


@pytest.mark.parametrize("name", ["llm/model-00001-of-00002.safetensors", "config.json"])
def test_a_damaged_file_leaves_nothing_behind(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files[name] = b"other"
    with pytest.raises(NotAvailableError, match=rf"{Path(name).name} arrived damaged: expected [0-9a-f]+, found"):
        pull_checkpoint("llama3-vila-m3-3b", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_a_hub_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=offline))
    ran = CliRunner().invoke(app, ["model", "pull", "llama3-vila-m3-13b", str(tmp_path / "out")])
    assert isinstance(ran.exception, NotAvailableError)
    assert "cannot be reached for MONAI/Llama3-VILA-M3-13B" in str(ran.exception)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name is gpt: expected one of llama3-vila-m3-3b"):
        pull_checkpoint("gpt", tmp_path / "out")
    with pytest.raises(InputError, match="revision is main: expected a commit hash"):
        pull_checkpoint("llama3-vila-m3-3b", tmp_path / "out", "main")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="does not exist yet or is empty"):
        pull_checkpoint("llama3-vila-m3-3b", tmp_path)
