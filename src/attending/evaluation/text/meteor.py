"""METEOR by exact words and stems (Lavie and Agarwal 2007).

This is nltk's METEOR with a WordNet that knows no synonyms, digit for digit. It is neither nltk's with WordNet nor the
METEOR 1.5 that pycocoevalcap runs, which also match synonyms (and paraphrases): that one is in
`attending.evaluation.text.meteor_java`, for machines that have Java.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attending.evaluation.text.stem import stem

_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5

Placed = list[tuple[int, str]]


def meteor(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """METEOR of one pair of token lists, 0 to 1."""
    mine = [(i, word.lower()) for i, word in enumerate(hypothesis)]
    theirs = [(i, word.lower()) for i, word in enumerate(reference)]
    exact, mine, theirs = _align(mine, theirs)
    stems, _, _ = _align([(i, stem(word)) for i, word in mine], [(i, stem(word)) for i, word in theirs])
    matches = sorted(exact + stems)
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(hypothesis), len(matches) / len(reference)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    breaks = sum((b[0] - a[0], b[1] - a[1]) != (1, 1) for a, b in pairwise(matches))
    return float((1 - _GAMMA * ((breaks + 1) / len(matches)) ** _BETA) * mean)


def _align(mine: Placed, theirs: Placed) -> tuple[list[tuple[int, int]], Placed, Placed]:
    """Pair equal words, the last of the hypothesis with the last free one of the reference; and what is left."""
    free: dict[str, list[int]] = {}
    for place, word in theirs:
        free.setdefault(word, []).append(place)
    matches, left = [], []
    for place, word in reversed(mine):
        if free.get(word):
            matches.append((place, free[word].pop()))
        else:
            left.append((place, word))
    used = {place for _, place in matches}
    return matches, left[::-1], [pair for pair in theirs if pair[0] not in used]
