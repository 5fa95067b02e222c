"""A run that was stopped goes on as if it had not been: to the bit, after a kill, with a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toys import stage, table

import attending.training.checkpoint as checkpoints
from attending.errors import InputError, NotAvailableError
from attending.training.fields import build
from attending.training.logs import read_log
from attending.training.recipe import Recipe
from attending.training.run import train

LORA = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.3}, "rates": {"projector": 1e-3, "language_model": 1e-3}}


class StoppedError(Exception):
    pass


def run(recipe: Recipe, out: Path, stop: int = 0) -> Path:
    def tick(told: object) -> None:
        if getattr(told, "step", 0) == stop:
            raise StoppedError

    return train(recipe, out, tick, lambda text: None)


def losses(out: Path) -> list[float]:
    return [one["loss"] for one in read_log(out / "log.jsonl")]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.parametrize("changes", [{}, LORA, {"objective": "siglip", "rates": {"vision_tower": 1e-3}}])
def test_a_stopped_run_goes_on_to_the_bit(data: Path, tmp_path: Path, changes: dict) -> None:
    recipe = build(Recipe, table(data, stage(steps=7, save_every=3, **changes), dtype="bfloat16"))
    run(recipe, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "cut", stop=5)
    run(recipe, tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "cut")) == 7
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_run_goes_on_in_its_second_stage(data: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage("one", steps=2), stage("two", steps=4)))
    run(recipe, tmp_path / "whole")
    seen = []

    def tick(told: object) -> None:
        seen.append((told.stage, told.step))
        if seen[-1] == ("two", 3):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "cut", tick, lambda text: None)
    seen.clear()
    train(recipe, tmp_path / "cut", lambda told: seen.append((told.stage, told.step)), lambda text: None)
    assert seen == [("two", 3), ("two", 4)], "what was done is not done again"
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_after_kill_9_the_loss_is_the_same_to_the_bit(data: Path, tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(table(data, stage(steps=40, save_every=5, batch=8))))
    command = [sys.executable, "-m", "attending", "train", str(path), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([*command, str(tmp_path / "cut")], env=environment, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not list((tmp_path / "cut").glob("1-tune/checkpoint-*")):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = len(losses(tmp_path / "cut"))
    assert 5 <= done < 40, "it was killed on the way"
    recipe = build(Recipe, yaml.safe_load(path.read_text()))
    run(recipe, tmp_path / "cut")
    run(recipe, tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_full_disk_is_named_and_the_last_checkpoint_stays_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = build(Recipe, table(data, stage(steps=6, save_every=2)))
    write = checkpoints.write_tensors
    count = 0

    def full(tensors: object, path: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(checkpoints, "write_tensors", full)
    with pytest.raises(NotAvailableError, match=r"checkpoint-000004.*No space left.*checkpoint-000002"):
        run(recipe, tmp_path / "cut")
    folder = tmp_path / "cut" / "1-tune"
    assert [one.name for one in folder.iterdir()] == ["checkpoint-000002"]
    assert checkpoints.is_whole(folder / "checkpoint-000002")
    run(recipe, tmp_path / "cut")
    run(recipe, tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_full_disk_at_the_end_leaves_no_half_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import attending.training.parts as parts

    recipe = build(Recipe, table(data, stage(steps=3, save_every=2)))
    write = parts.write_model

    def full(model: object, processor: object, folder: Path) -> None:
        if "1-tune" in str(folder):
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(model, processor, folder)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_model", full)
        with pytest.raises(NotAvailableError, match="No space left"):
            run(recipe, tmp_path / "out")
    assert [one.name for one in (tmp_path / "out" / "1-tune").iterdir()] == ["checkpoint-000002"]
    run(recipe, tmp_path / "out")
    assert weights(tmp_path / "out")


def test_a_damaged_checkpoint_is_passed_over(data: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage(steps=5, save_every=2)))
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "cut", stop=3)
    folder = tmp_path / "cut" / "1-tune"
    newer = folder / "checkpoint-000004"
    newer.mkdir()
    good = folder / "checkpoint-000002"
    for file in good.iterdir():
        (newer / file.name).write_bytes(file.read_bytes()[:-5])
    assert checkpoints.latest(folder) == good


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed is 1: this folder holds a run with another value"),
        ({"stages": [stage(steps=9)]}, r"stages\.0\.steps is 9"),
    ],
)
def test_another_recipe_does_not_go_on_in_the_folder(data: Path, tmp_path: Path, change: dict, words: str) -> None:
    run(build(Recipe, table(data, stage(steps=1))), tmp_path)
    with pytest.raises(InputError, match=words):
        run(build(Recipe, table(data, stage(steps=1)) | change), tmp_path)


def test_two_runs_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage(steps=2)))

    def tick(told: object) -> None:
        run(recipe, tmp_path)

    with pytest.raises(NotAvailableError, match="another run is at work here"):
        train(recipe, tmp_path, tick, lambda text: None)


def test_a_finished_run_says_where_its_model_is_and_trains_nothing(data: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage(steps=2)))
    first = run(recipe, tmp_path)
    assert run(recipe, tmp_path, stop=1) == first
    assert json.loads((tmp_path / "recipe.json").read_text())["name"] == "toy"
