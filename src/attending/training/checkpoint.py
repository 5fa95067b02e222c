"""Checkpoints: everything that a run needs to go on as if it had never stopped, in safetensors and JSON, no pickles.

`checkpoint-000100/` holds for each process its rows of the trained weights and of the optimizer's state, its random
state and where it stands. It is written under another name, brought to the disk, then renamed; the one before is
removed only afterwards. So whatever happens, one whole checkpoint remains.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from attending.errors import InputError, NotAvailableError
from attending.training.parallel import World, local

_PARTIAL = ".partial-"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def trained(module: nn.Module) -> dict[str, torch.Tensor]:
    """By name, the parameters that are trained and the buffers that belong to the state."""
    found = {name: one for name, one in module.named_parameters() if one.requires_grad}
    kept = set(module.state_dict(keep_vars=True))
    return found | {name: one for name, one in module.named_buffers() if name in kept}


def save(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    world: World,
    facts: Mapping[str, Any],
) -> Path:
    """Write the state after `step` steps to `folder/checkpoint-<step>`.

    Args:
        folder: Of the stage.
        step: Steps done.
        module: What is trained.
        optimizer: AdamW.
        world: All processes must call.
        facts: Plain JSON values: what must agree when the run goes on.

    Raises:
        NotAvailableError: It cannot be written, for lack of space or otherwise; nothing is left of it, and what was
            there stays.
    """
    goal = folder / f"checkpoint-{step:06}"
    aside = folder / f"{_PARTIAL}{goal.name}"
    problem = ""
    if world.first:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    world.wait()
    try:
        tensors = _state(module, optimizer)
        write_tensors(tensors, aside / f"rank-{world.rank:05}.safetensors")
        told = {**facts, "step": step, "world": world.size}
        write_text(aside / f"rank-{world.rank:05}.json", json.dumps(told, indent=1) + "\n")
    except (OSError, SafetensorError) as error:
        problem = str(error)
    failed = world.greatest(float(bool(problem)))
    if world.first and not failed:
        shutil.rmtree(goal, ignore_errors=True)  # of a run that went further before
        aside.rename(goal)
        _sync(folder)
        for old in found(folder)[1:]:
            shutil.rmtree(old, ignore_errors=True)
    elif world.first:
        shutil.rmtree(aside, ignore_errors=True)
    world.wait()
    if failed:
        last = next(iter(found(folder)), None)
        whole = f"the last checkpoint is whole: {last}" if last else "there is none before it"
        needed = sum(one.nbytes for one in _state(module, optimizer).values()) / 1e9
        free = shutil.disk_usage(folder).free / 1e9
        raise NotAvailableError(
            f"{goal}: the checkpoint cannot be written ({problem or 'on another process'}); it takes {needed:.2f} GB, "
            f"{free:.2f} GB are free; {whole}. Free some space and run the same command again"
        )
    return goal


def _state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """This process's part of the state, on the CPU."""
    found = {f"model.{name}": one for name, one in trained(module).items()}
    for name, one in module.named_parameters():
        moments = optimizer.state.get(one, {})
        found |= {f"{key}.{name}": moments[key] for key in _MOMENTS if key in moments}
    found = {name: local(one.detach()).cpu().contiguous() for name, one in found.items()}
    found["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a stage that is whole; what a killed run left half written is removed."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    return next((one for one in found(folder) if is_whole(one)), None)


def found(folder: Path) -> list[Path]:
    """The checkpoints of a stage, the newest first."""
    return sorted(folder.glob("checkpoint-*"), reverse=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether all its files are there and as long as their headers say."""
    from attending.model.weights import read_header, read_json

    try:
        world = read_json(checkpoint / "rank-00000.json")["world"]
        for rank in range(world):
            read_json(checkpoint / f"rank-{rank:05}.json")
            read_header(checkpoint / f"rank-{rank:05}.safetensors")
    except (InputError, KeyError, TypeError):
        return False
    return True


def load(
    checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer, world: World, facts: Mapping[str, Any]
) -> int:
    """Bring a run to where the checkpoint was written, to the bit; returns the steps done.

    Raises:
        InputError: It is of another recipe, another number of processes, or other weights.
    """
    from attending.model.weights import read_json

    told = read_json(checkpoint / f"rank-{min(world.rank, _world(checkpoint) - 1):05}.json")
    for name, value in {**facts, "world": world.size}.items():
        if told.get(name) != value:
            raise InputError(
                f"the checkpoint is of {told.get(name)}; use the same, or another --out",
                path=checkpoint,
                field=name,
                value=value,
            )
    tensors = load_file(checkpoint / f"rank-{world.rank:05}.safetensors")
    current = trained(module)
    missing = sorted({f"model.{name}" for name in current} - set(tensors))
    if missing:
        raise InputError("the model needs this tensor, the checkpoint lacks it", path=checkpoint, field=missing[0])
    with torch.no_grad():
        for name, one in current.items():
            _fill(one, tensors[f"model.{name}"], checkpoint, name)
        for name, one in module.named_parameters():
            if f"exp_avg.{name}" not in tensors:
                continue
            state: dict[str, torch.Tensor] = {"step": torch.tensor(float(told["step"]), device=_step_device(one))}
            for key in _MOMENTS:
                state[key] = torch.zeros_like(one)
                _fill(state[key], tensors[f"{key}.{name}"], checkpoint, name)
            optimizer.state[one] = state
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return int(told["step"])


def _fill(target: torch.Tensor, value: torch.Tensor, checkpoint: Path, name: str) -> None:
    mine = local(target)
    if mine.shape != value.shape:
        shapes = f"the model has {list(mine.shape)}, the checkpoint {list(value.shape)}"
        raise InputError(shapes, path=checkpoint, field=name)
    mine.copy_(value)


def _step_device(parameter: torch.Tensor) -> torch.device:
    """Where fused AdamW keeps its count: with the parameter."""
    return local(parameter).device


def _world(checkpoint: Path) -> int:
    from attending.model.weights import read_json

    world = read_json(checkpoint / "rank-00000.json").get("world")
    if type(world) is not int or world < 1:
        raise InputError("expected a positive whole number", path=checkpoint, field="world", value=world)
    return world


def merged(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The trained weights of a checkpoint, the rows of all processes put together."""
    files = [checkpoint / f"rank-{rank:05}.safetensors" for rank in range(_world(checkpoint))]
    found: dict[str, torch.Tensor] = {}
    with safe_open(files[0], "pt") as first:
        names = [name for name in first.keys() if name.startswith("model.")]  # noqa: SIM118 (no mapping)
    shards = [load_file(file) for file in files]
    buffers = set(json.loads((checkpoint / "rank-00000.json").read_text()).get("whole", []))
    for name in names:
        short = name.removeprefix("model.")
        rows = [one[name] for one in shards]
        found[short] = rows[0] if short in buffers or len(rows) == 1 else torch.cat(rows)
    return found


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write safetensors and bring them to the disk."""
    save_file(dict(tensors), path)
    _sync(path)


def write_text(path: Path, text: str) -> None:
    """Replace a small file as a whole."""
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def remove(checkpoint: Path) -> None:
    """Remove one that is no longer needed."""
    shutil.rmtree(checkpoint, ignore_errors=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
