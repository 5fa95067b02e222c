"""A table of your own: picture, question and answer in a CSV."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import PLACE, Conversation, turns
from attending.corpora.dataset import SPLITS, Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.shares import shares_of, split_by_hash
from attending.corpora.readers.tables import csv_rows, inside
from attending.errors import InputError

_SPOKEN = {"val": "validate", "valid": "validate", "validation": "validate", "dev": "validate"}
_OWN = ("id", "image", "question", "answer", "patient", "split")


class _Row(NamedTuple):
    id: str
    images: tuple[Path, ...]
    question: str
    answer: str
    patient: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, images: str = "", shares: str = "") -> Dataset:
    """Read it.

    Args:
        folder: The file; see `READER`.
        split: Of the column `split`; without that column every row is `train`, unless `shares` says otherwise.
        progress: See `read`.
        images: Where the pictures lie; by default beside the file.
        shares: Percentages of train, validate and test, such as `80,10,10`, for a table without a column `split`. Rows
            of one patient (where there is no column `patient`, of one picture) stay together.
    """
    if not folder.is_file():
        raise InputError("expected a .csv file, not a folder", path=folder)
    root = Path(images) if images else folder.parent
    cut = shares_of(shares) if shares else None
    gather: Gather[_Row] = Gather(folder.stem, split, partial(_conversation, source=folder.stem, split=split), progress)
    for where, row in csv_rows(folder, ("image", "question", "answer"), gather.refuse):
        try:
            taken = _row(row, folder, where, root)
            here = _split(row, taken, folder, where, cut)
        except InputError as error:
            gather.look()
            gather.refuse(error)
            continue
        if here == split:
            gather.look()
            gather.add(taken._replace(id=gather.unique(taken.id)), "question type")
    if split == "train" and not cut and not gather.dataset().counts["rows"]:
        gather.notes.append("no row is of the split train")
    return gather.dataset()


def _conversation(row: _Row, source: str, split: str) -> Conversation:
    question = row.question if PLACE in row.question else f"{PLACE}\n" * len(row.images) + row.question
    return Conversation(row.id, turns(question, row.answer), row.images, row.patient, source, split, row.facts)


def _row(row: dict[str, str], path: Path, where: str, root: Path) -> _Row:
    cells = {key: value.strip() for key, value in row.items()}
    for key in ("question", "answer"):
        if not cells[key]:
            raise InputError("is empty", path=path, field=f"{where}, {key}")
    names = [name.strip() for name in cells["image"].split(";") if name.strip()]
    images = tuple(inside(root, name, path, f"{where}, image") for name in names)
    facts = {key: value for key, value in cells.items() if key not in _OWN and value}
    original = cells.get("id") or where.partition(" ")[2]
    facts["original id"] = original
    return _Row(original, images, cells["question"], cells["answer"], cells.get("patient", ""), facts)


def _split(row: dict[str, str], taken: _Row, path: Path, where: str, cut: tuple[int, int, int] | None) -> str:
    if "split" not in row:
        if cut is None:
            return "train"
        return split_by_hash(taken.patient or ";".join(image.name for image in taken.images) or taken.id, cut)
    if cut is not None:
        raise InputError("the table has a column split, and the option shares was given too; give one", path=path)
    named = row["split"].strip().lower()
    named = _SPOKEN.get(named, named)
    if named not in SPLITS:
        raise InputError("expected train, validate or test", path=path, field=f"{where}, split", value=row["split"])
    return named


READER = Reader(
    name="csv",
    title="a table of your own: a picture, a question and an answer a row",
    expects=(
        "a .csv file with the columns image, question, answer; also patient, split and id where you have them, and any "
        "other as a fact. Several pictures of one row are separated by ; and a row without one is about text.",
    ),
    source="your own",
    citation="",
    licence="that of the data",
    splits=SPLITS,
    read=read,
)
