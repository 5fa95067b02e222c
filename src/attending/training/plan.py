"""The dry run: what a recipe would train, on how much, in what memory and time; nothing is trained or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from attending.training.data import check_all, mix
from attending.training.memory import (
    available,
    least_memory,
    likely_memory,
    measured_rate,
    operations,
    trained_parameters,
)
from attending.training.parts import count_parts
from attending.training.recipe import CONTRASTIVE, PARTS, Recipe, Stage
from attending.training.run import setup, stage_processors, steps_of

_EFFICIENCY = 0.4
"""Share of the speed of bare matrix products that a step reaches: 0.3 to 0.5 were measured on two cores."""


def plan(recipe: Recipe, tell: Callable[[str], None] = lambda text: None, world: int = 1) -> dict[str, Any]:
    """Look ahead; the data are checked in full.

    Returns:
        Plain JSON values: `parameters` by part, `stages`, each with `steps`, `conversations` (in an epoch), `epochs`,
        `tokens` and `learned` (of all steps), `pictures`, `longest`, `trained` (parameters), `rates`, `memory_gb`
        (`least` and `likely`), `hours`; `free_gb`, `problems` (memory that is lacking).

    Raises:
        InputError: Anything wrong with recipe, data or model; data errors all at once.
    """
    with TemporaryDirectory(prefix="attending-") as kept:
        datasets, model, processor = setup(recipe, tell, Path(kept))
        amounts = check_all(recipe, datasets, stage_processors(recipe, model, processor), tell)
    counts = count_parts(model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate, free = measured_rate(recipe.dtype, device), available(device)
    stages, problems = [], []
    for stage in recipe.stages:
        told = _stage(recipe, stage, datasets, model, counts, amounts[stage.name], rate * world, world)
        stages.append(told)
        for kind, words in (("least", "needs"), ("likely", "will probably need")):
            if told["memory_gb"][kind] > free / 1e9:
                problems.append(
                    f"stage {stage.name} {words} {told['memory_gb'][kind]} GB; {free / 1e9:.1f} GB are free"
                )
                break
    return {
        "recipe": recipe.name,
        "parameters": counts,
        "context": recipe.context,
        "dtype": recipe.dtype,
        "stages": stages,
        "free_gb": round(free / 1e9, 1),
        "problems": problems,
    }


def _stage(
    recipe: Recipe,
    stage: Stage,
    datasets: Any,
    model: Any,
    counts: dict[str, int],
    amounts: Any,
    rate: float,
    world: int,
) -> dict[str, Any]:
    mixture = mix(recipe, stage, datasets)
    steps = steps_of(recipe, stage, datasets)
    seen = steps * stage.batch
    tokens = learned = pictures = 0.0
    for part in mixture.parts:
        one = amounts[part.name]
        share = seen * part.count / len(mixture) / one.conversations
        tokens, learned = tokens + share * one.tokens, learned + share * one.learned
        pictures += share * one.pictures
    frozen = not stage.rates.vision_tower
    encoded = sum(amounts[part.name].pictures for part in mixture.parts) if frozen else pictures
    most = stage.tokens or recipe.context
    least = least_memory(stage, counts, recipe.dtype, world, model)
    likely = least + likely_memory(stage, model, most, recipe.dtype)
    work = operations(stage, counts, model, int(tokens), int(min(encoded, pictures)))
    return {
        "name": stage.name,
        "objective": stage.objective,
        "rates": {part: getattr(stage.rates, part) for part in PARTS},
        "trained": trained_parameters(stage, counts, model),
        "steps": steps,
        "conversations": len(mixture),
        "epochs": round(seen / len(mixture), 2),
        "tokens": round(tokens),
        "learned": round(learned) if stage.objective not in CONTRASTIVE else 0,
        "pictures": round(pictures),
        "longest": max(amounts[name].longest for name in stage.shares),
        "memory_gb": {"least": round(least / 1e9, 2), "likely": round(likely / 1e9, 2)},
        "hours": round(work / (rate * _EFFICIENCY) / 3600, 3),
    }
