"""Reader: what a dataset is, where it is to be had, what it looks like on disk, and the function that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from attending.corpora.dataset import Dataset


class Read(Protocol):
    """Reads one split from a folder; options are keyword-only, `progress` is among them."""

    def __call__(self, folder: Path | None, split: str, **options: object) -> Dataset:
        """Read it."""
        ...


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
        read: Reads one split.
        needs_folder: Whether it reads from disk.
    """

    name: str
    title: str
    expects: tuple[str, ...]
    source: str
    citation: str
    licence: str
    splits: tuple[str, ...]
    read: Read
    needs_folder: bool = True
