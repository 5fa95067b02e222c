"""The loop: fit, validate, save; the same for a language model, a tower and an expert."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from attending.errors import InputError
from attending.training import checkpoint
from attending.training.feed import Feed
from attending.training.logs import Journal
from attending.training.parallel import World, fold, whole
from attending.training.schedule import rate_factor


class Micro(Protocol):
    """What one forward pass takes."""

    @property
    def count(self) -> int:
        """Units that the loss of this pass is a sum over: tokens, pairs or images."""

    @property
    def samples(self) -> int:
        """Conversations or images in it."""

    @property
    def tokens(self) -> int:
        """Tokens in it, padding not counted; 0 where there are none."""


class Work(Protocol):
    """What a stage trains, and on what."""

    @property
    def module(self) -> nn.Module:
        """Called with one micro-batch, it returns the sum of the loss over the micro-batch's units."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer: `params`, `lr`, `weight_decay`, `name`."""

    def prepare(self, step: int) -> Sequence[Micro]:
        """This process's micro-batches of a step; called from other threads, ahead of time."""

    def blank(self) -> Micro:
        """A micro-batch of which nothing is learned: with it processes that have fewer keep step with the others."""

    def held_out(self) -> Sequence[Micro]:
        """This process's micro-batches that the loss is measured on; empty for none."""


@dataclass(frozen=True)
class Schedule:
    """How long and how a stage trains; see `attending.training.recipe.Stage`."""

    name: str
    steps: int
    warmup: float
    clip: float
    evaluate_every: int
    save_every: int
    seed: int
    dtype: str


@dataclass(frozen=True)
class Progress:
    """Told after every step."""

    stage: str
    step: int
    steps: int
    loss: float
    left: float
    """Seconds, as far as can be told."""
    samples: float
    """Conversations or images a second, since the stage began or went on."""
    tokens: float
    """Tokens a second."""


Tick = Callable[[Progress], None]


def fit(work: Work, schedule: Schedule, folder: Path, world: World, journal: Journal, tick: Tick) -> None:
    """Train from the latest checkpoint in `folder`, or from the start, to the last step.

    Each step's loss is the mean over all its units, of every micro-batch and every process.

    Raises:
        InputError: The loss is no longer a number; the checkpoint before it stays.
        NotAvailableError: A checkpoint cannot be written.
    """
    torch.manual_seed(schedule.seed * 1000 + world.rank)
    optimizer = torch.optim.AdamW(work.groups(), fused=True)
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    facts = {"stage": schedule.name, "steps": schedule.steps, "seed": schedule.seed, "dtype": schedule.dtype}
    found = checkpoint.latest(folder)
    world.wait()
    first = checkpoint.load(found, work.module, optimizer, world, facts) if found else 0
    facts["whole"] = [name for name, _ in work.module.named_buffers()]
    feed = Feed(work.prepare, first, schedule.steps)
    began, samples, tokens = time.perf_counter(), 0.0, 0.0
    with journal.stage(schedule.name, first):
        for step, batch in enumerate(feed, first):
            factor = rate_factor(step, schedule.steps, schedule.warmup)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            units = world.total(sum(one.count for one in batch))
            loss = _backward(work, batch, units, schedule, world)
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss of step {step + 1} is no number; lower the rates, or lengthen the warmup",
                    path=folder,
                    field="loss",
                    value=loss,
                )
            norm = float(whole(nn.utils.clip_grad_norm_(parameters, schedule.clip)))
            optimizer.step()
            optimizer.zero_grad()
            samples += world.total(sum(one.samples for one in batch))
            tokens += world.total(sum(one.tokens for one in batch))
            passed, done = time.perf_counter() - began, step + 1
            entry = {"stage": schedule.name, "step": done, "loss": loss, "norm": norm, "factor": factor, "units": units}
            entry |= {"seconds": round(passed, 3), "waited": round(feed.waited, 3)}
            if done % schedule.evaluate_every == 0 or done == schedule.steps:
                entry |= validate(work, schedule, world)
            journal.add(entry)
            left = passed / (done - first) * (schedule.steps - done)
            tick(Progress(schedule.name, done, schedule.steps, loss, left, samples / passed, tokens / passed))
            if done % schedule.save_every == 0 and done < schedule.steps:
                checkpoint.save(folder, done, work.module, optimizer, world, facts)


def _backward(work: Work, batch: Sequence[Micro], units: float, schedule: Schedule, world: World) -> float:
    """Add up the gradients of all micro-batches; returns the loss over all processes."""
    work.module.train()
    passes = int(world.greatest(len(batch)))
    summed = 0.0
    for number in range(passes):
        micro = batch[number] if number < len(batch) else work.blank()
        with precision(schedule.dtype, world):
            loss = work.module(micro)
        # FSDP takes the mean over processes of what are parts of a sum.
        (loss * (world.size / units)).backward()
        summed += loss.item()
    return world.total(summed) / units


@torch.no_grad()
def validate(work: Work, schedule: Schedule, world: World) -> dict[str, float]:
    """The mean loss over what is held out, as `{"held_out": loss}`; empty where nothing is."""
    batches = work.held_out()
    passes = int(world.greatest(len(batches)))
    if not passes:
        return {}
    work.module.eval()
    summed = 0.0
    for number in range(passes):
        with precision(schedule.dtype, world):
            summed += float(work.module(batches[number] if number < len(batches) else work.blank()))
    fold(work.module)
    units = world.total(sum(one.count for one in batches))
    return {"held_out": world.total(summed) / units}


def precision(dtype: str, world: World) -> torch.autocast:
    """Compute in bfloat16 where it is safe, or leave all in float32."""
    return torch.autocast(world.device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def decayed(named: Sequence[tuple[str, nn.Parameter]], rate: float, decay: float, name: str) -> list[dict[str, Any]]:
    """Two groups: matrices, which decay, and biases and norms, which do not."""
    matrices = [one for _, one in named if one.ndim >= 2]
    others = [one for _, one in named if one.ndim < 2]
    groups = [(matrices, decay), (others, 0.0)]
    return [{"params": some, "lr": rate, "weight_decay": by, "name": name} for some, by in groups if some]
