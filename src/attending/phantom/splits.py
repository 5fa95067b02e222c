"""Splits: which seeds train, validate and test, and the check that they stay apart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from attending.errors import InputError

SPLITS = {"train": range(0, 900_000), "validation": range(900_000, 950_000), "test": range(950_000, 1_000_000)}
"""Seeds of each split. A seed is a patient, so no patient is in two splits."""


def split_of(seed: int) -> str:
    """The split a seed belongs to.

    Raises:
        InputError: No split has that seed.
    """
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise InputError("expected 0 to 999999", field="seed", value=seed)


def seeds_of(split: str, first: int, count: int) -> range:
    """`count` seeds from the `first` one of a split, all within it.

    Raises:
        InputError: No such split, or the seeds run over its end.
    """
    if split not in SPLITS:
        raise InputError(f"expected one of {', '.join(SPLITS)}", field="split", value=split)
    whole = SPLITS[split]
    if first < 0 or count < 0 or first + count > len(whole):
        raise InputError(f"{split} has {len(whole)} seeds", field="seed and number", value=f"{first} + {count}")
    return whole[first : first + count]


def check_apart(training: Iterable[str | PathLike[str]], testing: Iterable[str | PathLike[str]]) -> tuple[int, int]:
    """Read every truth file under the folders and make sure that none leaks from testing into training.

    A training folder may hold only training and validation seeds, a testing folder only test seeds, and no patient may
    be in both.

    Args:
        training: Folders whose cases are trained on.
        testing: Folders whose cases are tested on.

    Returns:
        Number of training cases and of test cases.

    Raises:
        InputError: A leak, naming the file; a folder without cases; a truth file that cannot be read.
    """
    seen: dict[int, Path] = {}
    for path, seed in _cases(training):
        if split_of(seed) == "test":
            raise InputError("a test seed lies among the training cases", path=path, field="seed", value=seed)
        seen[seed] = path
    tested = _cases(testing)
    for path, seed in tested:
        if seed in seen or split_of(seed) != "test":
            raise InputError("a training seed lies among the test cases", path=path, field="seed", value=seed)
    return len(_cases(training)), len(tested)


def _cases(folders: Iterable[str | PathLike[str]]) -> list[tuple[Path, int]]:
    found = []
    for folder in folders:
        paths = sorted(Path(folder).glob("**/truth.json"))
        if not paths:
            raise InputError("no truth.json in this folder or below it", path=folder)
        for path in paths:
            try:
                seed = json.loads(path.read_text(encoding="utf-8"))["seed"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError("expected a truth file with a seed", path=path) from error
            if not isinstance(seed, int):
                raise InputError("expected a whole number", path=path, field="seed", value=seed)
            found.append((path, seed))
    return found
