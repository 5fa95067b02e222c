"""Dataset: what a reader made of a folder: its conversations, its counts, and every problem found, at once.

`read("slake", Path("Slake1.0"), "train")` never raises for a bad row: it is left out of `conversations`, counted under
`refused`, and its `InputError` is in `problems`. Whoever trains calls `require(datasets)` first, which raises
one error. `conversations` may be lazy: making one by index can read from disk, and the same index
always gives the same conversation. Images stay paths until `load_picture`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attending.corpora.conversation import Conversation
from attending.errors import InputError
from attending.imaging import Picture, open_study, picture_of, slice_picture

SPLITS = ("train", "validate", "test")
_SPOKEN = {"val": "validate", "valid": "validate", "validation": "validate", "dev": "validate"}
_SHOWN = 20

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of one dataset.

    Attributes:
        name: The reader's name, or one that tells two datasets of one reader apart.
        split: One of `SPLITS`.
        conversations: The records, in a fixed order; ids are unique. Perhaps made when indexed.
        counts: `rows` looked at, `conversations`, `refused`, `images`, `patients`, and `<fact>: <value>` for the facts
            worth counting, such as `question type: presence`.
        problems: One error for each row, file or field that cannot be used; it names them.
        notes: What was passed over or changed on purpose, a sentence each.
        patients: All of them; None where they are to be looked up in the conversations.
        images: The files it rests on; None where they are to be looked up in the conversations.
    """

    name: str
    split: str
    conversations: Sequence[Conversation]
    counts: Mapping[str, int]
    problems: list[InputError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    patients: frozenset[str] | None = None
    images: tuple[Path, ...] | None = None


def names() -> list[str]:
    """The names that `read` takes."""
    from attending.corpora.readers import READERS

    return list(READERS)


def read(
    name: str, folder: Path | None, split: str = "train", *, progress: Progress = lambda done: None, **options: Any
) -> Dataset:
    """Read one split of a dataset from the user's disk.

    Args:
        name: One of `names()`.
        folder: Where it lies; a single file where the reader takes one; None for what is made, not read.
        split: One of `SPLITS`; `val`, `valid`, `validation` and `dev` mean `validate`.
        progress: Called with the number of rows looked at so far.
        options: Of that reader; see its `read`.

    Raises:
        InputError: No such reader, split or option; or the folder is not that dataset at all.
        NotAvailableError: The reader needs a package that is not installed.
    """
    from attending.corpora.readers import READERS

    if name not in READERS:
        raise InputError(f"expected one of {', '.join(READERS)}", field="dataset", value=name)
    reader = READERS[name]
    split = _SPOKEN.get(split, split)
    if split not in reader.splits:
        raise InputError(f"{name} has {', '.join(reader.splits)}", field="split", value=split)
    known = [p.name for p in inspect.signature(reader.read).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known or option == "progress":
            takes = ", ".join(o for o in known if o != "progress") or "none"
            raise InputError(f"{name} takes no such option; its options are: {takes}", field="option", value=option)
    if folder is None and reader.needs_folder:
        raise InputError("needs the folder it lies in", field="dataset", value=name)
    if folder is not None and not folder.exists():
        raise InputError("there is no such folder or file", path=folder)
    return reader.read(folder, split, progress=progress, **options)


def require(datasets: Iterable[Dataset]) -> None:
    """Refuse to go on with datasets that have problems; print `report(problems)` before, to tell of them all.

    Raises:
        InputError: Tells how many there are, and the first.
    """
    found = [problem for dataset in datasets for problem in dataset.problems]
    if found:
        raise InputError(f"{len(found)} problems in the data; the first: {found[0]}")


def report(problems: Sequence[InputError], shown: int = _SHOWN) -> str:
    """The first problems, a line each, and how many more there are."""
    lines = [str(problem) for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"and {len(problems) - shown} more")
    return "\n".join(lines)


def load_picture(image: Path | Picture) -> Picture:
    """The picture that a conversation's image is; a volume is shown by its middle axial slice.

    Raises:
        InputError: The file is missing, broken or too large; names it.
        NotAvailableError: Its format needs an extra that is not installed.
    """
    if isinstance(image, Picture):
        return image
    series = open_study(image).series[0]
    return slice_picture(series.volume, "axial") if series.kind == "volume" else picture_of(series.image)


def check_images(dataset: Dataset, progress: Progress = lambda done: None) -> list[InputError]:
    """Decode every file that a dataset rests on, each once; a problem for each that cannot be shown.

    Args:
        dataset: What to look at; pictures that are made, not read, are not looked at.
        progress: Called with the number of files looked at.
    """
    paths = dataset.images
    if paths is None:
        shown = (image for conversation in dataset.conversations for image in conversation.images)
        paths = tuple(dict.fromkeys(image for image in shown if isinstance(image, Path)))
    problems = []
    for done, path in enumerate(paths, 1):
        try:
            load_picture(path)
        except InputError as error:
            problems.append(error)
        progress(done)
    return problems
