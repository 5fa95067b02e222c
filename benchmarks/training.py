"""Training: our step (bfloat16, packed, logits where something is learned) beside float32 with padding, in one run.

Both train the same tiny model on the same conversations, taking turns, the making of their batches included. Printed:
samples a second of processor time (the clock on the wall tells more of who else is at work), their ratio by round, the
share of time spent waiting for data, and the loader's memory over an epoch.

    python benchmarks/training.py [--rounds 5] [--steps 4] [--threads 1] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from attending.corpora.packing import IGNORED
from attending.training.data import mix, read_all
from attending.training.feed import Feed
from attending.training.fields import build
from attending.training.language import Talk
from attending.training.loop import precision
from attending.training.parallel import World
from attending.training.parts import freeze
from attending.training.recipe import Recipe, read_recipe
from attending.training.run import setup

RECIPE = "tiny"
BATCH = 16


def write_data(folder: Path, count: int) -> Path:
    """Conversations whose lengths are spread like those of a mixture: short answers, reports, cards with results."""
    draw = np.random.default_rng(0)
    words = ["lesion", "liver", "no", "the", "right", "left", "lobe", "of", "in", "a", "seen", "effusion"]
    rows = []
    for number in range(count):
        Image.fromarray(draw.integers(0, 256, (96, 96), dtype=np.uint8)).save(folder / f"{number}.png")
        asked, said = (
            int(draw.choice([12, 40, 350], p=[0.5, 0.3, 0.2])),
            int(draw.choice([3, 20, 60], p=[0.5, 0.3, 0.2])),
        )
        told = [
            {"from": "human", "value": "<image>\n" + " ".join(draw.choice(words, asked))},
            {"from": "gpt", "value": " ".join(draw.choice(words, said))},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": told})
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path


def recipe_of(data: Path) -> Recipe:
    """The tiny recipe's model and last stage, on these data."""
    stage = read_recipe(RECIPE).stages[-1]
    table: dict[str, Any] = {
        "name": "bench",
        "context": 1536,
        "init": {"fresh": {**vars(read_recipe(RECIPE).init.fresh)}},
        "datasets": {"data": {"read": "llava", "folder": str(data)}},
        "stages": [
            {"name": "a", "objective": "sft", "mixture": "data", "rates": vars(stage.rates), "steps": 1, "batch": BATCH}
        ],
    }
    return build(Recipe, table)


class Side:
    """One way to train: packed or padded, with its own copy of the model."""

    def __init__(self, recipe: Recipe, packed: bool) -> None:
        from dataclasses import replace

        # Padded: the whole batch in one pass, as a plain collator does; ours: passes of a context's worth of tokens.
        stage = replace(recipe.stages[0], pack=packed, tokens=None if packed else 1 << 20)
        datasets, model, processor = setup(recipe, lambda text: None)
        self.packed, self.dtype = packed, "bfloat16" if packed else "float32"
        freeze(model, stage, self.dtype, World())
        self.work = Talk(model, processor, stage, recipe.context, mix(recipe, stage, datasets), [], World(), self.dtype)
        self.optimizer = torch.optim.AdamW(self.work.groups(), fused=packed)

    def step(self, batch: Any) -> float:
        """One step of the optimizer; returns the loss."""
        units, summed = sum(one.count for one in batch), 0.0
        for one in batch:
            with precision(self.dtype, World()):
                loss = self.work.module(one) if self.packed else self.plain(one)
            (loss / units).backward()
            summed += loss.item()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return summed / units

    def plain(self, one: Any) -> torch.Tensor:
        """Transformers' way: logits at every position."""
        model = self.work.module.model
        pixels = torch.stack(one.pictures)
        out = model(input_ids=one.batch.ids, attention_mask=one.batch.mask, pixel_values=pixels, use_cache=False)
        targets = one.batch.labels[:, 1:].flatten()
        return functional.cross_entropy(
            out.logits[:, :-1].flatten(0, 1), targets, reduction="sum", ignore_index=IGNORED
        )


def epoch_memory(work: Talk, steps: int) -> tuple[float, float]:
    """The loader's memory in MB after the first and after the last steps of an epoch, with nothing trained."""
    tracemalloc.start()
    marks = []
    for number, _ in enumerate(Feed(work.prepare, 0, steps)):
        if number in (steps // 4, steps - 1):
            marks.append(tracemalloc.get_traced_memory()[0] / 1e6)
    tracemalloc.stop()
    return marks[0], marks[-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(write_data(Path(folder), 256))
        read_all(recipe)
        sides = {"ours": Side(recipe, True), "float32, padded": Side(recipe, False)}
        speed: dict[str, list[float]] = {name: [] for name in sides}
        walls: dict[str, list[float]] = {name: [] for name in sides}
        losses: dict[str, list[float]] = {name: [] for name in sides}
        waited = spent = 0.0
        for number in range(options.rounds):
            for name, side in sides.items():
                feed = Feed(side.work.prepare, number * options.steps, (number + 1) * options.steps)
                began, worked = time.perf_counter(), time.process_time()
                for batch in feed:
                    losses[name].append(side.step(batch))
                passed, worked = time.perf_counter() - began, time.process_time() - worked
                speed[name].append(options.steps * BATCH / worked)
                walls[name].append(options.steps * BATCH / passed)
                if name == "ours":
                    waited, spent = waited + feed.waited, spent + passed
        before, after = epoch_memory(sides["ours"].work, 64)
    ratios, by_wall = ([a / b for a, b in zip(*one.values(), strict=True)] for one in (speed, walls))
    told = {
        "samples_per_processor_second": {name: round(statistics.median(one), 2) for name, one in speed.items()},
        "ratio": [round(one, 2) for one in sorted(ratios)],
        "median_ratio": round(statistics.median(ratios), 2),
        "wall_ratio": round(statistics.median(by_wall), 2),
        "loss": {name: round(statistics.mean(one), 4) for name, one in losses.items()},
        "waiting_for_data": round(waited / spent, 4),
        "loader_mb": [round(before, 2), round(after, 2)],
    }
    if options.json:
        print(json.dumps(told))
        return
    for name, one in told["samples_per_processor_second"].items():
        print(f"{name:18} {one:8.2f} samples per processor second   mean loss {told['loss'][name]}")
    print(f"ratio by round     {told['median_ratio']} [{told['ratio'][0]} to {told['ratio'][-1]}]")
    print(f"ratio by the clock {told['wall_ratio']}")
    print(f"waiting for data   {told['waiting_for_data']:.1%} of the time")
    print(f"loader's memory    {before:.2f} MB after a quarter of an epoch, {after:.2f} MB at its end")


if __name__ == "__main__":
    main()
