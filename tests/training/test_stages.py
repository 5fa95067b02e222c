"""Four stages on toys: each lowers its loss, and the model that comes out asks the right expert. Controls fail."""

from pathlib import Path

import pytest
from toys import QUESTION, SAID, SHAPES, picture, stage, table, write_data

from attending.imaging import Picture
from attending.model import LocalModel, Sampling
from attending.training.fields import build
from attending.training.logs import read_log
from attending.training.recipe import Recipe
from attending.training.run import train

ALL = {"vision_tower": 1e-3, "projector": 5e-3, "language_model": 5e-3}
STAGES = (
    stage("tower", objective="siglip", rates={"vision_tower": 2e-3}, steps=60, batch=24),
    stage("align", template="plain", rates={"projector": 5e-3, "language_model": 5e-3}, steps=25, batch=12),
    stage("instruct", rates=ALL, steps=90, batch=12),
    stage("experts", mixture="expert", rates={"projector": 3e-3, "language_model": 3e-3}, steps=25, batch=12,
          lora={"rank": 8, "alpha": 16}),
)  # fmt: skip


def run(folder: Path, shuffled: bool = False, share: float = 1.0) -> Path:
    data = write_data(folder / "data", round(120 * share), shuffled=shuffled, long=False)
    expert = write_data(folder / "expert", 36, first=500, name="expert", shuffled=shuffled)
    stages = [one | {"save_every": 999, "evaluate_every": 999, "steps": round(one["steps"] * share)} for one in STAGES]
    made = table(data, *stages, dtype="bfloat16")
    made["datasets"]["expert"] = {"read": "llava", "folder": str(expert)}
    recipe = build(Recipe, made)
    return train(recipe, folder / "out", lambda told: None, lambda text: None)


def calls(model: LocalModel, told: list[tuple[str, Picture]]) -> float:
    """How many of these pictures get the call that belongs to them."""
    right = 0
    for shape, shown in told:
        said = [{"role": "user", "content": f"<image>\n{QUESTION}"}]
        answer = "".join(delta.text for delta in model.session().stream(said, [shown], Sampling(max_new_tokens=30)))
        right += answer.strip() == SAID[shape]
    return right / len(told)


def new_pictures(off: int = 0) -> list[tuple[str, Picture]]:
    """Pictures never trained on; `off` gives each the shape of another."""
    import numpy as np

    made = []
    for number in range(1000, 1018):
        pixels = np.asarray(picture(SHAPES[(number + off) % 3], number).convert("RGB"))
        made.append((SHAPES[number % 3], Picture(pixels)))
    return made


def test_each_stage_lowers_its_own_loss(tmp_path: Path) -> None:
    model = run(tmp_path, share=0.4)
    log = read_log(tmp_path / "out" / "log.jsonl")
    for one in STAGES:
        losses = [entry["loss"] for entry in log if entry["stage"] == one["name"]]
        assert sum(losses[-3:]) < sum(losses[:3]), one["name"]
        assert (tmp_path / "out" / f"loss-{one['name']}.png").stat().st_size > 1000
    assert LocalModel.load(model).model.config.conversation_mode == "hermes-2", "the stage of plain text is over"


@pytest.mark.slow
def test_four_stages_teach_a_model_whom_to_ask(tmp_path: Path) -> None:
    local = LocalModel.load(run(tmp_path))
    assert calls(local, new_pictures()) >= 0.75
    assert calls(local, new_pictures(off=1)) <= 0.25, "permuted pictures: the answer follows what is seen"


@pytest.mark.slow
def test_a_model_trained_on_shuffled_pairs_does_not_know_whom_to_ask(tmp_path: Path) -> None:
    assert calls(LocalModel.load(run(tmp_path, shuffled=True)), new_pictures()) <= 0.6
