"""Mixture: several datasets as one endless shuffled stream, any position of which can be computed at once."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from attending.corpora.conversation import Conversation
from attending.errors import InputError


@dataclass(frozen=True)
class Part:
    """One dataset's share."""

    name: str
    conversations: Sequence[Conversation]
    count: int
    """How many of an epoch's conversations come from it; more than it has repeats some, each equally often or once
    more."""


class Mixture:
    """An endless stream of conversations, shuffled anew each epoch.

    Nothing is drawn and nothing is stored: position `p` is a function of seed, parts and `p` alone. So any number of
    ranks and workers can share a stream without talking, a position is all the state there is to resume from, and
    memory does not grow with the length of an epoch.

    Args:
        parts: The datasets and their shares.
        seed: Another seed, another order.
    """

    def __init__(self, parts: Sequence[Part], seed: int = 0) -> None:
        self.parts = [part for part in parts if part.count]
        for part in self.parts:
            if not part.conversations:
                raise InputError("has no conversations", field="dataset", value=part.name)
        self._ends = list(accumulate(part.count for part in self.parts))
        if not self._ends:
            raise InputError("no dataset has a share above 0", field="mixture")
        self.seed = seed

    def __len__(self) -> int:
        """Conversations in one epoch."""
        return self._ends[-1]

    def __getitem__(self, position: int) -> Conversation:
        """The conversation at a position, counted from 0 over all epochs."""
        part, index = self.where(position)
        return self.parts[part].conversations[index]

    def where(self, position: int) -> tuple[int, int]:
        """Which part, and which of its conversations, a position holds."""
        if position < 0:
            raise IndexError(position)
        epoch, within = divmod(position, len(self))
        slot = permuted(within, len(self), _key(self.seed, "epoch", epoch))
        number = bisect_right(self._ends, slot)
        part = self.parts[number]
        copy, index = divmod(slot - (self._ends[number] - part.count), len(part.conversations))
        # The last, incomplete copy takes another selection each epoch.
        return number, permuted(index, len(part.conversations), _key(self.seed, part.name, epoch, copy))

    def stream(self, position: int = 0, rank: int = 0, world: int = 1) -> Iterator[Conversation]:
        """Every `world`-th conversation from `position + rank` on, without end."""
        while True:
            yield self[position + rank]
            position += world


def by_repeats(datasets: Mapping[str, Sequence[Conversation]], repeats: Mapping[str, float], seed: int = 0) -> Mixture:
    """A mixture in which each dataset occurs so many times an epoch; 0.5 is half of it."""
    parts = [Part(name, datasets[name], round(times * len(datasets[name]))) for name, times in repeats.items()]
    return Mixture(parts, seed)


def by_weights(datasets: Mapping[str, Sequence[Conversation]], weights: Mapping[str, float], seed: int = 0) -> Mixture:
    """A mixture with these shares; an epoch has as many conversations as the datasets together."""
    whole = sum(len(datasets[name]) for name in weights)
    total = sum(weights.values())
    return Mixture([Part(name, datasets[name], round(whole * w / total)) for name, w in weights.items()], seed)


def parse_repeats(text: str) -> dict[str, float]:
    """`a+a+b`, as the published models' scripts write it: a twice, b once."""
    found: dict[str, float] = {}
    for name in text.split("+"):
        if not name.strip():
            raise InputError("expected names joined by +, such as slake+slake+radvqa", field="mixture", value=text)
        found[name.strip()] = found.get(name.strip(), 0) + 1
    return found


def permuted(index: int, size: int, key: bytes) -> int:
    """Where a random permutation of `range(size)`, chosen by a 16-byte `key`, sends `index`; in constant memory.

    A Feistel network over the next power of four permutes; numbers beyond `size` are sent on until they fall inside
    (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    rounds = [int.from_bytes(key[i : i + 4], "little") for i in range(0, 16, 4)]
    while True:
        left, right = index >> half, index & low
        for constant in rounds:
            mixed = (right ^ constant) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ (mixed >> 32 & low)
        index = left << half | right
        if index < size:
            return index


def _key(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
