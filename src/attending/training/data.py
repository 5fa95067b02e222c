"""A recipe's datasets: read, checked as a whole before anything is trained, and mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attending.corpora.conversation import Conversation
from attending.corpora.convert import convert
from attending.corpora.dataset import Dataset, load_picture, read, report
from attending.corpora.leaks import check_leaks
from attending.corpora.mixture import Mixture, by_repeats, by_weights
from attending.corpora.packing import encode
from attending.errors import AttendingError, InputError
from attending.imaging import Picture
from attending.training.contrast import caption
from attending.training.made import MADE
from attending.training.recipe import CONTRASTIVE, Recipe, Source, Stage

Tell = Callable[[str], None]
_LOOKED_AT = 20
"""Conversations that tell whether a dataset's pictures are made in memory."""


class DataError(InputError):
    """All that is wrong with a recipe's data, at once.

    Attributes:
        problems: One error for each.
    """

    def __init__(self, problems: Sequence[AttendingError]) -> None:
        super().__init__(f"{len(problems)} problems in the data; nothing was trained. The first: {problems[0]}")
        self.problems = list(problems)

    def lines(self) -> str:
        """The first problems, a line each, and how many more there are."""
        return report([one if isinstance(one, InputError) else InputError(str(one)) for one in self.problems])


@dataclass(frozen=True)
class Amount:
    """How much one dataset holds under one stage's template."""

    conversations: int
    tokens: int
    learned: int
    pictures: int
    longest: int


def read_all(recipe: Recipe, tell: Tell = lambda text: None, kept: Path | None = None) -> dict[str, Dataset]:
    """Read every dataset of the recipe's stages.

    Args:
        recipe: The recipe.
        tell: Told what is being done.
        kept: A folder into which conversations that are made, not read, are written once: making a study takes
            seconds, and training asks for each many times. None makes them anew.

    Raises:
        DataError: Some cannot be read, rows of some cannot be used, or what is held out is also learned from.
    """
    found: dict[str, Dataset] = {}
    problems: list[AttendingError] = []
    held = {name for stage in recipe.stages for name in stage.held_out}
    used = dict.fromkeys(name for stage in recipe.stages for name in (*stage.shares, *stage.held_out))
    for name in used:
        source = recipe.datasets[name]
        tell(f"reading {name}")
        try:
            dataset = _read(name, source, kept)
        except AttendingError as error:
            problems.append(InputError(str(error), field=f"datasets.{name}"))
            continue
        problems += dataset.problems
        if source.most is not None and source.most < len(dataset.conversations):
            few = dataset.conversations[: source.most]
            dataset = replace(dataset, conversations=few, patients=None, images=None)
        if not dataset.conversations and not dataset.problems:
            problems.append(InputError("holds no conversations", field=f"datasets.{name}"))
        # What is held out must be apart from what is learned, whatever the datasets call their splits.
        found[name] = replace(dataset, name=name, split="held out" if name in held else "learned")
    problems += check_leaks(found.values())
    if problems:
        raise DataError(problems)
    return found


def _read(name: str, source: Source, kept: Path | None) -> Dataset:
    """One dataset; what it makes in memory is written down once, and read from there."""
    folder = None if source.folder is None else Path(source.folder).expanduser()
    path = None if kept is None else kept / f"{name}.jsonl"
    if path is not None and path.exists():
        return read("llava", path, source.split)
    if source.read in MADE:
        dataset = MADE[source.read](source.split, source.options)
    else:
        dataset = read(source.read, folder, source.split, **source.options)
    if path is None or dataset.problems or not dataset.conversations:
        return dataset
    some = dataset.conversations[:_LOOKED_AT]
    if not any(isinstance(image, Picture) for one in some for image in one.images):
        return dataset
    if source.most is not None:
        dataset = replace(dataset, conversations=dataset.conversations[: source.most])
    convert(dataset, path)
    return read("llava", path, source.split)


def check_all(
    recipe: Recipe, datasets: Mapping[str, Dataset], processors: Mapping[str, Any], tell: Tell = lambda text: None
) -> dict[str, dict[str, Amount]]:
    """Tokenize every conversation and decode every picture once, and count them, by stage and dataset.

    Args:
        recipe: The recipe.
        datasets: From `read_all`.
        processors: By stage, with its chat template.
        tell: Told what is being done.

    Raises:
        DataError: Conversations too long or without a picture, ids that occur twice, pictures that cannot be read.
    """
    problems: list[AttendingError] = []
    amounts: dict[str, dict[str, Amount]] = {}
    done: dict[tuple[Any, ...], Amount] = {}
    for stage in recipe.stages:
        amounts[stage.name] = {}
        for name in dict.fromkeys((*stage.shares, *stage.held_out)):
            processor = processors[stage.name]
            key = (name, stage.objective in CONTRASTIVE, processor.chat_template, stage.fix_up)
            if key not in done:
                tell(f"checking {name} for stage {stage.name}")
                done[key], wrong = _check(datasets[name].conversations, processor, recipe, stage)
                problems += wrong
            amounts[stage.name][name] = done[key]
    problems += _broken(_files(datasets.values()), tell)
    for name, dataset in datasets.items():
        seen: set[str] = set()
        twice = {one.id for one in dataset.conversations if one.id in seen or seen.add(one.id)}  # type: ignore[func-returns-value]
        problems += [InputError("is the id of two conversations", field=f"datasets.{name}", value=one) for one in twice]
    if problems:
        raise DataError(problems)
    return amounts


def _check(
    conversations: Sequence[Conversation], processor: Any, recipe: Recipe, stage: Stage
) -> tuple[Amount, list[AttendingError]]:
    tokens = learned = pictures = longest = 0
    problems: list[AttendingError] = []
    for one in conversations:
        try:
            if stage.objective in CONTRASTIVE:
                length = kept = len(processor.tokenizer(caption(one))["input_ids"])
            else:
                sample = encode(one, processor, recipe.context, stage.fix_up)
                length, kept = len(sample), int((sample.labels >= 0).sum())
        except InputError as error:
            problems.append(error)
            continue
        tokens, learned, longest = tokens + length, learned + kept, max(longest, length)
        pictures += len(one.images)
    return Amount(len(conversations), tokens, learned, pictures, longest), problems


def _files(datasets: Any) -> list[Path]:
    return list(
        dict.fromkeys(
            image
            for dataset in datasets
            for one in dataset.conversations
            for image in one.images
            if not isinstance(image, Picture)
        )
    )


def _broken(paths: Sequence[Path], tell: Tell) -> Iterator[AttendingError]:
    """What keeps pictures from being shown, one error each."""
    tell(f"opening {len(paths)} pictures")

    def attempt(path: Path) -> AttendingError | None:
        try:
            load_picture(path)
        except AttendingError as error:
            return error
        return None

    with ThreadPoolExecutor(4) as pool:
        yield from (error for error in pool.map(attempt, paths) if error is not None)


def mix(recipe: Recipe, stage: Stage, datasets: Mapping[str, Dataset]) -> Mixture:
    """The stream that a stage learns from; each stage has an order of its own."""
    conversations = {name: datasets[name].conversations for name in stage.shares}
    seed = recipe.seed * 1009 + [one.name for one in recipe.stages].index(stage.name)
    make = by_weights if stage.weights is not None else by_repeats
    return make(conversations, stage.shares, seed)


def texts(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """All that is said, for a tokenizer to be trained on."""
    for dataset in datasets.values():
        for one in dataset.conversations:
            for message in one.messages:
                yield message.content
