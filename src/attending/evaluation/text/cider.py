"""CIDEr-D: n-grams weighed by how rare they are in the references, as pycocoevalcap computes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ORDER = 4
_SIGMA = 6.0
"""Width, in tokens, of the penalty on a difference in length."""


def cider(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """CIDEr-D of each pair, 0 to 10, [pairs]; the corpus' is their mean.

    Frequencies come from all references given, so a pair's score depends on the others; with one pair it is 0.
    """
    counted = [_ngrams(tokens) for tokens in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for counts in counted:
        frequency.update(counts.keys())
    size = math.log(max(1, len(references)))
    rarity = {ngram: size - math.log(count) for ngram, count in frequency.items()}
    return np.array(
        [_pair(_ngrams(mine), theirs, rarity, size) for mine, theirs in zip(hypotheses, counted, strict=True)],
        dtype=np.float64,
    )


def _ngrams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for order in range(1, _ORDER + 1):
        counts.update(zip(*(tokens[i:] for i in range(order)), strict=False))
    return counts


def _pair(
    mine: Counter[tuple[str, ...]],
    theirs: Counter[tuple[str, ...]],
    rarity: dict[tuple[str, ...], float],
    unseen: float,
) -> float:
    dot, norm_mine, norm_theirs = [0.0] * _ORDER, [0.0] * _ORDER, [0.0] * _ORDER
    bigrams = 0
    for ngram, count in mine.items():
        order, weight = len(ngram) - 1, rarity.get(ngram, unseen)
        norm_mine[order] += (count * weight) ** 2
        dot[order] += min(count, theirs.get(ngram, 0)) * weight * theirs.get(ngram, 0) * weight
        bigrams += count if order == 1 else 0
    for ngram, count in theirs.items():
        norm_theirs[len(ngram) - 1] += (count * rarity[ngram]) ** 2
        bigrams -= count if len(ngram) == 2 else 0
    penalty = math.exp(-(bigrams**2) / (2 * _SIGMA**2))
    total = sum(d / math.sqrt(m * t) for d, m, t in zip(dot, norm_mine, norm_theirs, strict=True) if m and t)
    return 10 * penalty * total / _ORDER
