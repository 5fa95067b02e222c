"""BLEU: clipped n-gram counts for many pairs at once, and the two ways the field turns them into a score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDER = 4
_BLOCK = 128
"""Pairs counted at once: few enough that the arrays stay in the cache."""
_WIDEST = 61
"""Bits that pair and n-gram may take in a key."""
_NO_NGRAM = -1
"""Key of words that are not all of one text; it matches nothing."""


def bleu_statistics(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Array:
    """What BLEU needs of each pair.

    Returns:
        [pairs, 10]: tokens of the hypothesis, tokens of the reference, clipped matches of 1- to 4-grams, 1- to 4-grams
        of the hypothesis.

    Raises:
        ValueError: Not as many hypotheses as references.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses, {len(references)} references; expected one reference each")
    blocks = [
        _block(hypotheses[start : start + _BLOCK], references[start : start + _BLOCK])
        for start in range(0, len(hypotheses), _BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros((0, 2 + 2 * ORDER))


def coco_bleu(statistics: Array) -> Array:
    """Corpus BLEU-1 to -4 as pycocoevalcap computes it, 0 to 1.

    Args:
        statistics: Sums of `bleu_statistics` over a corpus, [..., 10].

    Returns:
        [..., 4].
    """
    tiny, small = 1e-15, 1e-9  # pycocoevalcap's, so that its scores come out the same to the last digits
    ours, theirs = statistics[..., :1], statistics[..., 1:2]
    logs = np.log(statistics[..., 2:6] + tiny) - np.log(statistics[..., 6:] + small)
    ratio = (ours + tiny) / (theirs + small)
    penalty = np.where(ratio < 1, 1 - 1 / ratio, 0.0)
    return np.asarray(np.exp(np.cumsum(logs, axis=-1) / np.arange(1, ORDER + 1) + penalty))


def sacre_bleu(statistics: Array) -> float:
    """Corpus BLEU-4 as sacrebleu computes it, 0 to 100, with its default exponential smoothing.

    Args:
        statistics: Sums of `bleu_statistics` over a corpus, [10].
    """
    ours, theirs, *counts = (float(value) for value in statistics)
    matches, totals = counts[:ORDER], counts[ORDER:]
    if not any(matches):
        return 0.0
    logs, smooth = 0.0, 1.0
    for hits, total in zip(matches, totals, strict=True):
        if total == 0:
            return 0.0
        if hits == 0:
            smooth *= 2
        logs += np.log(100 * hits / total) if hits else np.log(100 / (smooth * total))
    penalty = np.exp(1 - theirs / ours) if ours < theirs else 1.0
    return float(penalty * np.exp(logs / ORDER))


def _block(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Array:
    texts = list(chain.from_iterable(zip(hypotheses, references, strict=True)))
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    numbered: defaultdict[str, int] = defaultdict(count().__next__)  # words get numbers as they come
    words = np.fromiter(map(numbered.__getitem__, chain.from_iterable(texts)), dtype=np.int64, count=lengths.sum())
    matches = _matches(words, lengths, max(1, len(numbered) - 1).bit_length())
    totals = np.maximum(0, lengths[::2, None] - np.arange(ORDER)[None])
    return np.concatenate([lengths.reshape(-1, 2), matches, totals], axis=1).astype(np.float64)


def _matches(words: Ints, lengths: Ints, bits: int) -> Ints:
    """Clipped matches, [pairs, ORDER]. `words` are numbers of `bits`; texts lie end to end."""
    pairs = len(lengths) // 2
    text = np.repeat(np.arange(2 * pairs), lengths)
    pair, side = text >> 1, text & 1
    codes, width = words, bits
    found = np.zeros((pairs, ORDER), dtype=np.int64)
    for order in range(1, min(ORDER, len(words)) + 1):
        if order > 1:
            if width + bits + pairs.bit_length() > _WIDEST:  # too many to number: number only those that occur
                unique, codes = np.unique(codes, return_inverse=True)
                width = len(unique).bit_length()
            codes = codes[:-1] << bits | words[order - 1 :]
            width += bits
        size = len(codes)
        keys = ((pair[:size] << width | codes) << 1) | side[:size]
        keys[text[:size] != text[order - 1 :]] = _NO_NGRAM
        found[:, order - 1] = _shared(keys, width, pairs)
    return found


def _shared(keys: Ints, width: int, pairs: int) -> Ints:
    """For each pair, how many n-grams both texts have, each counted as often as both have it.

    Args:
        keys: Pair, n-gram (in `width` bits) and side (1 bit) of every n-gram.
        width: See `keys`.
        pairs: How many pairs.
    """
    keys.sort()  # an n-gram's occurrences in the hypothesis now come right before those in the reference
    ends = np.flatnonzero(keys[1:] != keys[:-1])
    unique = keys[np.append(ends, len(keys) - 1)]
    counts = np.diff(ends, prepend=-1, append=len(keys) - 1)
    both = np.flatnonzero((unique[1:] ^ unique[:-1]) == 1)
    both = both[unique[both] & 1 == 0]
    least = np.minimum(counts[both], counts[both + 1])
    return np.bincount(unique[both] >> (width + 1), weights=least, minlength=pairs).astype(np.int64)
