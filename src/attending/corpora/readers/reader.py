"""Reader: what a dataset is, where it is to be had, what it looks like on disk, and the function that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attending.corpora.dataset import Dataset


@dataclass(frozen=True)
class Reader:
    """One dataset format.

    Attributes:
        name: What the user calls it by.
        title: What it is, in a sentence.
        expects: The files it reads, one path a line.
        source: Where it is to be had.
        citation: Whom to cite.
        licence: As its makers state it.
        splits: Those it has, of `SPLITS`.
        read: Reads one split: `read(folder, split, *, progress, ...)`; what else is keyword-only are its options.
        needs_folder: Whether it reads from disk.
    """

    name: str
    title: str
    expects: tuple[str, ...]
    source: str
    citation: str
    licence: str
    splits: tuple[str, ...]
    read: Callable[..., Dataset]
    needs_folder: bool = True
