"""One name for each thing, whatever a model, a user or an expert calls it."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

LESION = re.compile(r"\b(?:tumor|lesion|mass|nodule|cyst|cancer|metastasis|abnormality)\b")
"""A word for some lesion that does not say which."""


@cache
def _table() -> tuple[dict[str, str], re.Pattern[str], dict[str, str], re.Pattern[str]]:
    text = files("attending.consult").joinpath("data/terms.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)
    words: dict[str, str] = table["words"]
    names = {other: name for name, others in table["pathologies"].items() for other in (*others, name)}
    return words, _any_of(words), names, _any_of(names)


def _any_of(names: dict[str, str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")


def simple(text: str) -> str:
    """Lower case, one spelling, singular where it matters, single spaces, `_` as a space."""
    words, pattern, _, _ = _table()
    spaced = re.sub(r"[\s_]+", " ", text.lower())
    return pattern.sub(lambda found: words[found[0]], spaced)


_LESION_IN = re.compile(
    r"\b(tumor|lesion|mass|nodule|cyst|cancer|metastasis) (?:in|of|within|involving) (?:the |this |her |his )?"
    r"(left |right )?(liver|lung|kidney|pancreas|bone|brain|colon)\b"
)


def canonical(text: str) -> str:
    """`simple` text in which every term for a pathology is the name that experts use."""
    _, _, names, pattern = _table()
    ordered = _LESION_IN.sub(r"\3 \1 \2", simple(text)).replace("  ", " ")
    return pattern.sub(lambda found: names[found[0]], ordered)


def pathologies(text: str) -> list[str]:
    """The pathologies that a text speaks of, by canonical name, in order, each once."""
    names = set(_table()[2].values())
    return list(dict.fromkeys(found[0] for found in _table()[3].finditer(canonical(text)) if found[0] in names))


def is_pathology(name: str) -> bool:
    """Whether an expert's name for something means a pathology rather than an organ."""
    return bool(pathologies(name)) or bool(LESION.search(simple(name)))


def on_film(name: str) -> str:
    """What a radiograph's classifier means by a name that says no organ: its nodule is one of the lung."""
    return {"nodule": "lung tumor", "mass": "lung tumor"}.get(simple(name), canonical(name))
