"""BLEU: clipped n-gram counts for many pairs at once, and the two ways the field turns them into a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ORDER = 4
_BLOCK = 20_000
"""Pairs counted at once; bounds memory."""
_LARGEST = 1 << 62


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
    for count, total in zip(matches, totals, strict=True):
        if total == 0:
            return 0.0
        if count == 0:
            smooth *= 2
        logs += np.log(100 * count / total) if count else np.log(100 / (smooth * total))
    penalty = np.exp(1 - theirs / ours) if ours < theirs else 1.0
    return float(penalty * np.exp(logs / ORDER))


def _block(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Array:
    pairs = len(hypotheses)
    words: list[int] = []
    lengths = np.empty(2 * pairs, dtype=np.int64)
    base = 1
    for number, (mine, theirs) in enumerate(zip(hypotheses, references, strict=True)):
        seen: dict[str, int] = {}
        number_of = seen.setdefault
        words += [number_of(word, len(seen)) for word in mine]
        words += [number_of(word, len(seen)) for word in theirs]
        lengths[2 * number], lengths[2 * number + 1] = len(mine), len(theirs)
        base = max(base, len(seen))
    matches = _matches(np.array(words, dtype=np.int64), lengths, base)
    totals = np.maximum(0, lengths[::2, None] - np.arange(ORDER)[None])
    return np.concatenate([lengths.reshape(pairs, 2), matches, totals], axis=1).astype(np.float64)


def _matches(words: Ints, lengths: Ints, base: int) -> Ints:
    """Clipped matches, [pairs, ORDER]. `words` are numbered within their pair, below `base`; texts lie end to end."""
    pairs = len(lengths) // 2
    text = np.repeat(np.arange(2 * pairs), lengths)
    codes, span = words, base
    found = np.zeros((pairs, ORDER), dtype=np.int64)
    for order in range(1, ORDER + 1):
        if order > 1:
            if span > _LARGEST // (base * 2 * pairs):  # too many to number: number only those that occur
                unique, codes = np.unique(codes, return_inverse=True)
                span = len(unique)
            codes = codes[:-1] * base + words[order - 1 :]
            span *= base
        if not len(codes):
            break
        last = text[order - 1 :]
        whole = text[: len(last)] == last
        found[:, order - 1] = _shared(codes[whole], last[whole], span, pairs)
    return found


def _shared(codes: Ints, text: Ints, span: int, pairs: int) -> Ints:
    """For each pair, how many n-grams both texts have, each counted as often as both have it."""
    if not len(codes):
        return np.zeros(pairs, dtype=np.int64)
    keys = np.sort((text // 2 * span + codes) * 2 + text % 2)  # n-grams of one pair lie together, the hypothesis' first
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    unique, counts = keys[starts], np.diff(starts, append=len(keys))
    both = unique[1:] >> 1 == unique[:-1] >> 1
    least = np.minimum(counts[1:], counts[:-1])[both]
    return np.bincount((unique[1:][both] >> 1) // span, weights=least, minlength=pairs).astype(np.int64)
