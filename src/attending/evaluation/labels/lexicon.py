"""The lexicon, read once and compiled."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class Lexicon:
    """Compiled word lists; all match lower-case text with single spaces.

    Attributes:
        mention: Any finding's words; `findings_of` tells which.
        phrases: Findings that a phrase names; hydropneumothorax is two.
        patterns: Expressions, each with the finding that it names.
        chexpert: CheXpert label of a finding, where it has one.
        parent: What a finding is a kind of, where the lexicon says.
        normal: Patterns of normality, each with the findings that it denies.
        severity: Words of grade; group names in ascending order are `GRADES`.
        change: Words of change since an earlier study.
        place: Words of side and zone.
    """

    mention: re.Pattern[str]
    phrases: Mapping[str, tuple[str, ...]]
    patterns: tuple[tuple[re.Pattern[str], str], ...]
    chexpert: Mapping[str, str]
    parent: Mapping[str, str]
    normal: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
    severity: re.Pattern[str]
    change: re.Pattern[str]
    place: Mapping[str, re.Pattern[str]]

    def findings_of(self, words: str) -> tuple[str, ...]:
        """The findings that a match of `mention` names."""
        for form in (words, words.removesuffix("s"), words.removesuffix("es")):
            if form in self.phrases:
                return self.phrases[form]
        return next((name,) for pattern, name in self.patterns if pattern.fullmatch(words))

    def ancestors(self, finding: str) -> list[str]:
        """What a finding is a kind of, nearest first."""
        above: list[str] = []
        while finding in self.parent:
            finding = self.parent[finding]
            above.append(finding)
        return above


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon that ships with the package."""
    table = tomllib.loads(files(__package__).joinpath("lexicon.toml").read_text("utf-8"))
    findings = table["finding"]
    phrases: dict[str, tuple[str, ...]] = {}
    for name, entry in findings.items():
        for phrase in entry["phrases"]:
            phrases[phrase] = (*phrases.get(phrase, ()), name)
    patterns = [(pattern, name) for name, entry in findings.items() for pattern in entry.get("patterns", [])]
    literal = rf"(?:{_any(phrases)})(?:s|es)?"
    return Lexicon(
        re.compile("|".join([*(rf"\b{pattern}\b" for pattern, _ in patterns), rf"(?<![\w-]){literal}(?!\w)"])),
        phrases,
        tuple((re.compile(pattern), name) for pattern, name in patterns),
        {name: entry["chexpert"] for name, entry in findings.items() if "chexpert" in entry},
        {name: entry["parent"] for name, entry in findings.items() if "parent" in entry},
        tuple((re.compile(rf"\b(?:{entry['pattern']})(?!\w)"), tuple(entry["denies"])) for entry in table["normal"]),
        _groups(table["severity"]),
        _groups(table["change"]),
        {name: re.compile(rf"\b(?:{_any(words)})\b") for name, words in table["place"].items()},
    )


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _groups(table: Mapping[str, list[str]]) -> re.Pattern[str]:
    """One pattern with a named group an entry, the longest words of all entries first."""
    pairs = sorted(((word, name) for name, words in table.items() for word in words), key=lambda pair: -len(pair[0]))
    seen: dict[str, int] = {}
    parts = []
    for word, name in pairs:
        seen[name] = seen.get(name, 0) + 1
        parts.append(rf"(?P<{name}_{seen[name]}>{re.escape(word)})")
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")
