"""However a step is computed, its loss and its gradients are the same; what is frozen stays."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toys import stage, table

from attending.corpora.packing import IGNORED
from attending.model import LocalModel
from attending.training.attention import NAME, lengths_of
from attending.training.data import mix, read_all
from attending.training.fields import build
from attending.training.language import Talk
from attending.training.loop import Schedule, _backward
from attending.training.parallel import World
from attending.training.parts import freeze, load_start, speak
from attending.training.recipe import Recipe, Stage
from attending.training.run import main, train
from attending.training.start import write_start


@pytest.fixture(scope="module")
def start(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights large enough to tell right from wrong."""
    from attending.training.run import setup

    recipe = build(Recipe, table(data, stage()))
    _, model, processor = setup(recipe, lambda text: None)
    for name, one in model.named_parameters():
        if one.ndim >= 2:
            torch.nn.init.normal_(one, std=0.15, generator=torch.Generator().manual_seed(len(name)))
    folder = tmp_path_factory.mktemp("start") / "model"
    write_start(model, processor, folder)
    return folder


def work_of(data: Path, start: Path, context: int = 256, **changes: Any) -> Talk:
    recipe = build(Recipe, table(data, stage(**changes), context=context))
    model, processor = load_start(start)
    (one,) = recipe.stages
    speak(model, processor, one.template)
    freeze(model, one, "float32", World())
    datasets = read_all(recipe)
    return Talk(model, processor, one, context, mix(recipe, one, datasets), [], World(), "float32")


def step_of(work: Talk, step: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    batch = work.prepare(step)
    units = sum(one.count for one in batch)
    loss = _backward(work, batch, units, Schedule("x", 1, 0, 1, 1, 1, 0, "float32"), World())
    return loss, {name: one.grad for name, one in work.module.named_parameters() if one.grad is not None}


def by_transformers(data: Path, start: Path, rates: dict[str, float]) -> tuple[float, dict[str, torch.Tensor]]:
    """The same step, one conversation at a time, without packing, by the model's own loss over all positions."""
    work = work_of(data, start, pack=False, tokens=256, batch=8, rates=rates)
    model = work.module.model.train()
    total, summed = 0, 0.0
    for one in work.prepare(0):
        for row in range(len(one.batch.ids)):
            assert one.batch.mask is not None
            length = int(one.batch.mask[row].sum())
            ids, labels = one.batch.ids[row : row + 1, :length], one.batch.labels[row : row + 1, :length]
            pixels = one.pictures[row][None]
            if pixels.ndim == 3:
                raise AssertionError("features are not kept here")
            count = int((labels != IGNORED).sum())
            loss = model(input_ids=ids, pixel_values=pixels, labels=labels).loss * count
            loss.backward()
            total, summed = total + count, summed + loss.item()
    grads = {f"model.{n}": p.grad / total for n, p in model.named_parameters() if p.grad is not None}
    return summed / total, grads


ALL = {"vision_tower": 1e-3, "projector": 1e-3, "language_model": 1e-3}
HEAD = {"projector": 1e-3}


@pytest.mark.parametrize("rates", [ALL, HEAD], ids=["all parts", "projector only"])
@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": 4096},
        {"tokens": 256},
        {"tokens": 4096, "pack": False},
        {"tokens": 256, "pack": False},
        {"tokens": 4096, "gradient_checkpointing": True},
    ],
    ids=["one packed row", "packed rows", "one padded batch", "padded batches", "checkpointing"],
)
def test_loss_and_gradients_equal_the_unpacked_unbatched_computation(
    data: Path, start: Path, rates: dict[str, float], changes: dict[str, Any]
) -> None:
    wanted, expected = by_transformers(data, start, rates)
    work = work_of(data, start, batch=8, rates=rates, **changes)
    assert (len(work.prepare(0)) == 1) == (changes["tokens"] == 4096)
    loss, grads = step_of(work)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert grads.keys() == expected.keys()
    for name, one in grads.items():
        torch.testing.assert_close(one, expected[name], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("attention", [NAME, "sdpa", "eager"])
def test_no_conversation_sees_its_neighbours_in_a_packed_row(data: Path, start: Path, attention: str) -> None:
    work = work_of(data, start, batch=8, tokens=4096)
    (one,) = work.prepare(0)
    inner = work.module.model.model
    inner.language_model.config._attn_implementation = attention
    lengths = {"conversations": lengths_of(one.batch.positions)} if attention == NAME else {}
    with torch.no_grad():
        features = inner.multi_modal_projector(work.module._features(one))
        embeds = inner.splice(one.batch.ids, features)
        changed = embeds.clone()
        starts = (one.batch.positions[0] == 0).nonzero()[:, 0].tolist()
        changed[0, starts[1] : starts[2]] += 1.0
        out = [
            inner.language_model(
                inputs_embeds=e, position_ids=one.batch.positions, use_cache=False, **lengths
            ).last_hidden_state
            for e in (embeds, changed)
        ]
    differ = (out[0] != out[1]).any(-1)[0]
    assert differ[starts[1] : starts[2]].any()
    assert not differ[: starts[1]].any()
    assert not differ[starts[2] :].any()


def test_features_of_a_frozen_tower_are_kept_and_change_nothing(data: Path, start: Path) -> None:
    work = work_of(data, start, batch=24, rates=HEAD)
    loss, grads = step_of(work)
    assert work.seen.encoded == 24
    work.module.zero_grad()
    again, same = step_of(work)
    assert work.seen.encoded == 24, "nothing is encoded twice"
    assert again == loss
    assert all(torch.equal(grads[name], same[name]) for name in grads)


def test_kept_features_stay_within_their_bytes() -> None:
    from attending.training.pictures import Seen

    seen = Seen(4000)
    for number in range(10):
        seen.put((number,), torch.zeros(300))
    assert [number for number in range(10) if seen.get((number,)) is not None] == [7, 8, 9]


@pytest.mark.parametrize(
    ("rates", "moved"),
    [
        ({"projector": 1e-2}, {"projector"}),
        ({"vision_tower": 1e-2}, {"vision_tower"}),
        ({"language_model": 1e-2}, {"language_model"}),
        ({"projector": 1e-2, "language_model": 1e-2}, {"projector", "language_model"}),
    ],
)
def test_frozen_parts_do_not_move(
    data: Path, start: Path, tmp_path: Path, rates: dict[str, float], moved: set[str]
) -> None:
    from attending.training.language import part_of

    recipe = table(data, stage(steps=2, rates=rates), init={"model": str(start)})
    out = train(build(Recipe, recipe), tmp_path, lambda told: None, lambda text: None)
    before, after = load_file(start / "model.safetensors"), load_file(out / "model.safetensors")
    assert {part_of(name) for name in before if not torch.equal(before[name], after[name])} == moved


def test_lora_merged_is_the_adapter_on_its_base(data: Path, start: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    from attending.training.parts import quiet

    changes = {"lora": {"rank": 4, "alpha": 8}, "rates": {"projector": 1e-2, "language_model": 1e-2}}
    recipe = build(Recipe, table(data, stage(steps=3, **changes), init={"model": str(start)}))
    out = train(recipe, tmp_path, lambda told: None, lambda text: None)
    merged = LocalModel.load(out).model
    with quiet():
        adapted = PeftModel.from_pretrained(LocalModel.load(start).model, out / "adapter").eval()
    tuned = load_file(out / "adapter" / "tuned.safetensors")
    assert {name.split(".")[1] for name in tuned} == {"multi_modal_projector"}
    adapted.base_model.model.load_state_dict(tuned, strict=False)
    one = work_of(data, start).prepare(0)[0]
    pixels, ids = torch.stack(one.pictures), one.batch.ids
    with torch.no_grad():
        wanted = adapted(input_ids=ids, pixel_values=pixels).logits
        found = merged(input_ids=ids, pixel_values=pixels).logits
        plain = LocalModel.load(start).model(input_ids=ids, pixel_values=pixels).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-3


def test_lora_leaves_all_but_its_layers_and_the_projector(data: Path, start: Path) -> None:
    lora = {"lora": {"rank": 4, "alpha": 8}, "rates": {"projector": 1e-3, "language_model": 1e-3}}
    work = work_of(data, start, **lora)
    names = {group["name"] for group in work.groups()}
    trained = [name for name, one in work.module.named_parameters() if one.requires_grad]
    assert names == {"projector", "language_model"}
    assert all("lora_" in name or "multi_modal_projector" in name for name in trained)
    assert sum("lora_" in name for name in trained) == 2 * 2 * 7
    assert not any("lm_head" in name and "lora" in name for name in trained)


def test_biases_and_norms_do_not_decay(data: Path, start: Path) -> None:
    groups = work_of(data, start, weight_decay=0.1).groups()
    for group in groups:
        assert {one.ndim >= 2 for one in group["params"]} == {group["weight_decay"] == 0.1}


def test_the_stages_model_speaks_with_the_stages_template(data: Path, start: Path, tmp_path: Path) -> None:
    recipe = build(Recipe, table(data, stage(steps=1, template="plain"), init={"model": str(start)}))
    model = LocalModel.load(main(recipe, _made(tmp_path), World(), lambda told: None, lambda text: None))
    assert model.model.config.conversation_mode == "plain"
    assert "default_system = ''" in model.processor.chat_template


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_a_stage_of_text_alone_trains(data: Path, start: Path, tmp_path: Path) -> None:
    import json

    said = [{"from": "human", "value": "What is 1 + 1?"}, {"from": "gpt", "value": "2."}]
    path = tmp_path / "text.json"
    path.write_text(json.dumps([{"id": str(n), "conversations": said} for n in range(6)]))
    work = work_of(path, start, batch=6, rates={"language_model": 1e-3})
    loss, grads = step_of(work)
    assert loss > 0
    assert grads
    assert not any("vision" in name or "projector" in name for name in grads)
    assert isinstance(build(Stage, stage()), Stage)
