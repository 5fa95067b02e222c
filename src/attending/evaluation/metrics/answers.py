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
    """1 when the value is the reference: same type, same value."""
    return float(parsed.valid and type(parsed.value) is type(reference) and parsed.value == reference)


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


ANSWER_SCORERS: dict[str, Callable[[Parsed, Any], float]] = {
    "exact_match": exact_match,
    "normalised_match": normalised_match,
    "token_precision": token_precision,
    "token_recall": token_recall,
    "token_f1": token_f1,
}
