"""A run: what a recipe says, done in `--out`: setup, main, stage by stage, and on again after any interruption."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from attending.corpora.dataset import Dataset
from attending.errors import InputError, NotAvailableError
from attending.model.templates import mode
from attending.training import checkpoint
from attending.training.contrast import Contrast
from attending.training.data import check_all, mix, read_all, texts
from attending.training.language import Talk
from attending.training.logs import Journal
from attending.training.loop import Schedule, Tick, Work, fit
from attending.training.memory import available, least_memory
from attending.training.parallel import World, join, leave, whole
from attending.training.parts import count_parts, export, freeze, load_start, speak
from attending.training.recipe import CONTRASTIVE, Recipe, Stage
from attending.training.start import new_model, write_start

_FEATURES_SHARE = 4
"""One part in so many of the free memory may hold features of pictures."""


def setup(recipe: Recipe, tell: Callable[[str], None], kept: Path | None = None) -> tuple[dict[str, Dataset], Any, Any]:
    """Read the data and open the model to start from, without training anything.

    Args:
        recipe: The recipe.
        tell: Told what is being done.
        kept: See `read_all`.

    Returns:
        Datasets by name; model (without weights, on PyTorch's meta device, where it comes from a folder) and processor.

    Raises:
        InputError: Anything wrong with the data or the model.
    """
    datasets = read_all(recipe, tell, kept)
    if recipe.init.fresh is not None:
        tell("making the new model")
        model, processor = new_model(recipe.init.fresh, recipe.context, recipe.seed, texts(datasets))
    else:
        model, processor = _hollow(Path(str(recipe.init.model)).expanduser())
    limit = min(model.config.text_config.max_position_embeddings, processor.tokenizer.model_max_length)
    if recipe.context > limit:
        raise InputError(f"the model's context is {limit}", field="context", value=recipe.context)
    return datasets, model, processor


def _hollow(folder: Path) -> tuple[Any, Any]:
    """A folder's model without its weights, and its processor."""
    from transformers import AutoConfig, AutoProcessor

    from attending.model import VilaM3Config, VilaM3ForConditionalGeneration
    from attending.model.weights import read_folder, read_json

    if not folder.is_dir():
        raise InputError(
            "there is no such folder; a published checkpoint becomes one by: attending model import SOURCE FOLDER",
            path=folder,
            field="init.model",
        )
    read_json(folder / "config.json")
    read_folder(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as error:
        raise InputError(f"not a model that Transformers can load: {error}", path=folder) from error
    if not isinstance(config, VilaM3Config):
        raise InputError("expected a model of VILA-M3's architecture", path=folder, value=config.model_type)
    with torch.device("meta"):
        return VilaM3ForConditionalGeneration(config), processor


def stage_processors(recipe: Recipe, model: Any, processor: Any) -> dict[str, Any]:
    """By stage, a processor with its chat template."""
    from copy import copy

    found = {}
    for stage in spoken(recipe, model).stages:
        found[stage.name] = one = copy(processor)
        if stage.template is not None:
            one.chat_template = mode(stage.template).template
    return found


def spoken(recipe: Recipe, model: Any) -> Recipe:
    """The recipe with the template of every stage said.

    A stage that names none has the one that the recipe's own start has, not that of the stage before.
    """
    if all(stage.template is None for stage in recipe.stages):
        return recipe
    first = model.config.conversation_mode
    stages = [
        stage if stage.template or stage.objective in CONTRASTIVE else replace(stage, template=first)
        for stage in recipe.stages
    ]
    return replace(recipe, stages=tuple(stages))


def steps_of(recipe: Recipe, stage: Stage, datasets: Mapping[str, Dataset]) -> int:
    """How many steps a stage takes."""
    if stage.steps is not None:
        return stage.steps
    return max(1, math.ceil(len(mix(recipe, stage, datasets)) * float(stage.epochs or 0) / stage.batch))


def train(recipe: Recipe, out: Path, tick: Tick, tell: Callable[[str], None]) -> Path:
    """Run a recipe in `out`, or go on with it there.

    Args:
        recipe: What to do.
        out: Each stage gets a folder in it; `model` leads to the last one's model.
        tick: Told after every step, in the first process.
        tell: Told what is being done, likewise.

    Returns:
        The folder of the finished model.

    Raises:
        InputError: Anything wrong with recipe, data or model, before anything is trained; or `out` holds another run.
        NotAvailableError: Too little memory, no space on the disk, a package that is missing, or another run here.
    """
    world = join()
    try:
        with claimed(out, asdict(recipe), world):
            return main(recipe, out, world, tick, tell if world.first else lambda text: None)
    finally:
        leave(world)


@contextmanager
def claimed(out: Path, recipe: dict[str, Any], world: World) -> Iterator[None]:
    """Take hold of the output folder, for this recipe alone.

    Raises:
        InputError: It holds a run of another recipe; names the option that differs.
        NotAvailableError: It cannot be written to, or another run is at work in it.
    """
    if not world.first:
        world.wait()
        yield
        return
    told = json.loads(json.dumps(recipe))
    path = out / "recipe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise NotAvailableError(f"{out}: another run is at work here") from error
            if path.exists():
                from attending.model.weights import read_json

                differs = _difference(read_json(path), told, "")
                if differs:
                    raise InputError(
                        "this folder holds a run with another value; use that, or another --out",
                        path=out,
                        field=differs[0],
                        value=differs[1],
                    )
            else:
                checkpoint.write_text(path, json.dumps(told, indent=1) + "\n")
            world.wait()
            yield
    except OSError as error:
        raise NotAvailableError(f"{out}: cannot be written to: {error.strerror or error}") from error


def _difference(one: Any, other: Any, where: str) -> tuple[str, Any] | None:
    """The first place where two tables differ, and what the second has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        parts = [(str(key), one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(str(number), *pair) for number, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else (where.lstrip(".") or "recipe", other)
    return next((found for key, a, b in parts if (found := _difference(a, b, f"{where}.{key}"))), None)


def main(recipe: Recipe, out: Path, world: World, tick: Tick, tell: Callable[[str], None]) -> Path:
    """All stages that are not done yet, one after the other."""
    for turn in (True, False):  # the first process writes down what is made; the others find it
        if world.first == turn:
            datasets, model, processor = setup(recipe, tell, out / "data")
        world.wait()
    if world.first and not (out / "data.json").exists():
        processors = stage_processors(recipe, model, processor)
        amounts = check_all(recipe, datasets, processors, tell)
        told = {stage: {name: asdict(one) for name, one in held.items()} for stage, held in amounts.items()}
        checkpoint.write_text(out / "data.json", json.dumps(told, indent=1) + "\n")
    _check_memory(recipe, model, world)
    recipe = spoken(recipe, model)
    start = Path(str(recipe.init.model)).expanduser()
    if recipe.init.fresh is not None:
        start = out / "start"
        if world.first and not start.exists():
            write_start(model, processor, start)
    del model
    world.wait()
    journal = Journal(out if world.first else None)
    for number, stage in enumerate(recipe.stages):
        folder = out / f"{number + 1}-{stage.name}"
        done = folder / "model"
        if not done.is_dir():
            tell(f"stage {stage.name}")
            if world.first:
                folder.mkdir(exist_ok=True)
            world.wait()
            _stage(recipe, stage, datasets, start, folder, world, journal, tick if world.first else lambda told: None)
        start = done
    if world.first:
        aside = out / ".model"
        aside.unlink(missing_ok=True)
        aside.symlink_to(start.relative_to(out))
        aside.replace(out / "model")
    world.wait()
    return out / "model"


def _stage(
    recipe: Recipe,
    stage: Stage,
    datasets: Mapping[str, Dataset],
    start: Path,
    folder: Path,
    world: World,
    journal: Journal,
    tick: Tick,
) -> None:
    """Train one stage and write its model."""
    model, processor = load_start(start)
    torch.manual_seed(recipe.seed)  # what a stage adds to the model (adapters, heads) begins alike in every process
    work = make_work(recipe, stage, datasets, model, processor, world)
    schedule = Schedule(
        stage.name, steps_of(recipe, stage, datasets), stage.warmup, stage.clip, stage.evaluate_every,
        stage.save_every, recipe.seed, recipe.dtype,
    )  # fmt: skip
    fit(work, schedule, folder, world, journal, tick)
    trained = {name: whole(one.detach()).cpu() for name, one in checkpoint.trained(work.module).items()}
    del work, model
    if world.first:
        export(start, trained, stage, recipe.dtype, folder / "model", stage.template)
        for old in folder.glob("checkpoint-*"):
            checkpoint.remove(old)
    world.wait()


def make_work(
    recipe: Recipe, stage: Stage, datasets: Mapping[str, Dataset], model: Any, processor: Any, world: World
) -> Work:
    """What a stage trains, and on what."""
    mixture = mix(recipe, stage, datasets)
    held = [one for name in stage.held_out for one in datasets[name].conversations]
    if stage.objective in CONTRASTIVE:
        return Contrast(model, processor, stage, mixture, held, world, recipe.dtype)
    speak(model, processor, stage.template)
    freeze(model, stage, recipe.dtype, world)
    kept = available(torch.device("cpu")) // _FEATURES_SHARE
    return Talk(model, processor, stage, recipe.context, mixture, held, world, recipe.dtype, kept)


def _check_memory(recipe: Recipe, model: Any, world: World) -> None:
    counts = count_parts(model)
    free = available(world.device)
    for stage in recipe.stages:
        needed = least_memory(stage, counts, recipe.dtype, world.size)
        if needed > free:
            raise NotAvailableError(
                f"stage {stage.name} needs {needed / 1e9:.1f} GB for weights, gradients and the optimizer alone; "
                f"{free / 1e9:.1f} GB are free. Train fewer parts (rates of 0), use lora, or more processes (torchrun)"
            )


def export_checkpoint(recipe: Recipe, out: Path, folder: Path) -> Path:
    """Write the model of the newest checkpoint in `out` as an ordinary folder, whatever number of processes made it.

    Raises:
        InputError: There is none, or `folder` is there.
    """
    if folder.exists():
        raise InputError("expected a folder that does not exist yet", path=folder)
    start = out / "start" if recipe.init.fresh is not None else Path(str(recipe.init.model)).expanduser()
    for number, stage in enumerate(recipe.stages):
        here = out / f"{number + 1}-{stage.name}"
        if (here / "model").is_dir():
            start = here / "model"
            continue
        found = next((one for one in checkpoint.found(here) if checkpoint.is_whole(one)), None)
        if found is None:
            raise InputError(f"stage {stage.name} has no checkpoint yet", path=here)
        export(start, checkpoint.merged(found), stage, recipe.dtype, folder, stage.template)
        return folder
    raise InputError("the run is finished; its model is there already", path=out / "model")
