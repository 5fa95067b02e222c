"""Two processes under torchrun, with FSDP2, do what one does; their checkpoints become one ordinary folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from toys import stage, table

from attending.model import LocalModel
from attending.training.fields import build
from attending.training.logs import read_log
from attending.training.recipe import Recipe
from attending.training.run import export_checkpoint, train

STAGES = (
    stage("all", steps=5, save_every=2, batch=6, tokens=256, held_out=["more"], evaluate_every=5),
    stage("lora", steps=4, save_every=2, batch=6, rates={"projector": 1e-3, "language_model": 1e-3},
          lora={"rank": 4, "alpha": 8, "dropout": 0.0}),
)  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]


def both(data: Path, more: Path) -> dict:
    found = table(data, *STAGES)
    found["datasets"]["more"] = {"read": "llava", "folder": str(more)}
    return found


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toys import write_data

    return write_data(tmp_path_factory.mktemp("more"), 5, first=100, name="more")


def torchrun(recipe: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, "-m", "attending", "train", str(recipe), "--out", str(out), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_go_on_after_a_stop(data: Path, more: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(both(data, more)))
    recipe = build(Recipe, both(data, more))
    one = train(recipe, tmp_path / "one", lambda told: None, lambda text: None)
    done = torchrun(path, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 9
    for a, b in zip(*logs, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["norm"] == pytest.approx(a["norm"], rel=1e-3)
        assert b["units"] == a["units"]
        assert b.get("held_out", 0.0) == pytest.approx(a.get("held_out", 0.0), rel=1e-4)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-4, rtol=2e-3)
    assert LocalModel.load(one).model


STOPPED = """
import sys, torch, yaml
torch.set_num_threads(1)
from pathlib import Path
from attending.training.fields import build
from attending.training.recipe import Recipe
from attending.training.run import train
from attending.training.parallel import World
import attending.training.loop as loop
made = loop.validate
def stop(*arguments):
    raise SystemExit(9)
loop.validate = stop
train(build(Recipe, yaml.safe_load(Path(sys.argv[1]).read_text())), Path(sys.argv[2]), lambda told: None, print)
"""


@pytest.mark.slow
def test_sharded_checkpoints_resume_and_merge(data: Path, more: Path, tmp_path: Path) -> None:
    path, script = tmp_path / "recipe.yaml", tmp_path / "stopped.py"
    path.write_text(yaml.safe_dump(both(data, more)))
    script.write_text(STOPPED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [str(script), str(path), str(tmp_path / "two")]
    subprocess.run([*TORCHRUN, *arguments], capture_output=True, timeout=300, env=environment, check=False)
    folder = tmp_path / "two" / "1-all" / "checkpoint-000004"
    assert sorted(one.name for one in folder.glob("*.safetensors")) == [
        "rank-00000.safetensors",
        "rank-00001.safetensors",
    ]
    recipe = build(Recipe, both(data, more))
    merged = export_checkpoint(recipe, tmp_path / "two", tmp_path / "merged")
    from attending.errors import InputError

    with pytest.raises(InputError, match="world is 1: the checkpoint is of 2"):
        train(recipe, tmp_path / "two", lambda told: None, lambda text: None)
    # What one process has after as many steps.
    stopped: list[Path] = []

    def tick(told: object) -> None:
        if told.step == 4 and told.stage == "all":  # type: ignore[attr-defined]
            stopped.append(tmp_path)

    train(recipe, tmp_path / "one", tick, lambda text: None)
    done = torchrun(path, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all 5/5" in done.stderr
    assert "all 1/5" not in done.stderr
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
    start = load_file(tmp_path / "two" / "start" / "model.safetensors")
    end = load_file(tmp_path / "two" / "1-all" / "model" / "model.safetensors")
    for name, value in load_file(merged / "model.safetensors").items():
        assert value.shape == start[name].shape
        # One more step of a rate that has nearly run out moves it little; from the start it has come far.
        assert (value - end[name]).abs().max() < (value - start[name]).abs().max() or value.numel() < 40
    assert LocalModel.load(merged).model
