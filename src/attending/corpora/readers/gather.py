"""Gather: rows become conversations one by one; what cannot is refused with its reason, and everything is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

from attending.corpora.conversation import Conversation
from attending.corpora.dataset import Dataset, Progress
from attending.errors import InputError

Row = TypeVar("Row")


class PassedOverError(Exception):
    """A row that is sound and yet gives no conversation; the message says why."""


class Built(Sequence[Conversation], Generic[Row]):
    """Conversations made when indexed, from rows that take far less memory; made again each time."""

    def __init__(self, rows: Sequence[Row], make: Callable[[Row], Conversation]) -> None:
        self._rows, self._make = rows, make

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Conversation]:
        return map(self._make, self._rows)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Conversation]: ...

    def __getitem__(self, index: int | slice) -> Conversation | Sequence[Conversation]:
        if isinstance(index, slice):
            return Built(self._rows[index], self._make)
        return self._make(self._rows[index])


class Gather(Generic[Row]):
    """Collects one split of one dataset.

    Args:
        name: The dataset's.
        split: The split.
        make: A row's conversation; always the same for the same row.
        progress: Called with the number of rows looked at.
    """

    def __init__(self, name: str, split: str, make: Callable[[Row], Conversation], progress: Progress) -> None:
        self.name, self.split = name, split
        self.problems: list[InputError] = []
        self.notes: list[str] = []
        self._make, self._progress = make, progress
        self._rows: list[Row] = []
        self._ids: Counter[str] = Counter()
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._facts: Counter[tuple[str, str]] = Counter()
        self._passed: Counter[str] = Counter()
        self._patients: set[str] = set()
        self._images: dict[Path, bool] = {}

    def look(self) -> None:
        """Count a row of this split as looked at."""
        self._counts["rows"] += 1
        self._progress(self._counts["rows"])

    def unique(self, original: str) -> str:
        """An id that no other record has: the original one, or with `#2`, `#3` ... behind it where that is taken."""
        self._ids[original] += 1
        number = self._ids[original]
        while number > 1 and f"{original}#{number}" in self._ids:
            number += 1
        if number == 1:
            return original
        found = f"{original}#{number}"
        self._ids[found] += 1
        return found

    def add(self, row: Row, *counted: str) -> bool:
        """Take a row in, or refuse it; `counted` are the facts whose values are counted."""
        try:
            conversation = self._make(row)
            if conversation.id in self._taken:
                raise InputError(f"the id is that of an earlier row of {self.name}", field="id", value=conversation.id)
            for image in conversation.images:
                self._check_image(conversation, image)
        except PassedOverError as why:
            self.pass_over(str(why))
            return False
        except InputError as error:
            self.refuse(error)
            return False
        self._rows.append(row)
        self._taken.add(conversation.id)
        self._counts["conversations"] += 1
        if conversation.patient:
            self._patients.add(conversation.patient)
        for fact in counted:
            self._facts[fact, conversation.facts.get(fact, "") or "not stated"] += 1
        return True

    def refuse(self, error: InputError) -> None:
        """Leave a row out because it is wrong."""
        self.problems.append(error)
        self._counts["refused"] += 1

    def pass_over(self, why: str) -> None:
        """Leave a row out that is as published, and cannot be used: a note, not a problem."""
        self._passed[why] += 1

    def _check_image(self, conversation: Conversation, image: object) -> None:
        if not isinstance(image, Path):
            return
        if image not in self._images:
            self._images[image] = image.is_file()
        if not self._images[image]:
            raise InputError(f"the image of {conversation.id} of {self.name} is not there", path=image)

    def dataset(self, *, images: Sequence[Path] = ()) -> Dataset:
        """What was gathered; `images` are files that stand behind pictures made in memory."""
        there = {path for path, found in self._images.items() if found} | set(images)
        counts = {key: self._counts[key] for key in ("rows", "conversations", "refused")}
        counts["images"], counts["patients"] = len(there), len(self._patients)
        counts |= {f"{fact}: {value}": number for (fact, value), number in sorted(self._facts.items())}
        counts |= {f"passed over: {why}": number for why, number in sorted(self._passed.items())}
        return Dataset(
            self.name,
            self.split,
            Built(self._rows, self._make),
            counts,
            self.problems,
            self.notes,
            frozenset(self._patients),
            tuple(sorted(there)),
        )
