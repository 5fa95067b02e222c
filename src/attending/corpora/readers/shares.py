"""Shares: which split a patient falls into where a dataset has no split of its own."""

from __future__ import annotations

import hashlib

from attending.corpora.dataset import SPLITS
from attending.errors import InputError


def shares_of(text: str) -> tuple[int, int, int]:
    """Percentages of train, validate and test from text such as `80,10,10`.

    Raises:
        InputError: Not three whole numbers that make 100.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts) or sum(map(int, parts)) != 100:
        raise InputError("expected three percentages that make 100, such as 80,10,10", field="shares", value=text)
    train, validate, test = map(int, parts)
    return train, validate, test


def split_by_hash(who: str, shares: tuple[int, int, int]) -> str:
    """The split of a patient (or picture, or case): always the same for the same name and shares."""
    place = int.from_bytes(hashlib.sha256(who.encode()).digest()[:8]) % 100
    if place < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if place < shares[0] + shares[1] else SPLITS[2]
