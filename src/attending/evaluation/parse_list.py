"""Lists: the items an answer names, without those it denies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from attending.evaluation.parse import Parsed, final_answer, found, invalid
from attending.evaluation.parse_words import DENIED, REFUSAL

_SENTENCE = re.compile(r"(?<=\w)\.(?:\s+|$)|;|\bbut\b", re.IGNORECASE)
_ITEM = re.compile(r",|\s+(?:and|&|as well as|plus|or|nor)\s+|\s*/\s*(?=[a-z])", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+", re.IGNORECASE)
_DENIES_ON = re.compile(r"(?:there (?:is|are) )?(?:no|without|neither|negative for|free of)\b")
_LEAD = re.compile(
    r"^(?:(?:there (?:is|are)|i (?:see|find)|it shows|findings? (?:include|are|is)|findings?:|also|a|an|the|and|or|with"
    r"|some)\s+)+"
)
_NONE = re.compile(
    r"^\W*(?:none|nothing|nil|n/a|no (?:findings?|abnormalit\w+|acute \w+.*)|normal|\[\s*\])\W*(?:of the above\W*)?$",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[^\W_]+")
_MAX_ITEMS = 1000


def items(text: str, vocabulary: Iterable[str] | None = None) -> Parsed:
    """The items in lower case, each once, in the order written; denied ones are left out.

    With a vocabulary: its names, as it spells them, where the text has them as whole words (the longest first) and does
    not deny them. Answers such as "none" are an empty tuple. Invalid: `empty`, `refusal`, `no item` (nothing that the
    vocabulary has), `too many items`.
    """
    answer = final_answer(text).strip()
    if not answer:
        return invalid("empty")
    if _NONE.match(answer):
        return found(())
    parts = _parts(answer)
    kept = _known(parts, vocabulary) if vocabulary is not None else _plain(parts)
    if len(kept) > _MAX_ITEMS:
        return invalid("too many items")
    if kept:
        return found(kept)
    if any(DENIED.search(part) for part in parts) and not REFUSAL.search(answer.lower()):
        return found(())
    return invalid("refusal" if REFUSAL.search(answer.lower()) else "no item")


def _parts(answer: str) -> list[str]:
    """The pieces between separators; a denial holds on for the items that follow it: "no effusion, edema or mass"."""
    if answer.startswith("["):
        try:
            loaded = json.loads(answer)
        except (ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, list) and all(isinstance(item, str) for item in loaded):
            return [item.lower() for item in loaded]
    parts = []
    for sentence in (one for line in answer.splitlines() for one in _SENTENCE.split(_BULLET.sub("", line))):
        denied = False
        for piece in _ITEM.split(sentence):
            item = piece.strip(" \t.:!*\"'").lower()
            parts.append(f"no {item}" if denied and item else item)
            denied = denied or _DENIES_ON.match(item) is not None
    return [part for part in parts if part]


def _plain(parts: list[str]) -> tuple[str, ...]:
    named = (_LEAD.sub("", part).strip() for part in parts if not DENIED.search(part) and not REFUSAL.search(part))
    return tuple(dict.fromkeys(name for name in named if name))


def _known(parts: list[str], vocabulary: Iterable[str]) -> tuple[str, ...]:
    names = sorted({str(name) for name in vocabulary}, key=lambda name: (-len(name), name))
    kept: dict[str, int] = {}
    for number, part in enumerate(parts):
        rest = _spaced(part)
        denied = DENIED.search(part) is not None
        for name in names:
            words = _spaced(name)
            if words.strip() and words in rest:
                rest = rest.replace(words, " ~ ")
                if not denied:
                    kept.setdefault(name, number)
    return tuple(sorted(kept, key=lambda name: (kept[name], name)))


def _spaced(text: str) -> str:
    return f" {' '.join(_WORDS.findall(text.lower()))} "
