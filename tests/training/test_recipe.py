"""Recipes: what is wrong is named by its key, with what would be right; every shipped one can be run."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from toys import FRESH, stage, table, write_data

from attending.errors import InputError
from attending.training.expert import plan_expert
from attending.training.expert_recipe import ExpertRecipe
from attending.training.fields import build
from attending.training.plan import plan
from attending.training.recipe import Recipe, read_recipe
from attending.training.schedule import rate_factor
from attending.training.tables import override, read_yaml

SHIPPED = sorted((Path(__file__).parents[2] / "src/attending/training/recipes").glob("*.yaml"))
DATA = Path("toy.json")


def wrong(**changes: Any) -> dict[str, Any]:
    return table(DATA, stage(**changes))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (wrong(batchs=3), r"stages\.0\.batchs: there is no such option; did you mean batch\?"),
        (wrong(rates={"vision_towr": 1e-3}), r"stages\.0\.rates\.vision_towr: .* did you mean vision_tower\?"),
        (wrong(objective="stf"), r"stages\.0\.objective is stf: expected one of .*; did you mean sft\?"),
        (wrong(mixture="toys"), r"stage tune is toys: is none of datasets; did you mean toy\?"),
        (wrong(batch=2.5), r"stages\.0\.batch is 2.5: expected a whole number"),
        (wrong(batch=True), "expected a whole number"),
        (wrong(rates={}), "all are 0, so nothing would be learned"),
        (wrong(rates={"projector": float("nan")}), "expected a number"),
        (wrong(weights={"toy": 1.0}), "exactly one of mixture and weights"),
        (wrong(epochs=1.0), "exactly one of steps and epochs"),
        (wrong(lora={}, rates={"projector": 1e-3}), r"names language_model, but rates\.language_model is 0"),
        (wrong(objective="siglip"), r"trains the tower alone: rates\.vision_tower above 0, the others 0"),
        (wrong(objective="clip", rates={"vision_tower": 1e-3}, batch=1), "a contrast needs pairs"),
        (wrong(objective="clip", rates={"vision_tower": 1e-3}, template="plain"), "are of objective sft"),
        (wrong(tokens=100), r"tokens is below context \(256\)"),
        (wrong(held_out=["toy"]), "in both mixture and held_out"),
        (wrong(name="../x"), "expected letters, digits"),
        (wrong(steps=0), "expected 1 or more"),
        (wrong(clip=0), "expected more than 0"),
        (wrong(mixture={"toy": -1}), "expected shares of 0 or more"),
        (table(DATA), "expected one stage or more"),
        (table(DATA, stage(), stage()), "two stages have this name"),
        (table(DATA, stage(), init={}), "exactly one of model and fresh"),
        (table(DATA, stage(), init={"fresh": FRESH, "model": "x"}), "exactly one of model and fresh"),
        (table(DATA, stage(), init={"fresh": FRESH | {"language_model": "x"}}), "one of text and"),
        (table(DATA, stage(), init={"fresh": FRESH | {"tokenizer": None}}), "text needs tokenizer"),
        (table(DATA, stage(), dtype="float16"), "expected one of bfloat16, float32"),
        (table(DATA, "x"), r"stages\.0 is x: expected a table"),
        ({"name": "x"}, "init: is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(made: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(Recipe, made)


def test_settings_change_a_table_by_path_name_and_number() -> None:
    made = table(DATA, stage("one"), stage("two"))
    override(made, ["seed=3", "stages.two.batch=9", "stages.0.rates.projector=2e-5", "datasets.toy.options.images=x"])
    recipe = build(Recipe, made)
    assert (recipe.seed, recipe.stages[1].batch, recipe.stages[0].rates.projector) == (3, 9, 2e-5)
    assert recipe.datasets["toy"].options == {"images": "x"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seed", r"expected a\.b=value"),
        ("stages.three.batch=1", "there is no entry three; there are: one, two"),
        ("name.x=1", "leads through what is no table"),
        ("seed=[", "is not valid YAML"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        override(table(DATA, stage("one"), stage("two")), [setting])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "a occurs twice"),
        ("- 1\n", "expected a table"),
        ("a: !!python/object/apply:os.system [false]\n", "is not valid YAML"),
        ("a: [\n", "is not valid YAML"),
        ("? [1]\n: 2\n", "expected|is not valid"),
    ],
)
def test_files_that_are_no_recipes_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_recipe(str(path))


def test_numbers_may_be_written_without_a_point(tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text("a: 1e-3\nb: 2E5\nc: 1e\nd: -3.5e-2\n")
    assert read_yaml(path) == {"a": 1e-3, "b": 2e5, "c": "1e", "d": -0.035}


def test_a_recipe_that_is_not_there_tells_which_there_are() -> None:
    with pytest.raises(InputError, match=r"expected a YAML file or one of .*tiny"):
        read_recipe("tinny")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {2: "liver"}}, "expected names for 1, 2"),
        ({"patch": [4, 4, 4]}, "3 sides of 8 or more"),
        ({"data": {}}, "exactly one of phantom, decathlon and table"),
        ({"data": {"table": "x.csv"}}, "data.table is not for segmentation"),
        ({"merge": {5: [1]}}, "is not among labels"),
        ({"network": {"_target_": "os.system"}}, "expected a network of monai"),
        ({"network": {"_target_": "SegResNet", "init_filters": 8, "out_channels": 5}}, "gives 1 x 5 .* need 1 x 2"),
        ({"network": {"_target_": "SegResNet", "colour": 3}}, "cannot be built"),
        ({"rate": 0}, "rate is above 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_expert_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_expert(build(ExpertRecipe, EXPERT | change))


EXPERT: dict[str, Any] = {
    "name": "toy", "task": "segmentation", "modality": "CT", "labels": {1: "liver"}, "patch": [16, 16, 16],
    "network": {"_target_": "SegResNet", "init_filters": 8, "out_channels": 2, "blocks_down": [1, 1], "blocks_up": [1]},
    "data": {"phantom": "ct"},
}  # fmt: skip


def test_rates_rise_and_fall() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert all(a < b for a, b in pairwise(factors[:11]))
    assert factors[10] == 1
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.01 < factors[0]
    assert [rate_factor(step, 2, 0) for step in range(2)] == [1, 0.5]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model and small data, in place of what the recipes for published checkpoints expect on the disk."""
    from attending.training.run import setup
    from attending.training.start import write_start

    folder = tmp_path_factory.mktemp("stand-in")
    data = write_data(folder / "data", 6)
    recipe = build(Recipe, table(data, stage(), context=4096))
    _, model, processor = setup(recipe, lambda text: None)
    write_start(model, processor, folder / "model")
    return folder / "model", data


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read_and_planned(path: Path, stand_in: tuple[Path, Path]) -> None:
    recipe = read_recipe(path.stem)
    if isinstance(recipe, ExpertRecipe):
        told = plan_expert(recipe)
    else:
        model, data = stand_in
        settings = [f"datasets.{name}={{read: llava, folder: {data}}}" for name in recipe.datasets]
        # Copies of one file would leak into what is held out.
        settings += [f"stages.{one.name}.held_out=[]" for one in recipe.stages]
        if recipe.init.model or (recipe.init.fresh and recipe.init.fresh.language_model):
            settings += [f"init={{model: {model}}}"]
        told = plan(read_recipe(path.stem, settings))
        assert set(told["parameters"]) == {"vision_tower", "projector", "language_model"}
        assert [one["name"] for one in told["stages"]] == [one.name for one in recipe.stages]
    for one in told["stages"]:
        assert one["steps"] >= 1
        assert one["trained"] > 0
        assert one["hours"] >= 0
        assert 0 <= one["memory_gb"]["least"] <= one["memory_gb"]["likely"]


@pytest.mark.parametrize(("size", "batch"), [("3b", 1024), ("8b", 1024), ("13b", 1024)])
def test_stage_four_has_the_published_mixture_and_numbers(size: str, batch: int) -> None:
    recipe = read_recipe(f"stage4-{size}")
    (one,) = recipe.stages
    assert list(one.shares.values()) == [10, 4, 4, 4, 2, 8, 16, 1, 1]
    assert (one.epochs, one.warmup, one.weight_decay, one.batch, recipe.context) == (2, 0.03, 0, batch, 4096)
    assert {one.rates.vision_tower, one.rates.projector, one.rates.language_model} == {2e-5}
    assert one.template == ("llama_3" if size == "8b" else "vicuna_v1")
