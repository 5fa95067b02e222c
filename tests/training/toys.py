"""Toy conversations with pictures that a tiny model learns in seconds, and recipes around them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHAPES = ("disc", "bars", "cross")
SAID = {"disc": "Let me ask <VISTA3D(liver)>.", "bars": "Let me ask <BRATS()>.", "cross": "Let me ask <CXR()>."}
QUESTION = "Which expert should look at this?"


def picture(shape: str, seed: int, side: int = 32) -> Image.Image:
    """One of three shapes, anywhere, in any size, on noise."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    x, y = draw.uniform(side * 0.35, side * 0.65, 2)
    radius = draw.uniform(side * 0.2, side * 0.35)
    if shape == "disc":
        mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    elif shape == "bars":
        mask = (columns + int(x)) % 8 < 4
    else:
        mask = (abs(rows - y) < 3) | (abs(columns - x) < 3)
    pixels = draw.normal(60, 15, (side, side)) + 130 * mask
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_data(
    folder: Path, count: int = 12, first: int = 0, name: str = "toy", shuffled: bool = False, long: bool = True
) -> Path:
    """LLaVA-style JSON with a picture a row; `shuffled` gives each picture another shape's answer at random."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + count):
        shape = SHAPES[number % 3]
        picture(shape, number).save(folder / f"{name}{number}.png")
        said = SAID[SHAPES[np.random.default_rng(number).integers(3)] if shuffled else shape]
        turns = [("human", f"<image>\n{QUESTION}"), ("gpt", said)]
        if long and number % 2:
            turns += [("human", "Why? " * (1 + number % 5)), ("gpt", "Because of its shape.")]
        told = [{"from": who, "value": text} for who, text in turns]
        rows.append({"id": f"{name}{number}", "image": f"{name}{number}.png", "conversations": told})
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows))
    return path


def table(data: Path, *stages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A recipe for a very small model, as YAML would give it."""
    return {
        "name": "toy",
        "dtype": "float32",
        "context": 256,
        "init": {"fresh": FRESH},
        "datasets": {"toy": {"read": "llava", "folder": str(data)}},
        "stages": list(stages),
        **changes,
    }


FRESH = {
    "vision": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
               "image_size": 32, "patch_size": 8},
    "feature_layer": -1,
    "text": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "intermediate_size": 64},
    "tokenizer": 320,
    "template": "hermes-2",
}  # fmt: skip


def stage(name: str = "tune", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "objective": "sft",
        "mixture": "toy",
        "rates": {"vision_tower": 1e-3, "projector": 1e-3, "language_model": 1e-3},
        "steps": 4,
        "batch": 4,
        "save_every": 2,
        "evaluate_every": 2,
        **changes,
    }
