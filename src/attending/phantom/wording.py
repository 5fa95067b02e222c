"""Wording: phrasings from the data file, with a share reserved for testing."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np


class Phrase(NamedTuple):
    """A filled-in phrasing.

    Attributes:
        text: The words.
        source: Which phrasing it was, such as `question.presence.train.2`.
        reserved: Whether it is one that training never sees.
    """

    text: str
    source: str
    reserved: bool


@cache
def wording() -> dict[str, Any]:
    """The data file."""
    return tomllib.loads(files("attending.phantom").joinpath("data/wording.toml").read_text(encoding="utf-8"))


def reserved_share() -> float:
    """Share of all phrasings that is reserved for testing."""
    kept = [len(bank[part]) for _, bank in banks() for part in ("train", "reserved")]
    return sum(kept[1::2]) / sum(kept)


def banks() -> list[tuple[str, dict[str, list[str]]]]:
    """Every bank of phrasings with its name (`question.presence`, ...)."""
    return [
        (f"{section}.{name}", bank)
        for section, entries in wording().items()
        if section not in ("kind", "meaning")
        for name, bank in entries.items()
    ]


def say(rng: np.random.Generator, section: str, name: str, split: str, **fields: object) -> Phrase:
    """Draw a phrasing and fill it in; only the test split may draw a reserved one, and does so half the time."""
    bank = wording()[section][name]
    part = "reserved" if split == "test" and rng.random() < 0.5 else "train"
    number = int(rng.integers(len(bank[part])))
    return Phrase(bank[part][number].format(**fields), f"{section}.{name}.{part}.{number}", part == "reserved")


def article(words: str) -> str:
    """`a` or `an`."""
    return "an" if words[0].lower() in "aeiou" else "a"
