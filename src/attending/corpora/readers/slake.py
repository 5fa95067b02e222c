"""SLAKE: bilingual questions about CT, MRI and radiographs, with knowledge questions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import first_of, inside, json_rows, text_in
from attending.errors import InputError

_FILES = {
    "train": ("train.json",),
    "validate": ("validate.json", "validation.json"),  # the second on the model hub
    "test": ("test.json",),
}


class _Row(NamedTuple):
    id: str
    image: Path
    question: str
    answer: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, language: str = "en") -> Dataset:
    """Read it.

    Args:
        folder: See `READER`.
        split: The official one; it is by picture.
        progress: See `read`.
        language: `en`, `zh` or `all`.
    """
    if language not in ("en", "zh", "all"):
        raise InputError("expected en, zh or all", field="language", value=language)
    path = first_of(folder, *_FILES[split])

    def make(row: _Row) -> Conversation:
        message = turns(f"<image>\n{row.question}", row.answer)
        return Conversation(row.id, message, (row.image,), "", "slake", split, row.facts)

    gather: Gather[_Row] = Gather("slake", split, make, progress)
    for index, (where, row) in enumerate(json_rows(path, gather.refuse)):
        if row.get("q_lang") not in ("en", "zh"):
            wrong = InputError("expected en or zh", path=path, field=f"{where}, q_lang", value=row.get("q_lang"))
            gather.refuse(wrong)
            continue
        if language not in ("all", row["q_lang"]):
            continue
        gather.look()
        if not str(row.get("answer", "")).strip():
            gather.pass_over("no answer as published")  # qid 1622 of the training set
            continue
        try:
            qid = text_in(row, "qid", path, where)
            facts = {
                "original id": qid,
                "reference id": str(index + 1),  # VILA-M3 numbered the rows of all languages from 1
                "question type": text_in(row, "content_type", path, where),
                "answer type": text_in(row, "answer_type", path, where).upper(),
                "base type": str(row.get("base_type", "")),
                "organ": str(row.get("location", "")).strip(),
                "modality": str(row.get("modality", "")).strip(),
                "language": text_in(row, "q_lang", path, where),
            }
            image = inside(folder / "imgs", row.get("img_name"), path, f"{where}, img_name")
            question, answer = text_in(row, "question", path, where), text_in(row, "answer", path, where)
        except InputError as error:
            gather.refuse(error)
            continue
        taken = _Row(gather.unique(qid), image, question, answer, facts)
        gather.add(taken, "question type", "answer type", "modality", "language")
    return gather.dataset()


READER = Reader(
    name="slake",
    title="SLAKE: 14,028 questions in English and Chinese about 642 CT, MRI and X-ray pictures",
    expects=("train.json", "validate.json (or validation.json)", "test.json", "imgs/xmlab1/source.jpg ..."),
    source="https://www.med-vqa.com/slake/",
    citation="Liu et al., SLAKE: a semantically-labeled knowledge-enhanced dataset for medical visual question "
    "answering, ISBI 2021, arXiv:2102.09542",
    licence="CC BY 4.0",
    splits=("train", "validate", "test"),
    read=read,
)
