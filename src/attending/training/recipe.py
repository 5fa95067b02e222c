"""A recipe: one YAML file that says from what, on what, how and how long a model is trained, stage by stage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from attending.corpora.mixture import parse_repeats
from attending.errors import InputError
from attending.training.fields import build
from attending.training.tables import override, read_yaml

PARTS = ("vision_tower", "projector", "language_model")
CONTRASTIVE = ("clip", "siglip", "itm")


def _refuse(problem: str, where: str, value: object = None) -> InputError:
    return InputError(problem, field=where, value=value)


@dataclass(frozen=True)
class Fresh:
    """A new model. Exactly one of `text` and `language_model`."""

    vision: dict[str, Any]
    """Sizes of the SigLIP tower: `hidden_size`, `num_hidden_layers`, `num_attention_heads`, `intermediate_size`,
    `image_size`, `patch_size`."""
    text: dict[str, Any] | None = None
    """Sizes of a new Llama: the same names, `num_key_value_heads`, `max_position_embeddings`."""
    language_model: str | None = None
    """Folder of a causal language model with its tokenizer, a GGUF file, or `package:NAME/FILE.gguf` inside an
    installed Python package."""
    tokenizer: int | None = None
    """For a new Llama: entries of a byte-level vocabulary trained on the recipe's own texts."""
    template: str = "llama_3"
    """Conversation mode of the model."""
    projector: str = "mlp_downsample"
    """See `VilaM3Config`."""
    feature_layer: int = -2
    """Which hidden state of the tower is read."""
    expert_codec: Literal["vila-m3", "tools", "short", "none"] | None = None
    """How the model is told of experts; see `attending.consult.codecs`. By default that of its architecture."""

    def __post_init__(self) -> None:
        if (self.text is None) == (self.language_model is None):
            raise _refuse("give exactly one of text and language_model", "init.fresh")
        if (self.text is None) != (self.tokenizer is None):
            raise _refuse("text needs tokenizer; language_model brings its own and takes none", "init.fresh.tokenizer")


@dataclass(frozen=True)
class Init:
    """Where the weights come from: exactly one of the two."""

    model: str | None = None
    """A model folder, as `attending model import` writes it."""
    fresh: Fresh | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (self.fresh is None):
            raise _refuse("give exactly one of model and fresh", "init")


@dataclass(frozen=True)
class Source:
    """A dataset on the user's disk; see `attending.corpora.read`."""

    read: str
    """Name of the reader."""
    folder: str | None = None
    split: str = "train"
    most: int | None = None
    """At most so many conversations, from the first on."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the reader."""

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise _refuse("expected 1 or more", "most", self.most)


@dataclass(frozen=True)
class Rates:
    """Learning rate of each part; 0 freezes it."""

    vision_tower: float = 0.0
    projector: float = 0.0
    language_model: float = 0.0

    def __post_init__(self) -> None:
        for part in PARTS:
            if not 0 <= getattr(self, part) < 1:
                raise _refuse("expected 0 to below 1", f"rates.{part}", getattr(self, part))


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters by PEFT on every linear layer of `parts`; other parts that have a rate are tuned fully."""

    rank: int = 64
    alpha: int = 16
    dropout: float = 0.05
    parts: tuple[Literal["vision_tower", "language_model"], ...] = ("language_model",)

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1 or not self.parts:
            raise _refuse("expected rank and alpha of 1 or more, dropout of 0 to below 1, one part or more", "lora")


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    objective: Literal["sft", "clip", "siglip", "itm"]
    """`sft`: next token of the assistant's turns. `clip`, `siglip`, `itm`: the tower learns which text belongs to
    which picture; the text is the first answer of each conversation, the picture its first."""
    rates: Rates
    mixture: str | dict[str, float] | None = None
    """How often each dataset occurs in an epoch: `a+a+b`, or `{a: 2, b: 1}`."""
    weights: dict[str, float] | None = None
    """Instead: shares of an epoch that is as long as the datasets together."""
    steps: int | None = None
    epochs: float | None = None
    """Exactly one of the two."""
    batch: int = 32
    """Conversations in one step of the optimizer, over all processes."""
    tokens: int | None = None
    """Tokens in one forward pass of one process, padding included; at least `context`, which is the default."""
    pack: bool = True
    """Whole conversations share a row, none sees another; otherwise each gets a padded row."""
    template: str | None = None
    """Conversation mode; by default the model's own."""
    fix_up: bool = False
    """White space around pictures as the published models were trained on."""
    lora: Lora | None = None
    warmup: float = 0.03
    """Share of the steps in which the rates rise from 0; then they fall to 0 along a cosine."""
    weight_decay: float = 0.0
    """Of matrices; biases and norms have none."""
    clip: float = 1.0
    """Greatest norm of the gradient."""
    gradient_checkpointing: bool = False
    """Compute activations twice, keep them once."""
    held_out: tuple[str, ...] = ()
    """Datasets on which the loss is measured and nothing is learned."""
    evaluate_every: int = 100
    save_every: int = 100
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        where = f"stage {self.name}"
        if not re.fullmatch(r"[\w-]{1,40}", self.name):
            raise _refuse("expected letters, digits, _ and -, at most 40", "name", self.name)
        if (self.mixture is None) == (self.weights is None):
            raise _refuse("give exactly one of mixture and weights", where)
        if (self.steps is None) == (self.epochs is None):
            raise _refuse("give exactly one of steps and epochs", where)
        for name in ("batch", "steps", "evaluate_every", "save_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise _refuse("expected 1 or more", f"{where}.{name}", getattr(self, name))
        if (self.epochs is not None and self.epochs <= 0) or self.clip <= 0:
            raise _refuse("expected more than 0", f"{where}.epochs and clip", (self.epochs, self.clip))
        if not 0 <= self.warmup < 1 or not 0 <= self.weight_decay < 1:
            raise _refuse("expected 0 to below 1", f"{where}.warmup and weight_decay")
        if any(share < 0 for share in self.shares.values()) or not any(self.shares.values()):
            raise _refuse("expected shares of 0 or more, one above 0", f"{where}.mixture", self.shares)
        self._check_rates(where)

    def _check_rates(self, where: str) -> None:
        trained = [part for part in PARTS if getattr(self.rates, part)]
        if not trained:
            raise _refuse("all are 0, so nothing would be learned", f"{where}.rates")
        if self.objective in CONTRASTIVE:
            if trained != ["vision_tower"] or self.lora:
                raise _refuse(
                    f"objective {self.objective} trains the tower alone: rates.vision_tower above 0, the others 0, no "
                    "lora",
                    f"{where}.rates",
                    trained,
                )
            if self.batch < 2:
                raise _refuse("a contrast needs pairs: expected 2 or more", f"{where}.batch", self.batch)
            if self.fix_up or self.template:
                raise _refuse(
                    f"fix_up and template are of objective sft, this one is {self.objective}", f"{where}.template"
                )
        for part in self.lora.parts if self.lora else ():
            if part not in trained:
                raise _refuse(f"lora.parts names {part}, but rates.{part} is 0", where)

    @property
    def shares(self) -> dict[str, float]:
        """Repeats or weights by dataset."""
        if self.weights is not None:
            return self.weights
        return parse_repeats(self.mixture) if isinstance(self.mixture, str) else self.mixture or {}


@dataclass(frozen=True)
class Recipe:
    """The whole."""

    name: str
    init: Init
    datasets: dict[str, Source]
    stages: tuple[Stage, ...]
    seed: int = 0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """What is computed in; weights that are trained are kept in float32."""
    context: int = 2048
    """Tokens of the longest conversation, pictures included."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise _refuse("expected one stage or more", "stages")
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise _refuse("two stages have this name", "stages", name)
        for stage in self.stages:
            where = f"stage {stage.name}"
            for name in (*stage.shares, *stage.held_out):
                if name not in self.datasets:
                    near = get_close_matches(name, self.datasets, 1, 0.5)
                    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.datasets) or 'none'}"
                    raise _refuse(f"is none of datasets; {hint}", where, name)
            both = sorted(set(stage.shares) & set(stage.held_out))
            if both:
                raise _refuse("is in both mixture and held_out", where, both[0])
            if stage.tokens is not None and stage.tokens < self.context:
                raise _refuse(
                    f"tokens is below context ({self.context}), so the longest conversation would not fit",
                    f"{where}.tokens",
                    stage.tokens,
                )


def read_recipe(recipe: str, settings: Sequence[str] = ()) -> Any:
    """Read a recipe: a path, or the name of one that comes with the package.

    Args:
        recipe: Path or name.
        settings: `a.b=value` each, applied before anything is checked. Paths in a recipe are taken from where the
            command runs.

    Returns:
        A `Recipe`, or an `ExpertRecipe` for one that has `network`.

    Raises:
        InputError: Names the key that is wrong and what would be right.
    """
    from attending.training.expert_recipe import ExpertRecipe

    path = Path(recipe)
    shipped = {Path(one.name).stem: one for one in files("attending.training").joinpath("recipes").iterdir()}
    if not path.exists() and recipe in shipped:
        path = Path(str(shipped[recipe]))
    if not path.is_file():
        raise InputError(f"expected a YAML file or one of {', '.join(sorted(shipped))}", field="recipe", value=recipe)
    table = read_yaml(path)
    override(table, settings)
    try:
        return build(ExpertRecipe if "network" in table else Recipe, table)
    except InputError as error:
        raise InputError(error.problem, path=path, field=error.field, value=error.value) from error
