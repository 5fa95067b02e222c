"""PathVQA: questions about pathology pictures from two textbooks and a digital library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import Report, inside, pickle_rows, text_in
from attending.errors import InputError, NotAvailableError

_SPOKEN = {"train": "train", "validate": "val", "test": "test"}
_HUB = {"train": "train", "validate": "validation", "test": "test"}


class _Row(NamedTuple):
    id: str
    image: Path
    question: str
    answer: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, unpack: str = "") -> Dataset:
    """Read it.

    The file name of the picture, which the reference took as id, is that of several questions; ids here are the
    `question_id` of the pickles, or picture and number, and are unique.

    Args:
        folder: See `READER`.
        split: The official one; it is by picture.
        progress: See `read`.
        unpack: Where pictures of the parquet form go, once each; by default the folder `unpacked` beside them.

    Raises:
        NotAvailableError: The folder holds the parquet form and pyarrow is not installed.
    """

    def make(row: _Row) -> Conversation:
        message = turns(f"<image>\n{row.question}", row.answer)
        return Conversation(row.id, message, (row.image,), "", "path-vqa", split, row.facts)

    gather: Gather[_Row] = Gather("path-vqa", split, make, progress)
    for found in _rows(folder, split, Path(unpack) if unpack else folder / "unpacked", gather.refuse):
        gather.look()
        try:
            original, image, question, answer, facts = found()
            if not answer:
                gather.pass_over("no answer as published")
                continue
        except InputError as error:
            gather.refuse(error)
            continue
        closed = answer.lower().strip(" .") in ("yes", "no")
        facts = {"original id": original, "answer type": "yes/no" if closed else "other", "language": "en"} | facts
        gather.add(_Row(gather.unique(original), image, question, answer, facts), "question type", "answer type")
    return gather.dataset()


_Found = Callable[[], tuple[str, Path, str, str, dict[str, str]]]
"""Id, picture, question, answer and facts of a row; raises when the row is wrong."""


def _rows(folder: Path, split: str, unpack: Path, report: Report) -> Iterator[_Found]:
    """The rows of whichever published form is there."""
    short = _SPOKEN[split]
    detailed, plain = folder / "qas" / f"{short}_vqa.pkl", folder / "qas" / short / f"{short}_qa.pkl"
    parts = sorted((folder / "data").glob(f"{_HUB[split]}-*.parquet"))
    if detailed.is_file():
        for where, row in pickle_rows(detailed, report):
            yield partial(_detailed, row, detailed, where, folder, short)
    elif plain.is_file():
        for where, row in pickle_rows(plain, report):
            yield partial(_plain, row, plain, where, folder, short)
    elif parts:
        yield from _parquet(parts, unpack / split)
    else:
        wanted = f"qas/{short}_vqa.pkl, qas/{short}/{short}_qa.pkl or data/{_HUB[split]}-*.parquet"
        raise InputError(f"expected {wanted} in this folder", path=folder)


def _detailed(
    row: dict[str, Any], path: Path, where: str, folder: Path, short: str
) -> tuple[str, Path, str, str, dict[str, str]]:
    label = row.get("label")
    if not isinstance(label, dict):
        raise InputError("expected a dict with the answer as key", path=path, field=f"{where}, label", value=label)
    facts = {
        "question type": text_in(row, "question_type", path, where),
        "answer type": text_in(row, "answer_type", path, where),
        "image": text_in(row, "img_id", path, where),
    }
    image = _picture(folder, facts["image"], short, path, f"{where}, img_id")
    answer = str(next(iter(label), "")).strip()
    return text_in(row, "question_id", path, where), image, text_in(row, "sent", path, where), answer, facts


def _plain(
    row: dict[str, Any], path: Path, where: str, folder: Path, short: str
) -> tuple[str, Path, str, str, dict[str, str]]:
    name = text_in(row, "image", path, where)
    image = _picture(folder, name, short, path, f"{where}, image")
    question = text_in(row, "question", path, where)
    facts = {"question type": _opening(question), "image": name}
    return name, image, question, text_in(row, "answer", path, where), facts


def _picture(folder: Path, name: str, short: str, path: Path, field: str) -> Path:
    """`images/train/train_0001.jpg`: an older release kept pictures in the folder of their own name, not the split."""
    named = inside(folder / "images", f"{name.partition('_')[0]}/{name}.jpg", path, field)
    return named if named.is_file() else inside(folder / "images", f"{short}/{name}.jpg", path, field)


def _opening(question: str) -> str:
    """The question's first word, as the pickles tell its type."""
    return question.split()[0].lower() if question.split() else ""


def _parquet(parts: list[Path], unpack: Path) -> Iterator[_Found]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise NotAvailableError(
            "parquet files need pyarrow; install it with: pip install 'attending[corpora]'"
        ) from None
    number = 0
    for path in parts:
        try:
            for batch in pq.ParquetFile(path).iter_batches(64, columns=["image", "question", "answer"]):
                for row in batch.to_pylist():
                    number += 1
                    yield partial(_hub, row, path, number, unpack)
        except (OSError, ValueError, KeyError, NotImplementedError) as error:  # pyarrow's own errors are kinds of these
            raise InputError(f"cannot be read as parquet ({error})", path=path) from None


def _hub(row: dict[str, Any], path: Path, number: int, unpack: Path) -> tuple[str, Path, str, str, dict[str, str]]:
    where = f"row {number}"
    held = row.get("image")
    data = held.get("bytes") if isinstance(held, dict) else None
    if not isinstance(data, bytes):
        raise InputError("expected a picture with its bytes", path=path, field=f"{where}, image")
    digest = hashlib.sha256(data).hexdigest()[:32]
    image = (unpack / digest).with_suffix(".png" if data.startswith(b"\x89PNG") else ".jpg")
    if not image.is_file():
        try:
            unpack.mkdir(parents=True, exist_ok=True)
            aside = unpack / f".{image.name}-{os.getpid()}"
            aside.write_bytes(data)
            os.replace(aside, image)
        except OSError as error:
            wrong = f"cannot be written to ({error.strerror}); name another folder with the option unpack"
            raise InputError(wrong, path=unpack) from None
    question = text_in(row, "question", path, where)
    return digest, image, question, text_in(row, "answer", path, where), {"question type": _opening(question)}


READER = Reader(
    name="path-vqa",
    title="PathVQA: 32,795 questions about 4,289 pathology pictures",
    expects=(
        "qas/train_vqa.pkl, qas/val_vqa.pkl, qas/test_vqa.pkl, images/train/train_0001.jpg ...",
        "or, from the model hub: data/train-00000-of-00007.parquet ...",
    ),
    source="https://github.com/UCSD-AI4H/PathVQA (pickles), flaviagiammarino/path-vqa on the model hub (parquet)",
    citation="He et al., PathVQA: 30000+ questions for medical visual question answering, arXiv:2003.10286",
    licence="MIT; the pictures belong to the publishers of the books and to the library",
    splits=("train", "validate", "test"),
    read=read,
)
