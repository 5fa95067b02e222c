"""MedQA: multiple-choice questions of the United States medical licensing examination, without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from attending.corpora.conversation import PLACE, Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import first_of, json_rows, text_in
from attending.errors import InputError

_SPOKEN = {"train": "train", "validate": "dev", "test": "test"}


class _Row(NamedTuple):
    id: str
    question: str
    answer: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, choices: int = 5) -> Dataset:
    """Read it.

    Args:
        folder: See `READER`.
        split: The official one.
        progress: See `read`.
        choices: 5, or 4 for the form with four options.
    """
    if choices not in (4, 5):
        raise InputError("expected 4 or 5", field="choices", value=choices)
    name = _SPOKEN[split]
    four = (f"4_options/phrases_no_exclude_{name}.jsonl", f"phrases_no_exclude_{name}.jsonl")
    wanted = four if choices == 4 else (f"{name}.jsonl",)
    path = first_of(folder, *(f"{base}{file}" for base in ("", "US/", "questions/US/") for file in wanted))

    def make(row: _Row) -> Conversation:
        return Conversation(row.id, turns(row.question, row.answer), (), "", "medqa", split, row.facts)

    gather: Gather[_Row] = Gather("medqa", split, make, progress)
    for where, row in json_rows(path, gather.refuse):
        gather.look()
        try:
            gather.add(_row(row, path, where, gather.unique(where.partition(" ")[2])), "question type")
        except InputError as error:
            gather.refuse(error)
    return gather.dataset()


def _row(row: dict[str, Any], path: Path, where: str, name: str) -> _Row:
    options = row.get("options")
    if not isinstance(options, dict) or len(options) < 2 or not all(isinstance(v, str) for v in options.values()):
        raise InputError("expected two or more options by letter", path=path, field=f"{where}, options", value=options)
    letter, answer = text_in(row, "answer_idx", path, where), text_in(row, "answer", path, where)
    if options.get(letter, "").strip() != answer:
        wrong = f"is not the option {letter}, {options.get(letter)!r}"
        raise InputError(wrong, path=path, field=f"{where}, answer", value=answer)
    listed = "\n".join(f"{key}. {value.strip()}" for key, value in options.items())
    question = f"{text_in(row, 'question', path, where)}\n{listed}"
    if PLACE in question + answer:
        raise InputError(f"holds {PLACE}, and there is no picture", path=path, field=where)
    facts = {"question type": str(row.get("meta_info", "")), "answer type": "choice", "letter": letter}
    return _Row(name, question, f"{letter}. {answer}", facts | {"language": "en"})


READER = Reader(
    name="medqa",
    title="MedQA (USMLE): 12,723 multiple-choice questions, text only",
    expects=(
        "train.jsonl, dev.jsonl, test.jsonl (in questions/US of the download)",
        "or 4_options/phrases_no_exclude_train.jsonl ... with choices=4",
    ),
    source="https://github.com/jind11/MedQA",
    citation="Jin et al., What disease does this patient have? A large-scale open domain question answering dataset "
    "from medical exams, arXiv:2009.13081",
    licence="MIT (code and data as its repository states)",
    splits=("train", "validate", "test"),
    read=read,
)
