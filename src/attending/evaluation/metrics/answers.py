"""Scorers for short answers: exact and normalised match, token precision, recall and F1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from attending.evaluation.parse import Parsed

_WORD = re.compile(r"[^\W_]+(?:[.']\d+)?", re.UNICODE)
_ARTICLES = {"a", "an", "the"}


def tokens(text: str) -> list[str]:
    """Lower-case words and numbers (decimals whole), without articles and punctuation."""
    return [word for word in _WORD.findall(text.lower()) if word not in _ARTICLES]


def exact_match(parsed: Parsed, reference: Any) -> float:
    """1 when the value is the reference. A bool equals only a bool; a list or tuple its items in order."""
    if not parsed.valid or isinstance(parsed.value, bool) != isinstance(reference, bool):
        return 0.0
    value = tuple(parsed.value) if isinstance(parsed.value, list | tuple) else parsed.value
    return float(value == (tuple(reference) if isinstance(reference, list) else reference))


def normalised_match(parsed: Parsed, reference: Any) -> float:
    """1 when both have the same words in order; case, punctuation and articles aside."""
    return float(parsed.valid and tokens(str(parsed.value)) == tokens(str(reference)))


def _overlap(parsed: Parsed, reference: Any) -> tuple[int, int, int]:
    mine = tokens(str(parsed.value)) if parsed.valid else []
    theirs = tokens(str(reference))
    return sum((Counter(mine) & Counter(theirs)).values()), len(mine), len(theirs)


def token_precision(parsed: Parsed, reference: Any) -> float:
    """Share of the answer's words that are in the reference, each counted as often as both have it."""
    common, mine, _ = _overlap(parsed, reference)
    return common / mine if mine else 0.0


def token_recall(parsed: Parsed, reference: Any) -> float:
    """Share of the reference's words that are in the answer, each counted as often as both have it."""
    common, _, theirs = _overlap(parsed, reference)
    return common / theirs if theirs else 0.0


def token_f1(parsed: Parsed, reference: Any) -> float:
    """Harmonic mean of token precision and recall."""
    common, mine, theirs = _overlap(parsed, reference)
    return 2 * common / (mine + theirs) if common else 0.0


def set_f1(parsed: Parsed, reference: Any) -> float:
    """F1 of the answer's items against the reference's, as normalised words; 1 when both have none."""
    mine, theirs = _items(parsed.value) if parsed.valid else set(), _items(reference)
    if not mine and not theirs:
        return float(parsed.valid)
    return 2 * len(mine & theirs) / (len(mine) + len(theirs))


def set_exact(parsed: Parsed, reference: Any) -> float:
    """1 when the answer has the reference's items and no others, in any order."""
    return float(parsed.valid and _items(parsed.value) == _items(reference))


def _items(values: Any) -> set[tuple[str, ...]]:
    return {tuple(tokens(str(value))) for value in ([values] if isinstance(values, str) else values)}


ANSWER_SCORERS: dict[str, Callable[[Parsed, Any], float]] = {
    "exact_match": exact_match,
    "normalised_match": normalised_match,
    "token_precision": token_precision,
    "token_recall": token_recall,
    "token_f1": token_f1,
    "set_f1": set_f1,
    "set_exact": set_exact,
}
