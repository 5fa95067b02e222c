"""ROUGE-L: the longest common subsequence, by bit-parallel dynamic programming."""

from __future__ import annotations

from collections.abc import Sequence


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence (Hyyro 2004: one row of the table is one integer)."""
    places: dict[str, int] = {}
    bit = 1
    for word in first:
        places[word] = places.get(word, 0) | bit
        bit <<= 1
    full = row = bit - 1
    get = places.get
    for word in second:
        mask = get(word)
        if mask:
            shared = row & mask
            row = (row + shared) | (row - shared)
    return len(first) - (row & full).bit_count()


def rouge_l(hypothesis: Sequence[str], reference: Sequence[str], beta: float = 1.0) -> float:
    """ROUGE-L F of one pair, 0 to 1.

    Args:
        hypothesis: Tokens.
        reference: Tokens.
        beta: Weight of recall: 1 as rouge-score has it, 1.2 as pycocoevalcap does.
    """
    common = lcs_length(reference, hypothesis)
    if not common:
        return 0.0
    precision, recall = common / len(hypothesis), common / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
