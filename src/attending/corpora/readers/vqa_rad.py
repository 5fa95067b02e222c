"""VQA-RAD: questions by clinicians about 315 radiology pictures of MedPix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import first_of, inside, json_rows, text_in
from attending.errors import InputError

_FILES = ("VQA_RAD Dataset Public.json", "VQA_RAD Dataset.json", "annotations/VQA_RAD Dataset Public.json")
_FOLDERS = ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images")
_ORGANS = {"HEAD": "the head", "CHEST": "the chest", "ABD": "the abdomen"}


class _Row(NamedTuple):
    id: str
    image: Path
    question: str
    answer: str
    patient: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, apart: bool = False, reference: bool = False) -> Dataset:
    """Read it.

    Args:
        folder: See `READER`.
        split: `train`: phrase types `freeform` and `para`; `test`: `test_freeform` and `test_para`.
        progress: See `read`.
        apart: Leave out of `train` what is about a picture of `test`: the official split shares most of them.
        reference: Add to `train` what VILA-M3 trained on besides: each row's rephrased question, and a question for the
            part of the body (in our words). Rephrasings that are test questions are left out.
    """
    path = first_of(folder, *_FILES)
    root = next((folder / name for name in _FOLDERS if (folder / name).is_dir()), folder)

    def make(row: _Row) -> Conversation:
        message = turns(f"<image>\n{row.question}", row.answer)
        return Conversation(row.id, message, (row.image,), row.patient, "vqa-rad", split, row.facts)

    gather: Gather[_Row] = Gather("vqa-rad", split, make, progress)
    rows = list(json_rows(path, gather.refuse))
    tested = [row for _, row in rows if str(row.get("phrase_type", "")).strip().startswith("test")]
    pictures = {str(row.get("image_name")) for row in tested}
    triples = {(_key(row, "question"), str(row.get("answer")).strip().lower()) for row in tested}
    asked = {_key(row, "question") for row in tested}
    for where, row in rows:
        kind = str(row.get("phrase_type", "")).strip()
        if kind not in ("freeform", "para", "test_freeform", "test_para"):
            wrong = "expected freeform, para, test_freeform or test_para"
            gather.refuse(InputError(wrong, path=path, field=f"{where}, phrase_type", value=kind))
            continue
        if kind.startswith("test") != (split == "test"):
            continue
        gather.look()
        if split == "train" and apart and str(row.get("image_name")) in pictures:
            gather.pass_over("picture of the test split")
            continue
        if split == "train" and (_key(row, "question"), str(row.get("answer")).strip().lower()) in triples:
            gather.pass_over("picture, question and answer of the test split")
            continue
        try:
            taken = _row(row, path, where, root, gather)
        except InputError as error:
            gather.refuse(error)
            continue
        gather.add(taken, "question type", "answer type")
        if reference and split == "train":
            for extra in _extra(taken, row, asked, gather):
                gather.add(extra, "question type", "answer type")
    if split == "train" and not apart:
        untested = (row for _, row in rows if not str(row.get("phrase_type", "")).strip().startswith("test"))
        shared = len({str(row.get("image_name")) for row in untested} & pictures)
        if shared:
            gather.notes.append(
                f"the official split has {shared} pictures in train and in test; the option apart=true leaves what is "
                "about them out of train"
            )
    return gather.dataset()


def _key(row: dict[str, Any], field: str) -> tuple[str, str]:
    return (str(row.get("image_name")), str(row.get(field)).strip().lower())


def _row(row: dict[str, Any], path: Path, where: str, root: Path, gather: Gather[_Row]) -> _Row:
    original = text_in(row, "qid", path, where)
    facts = {
        "original id": original,
        "question type": text_in(row, "question_type", path, where),
        "answer type": text_in(row, "answer_type", path, where).upper(),
        "organ": str(row.get("image_organ", "")).strip(),
        "phrase type": text_in(row, "phrase_type", path, where),
        "linked id": str(row.get("qid_linked_id", "")).strip(),
        "language": "en",
    }
    case = str(row.get("image_case_url", "")).rpartition("id=")[2].strip()
    return _Row(
        gather.unique(original),
        inside(root, row.get("image_name"), path, f"{where}, image_name"),
        text_in(row, "question", path, where),
        text_in(row, "answer", path, where),
        f"MedPix {case}" if case else "",
        facts,
    )


def _extra(taken: _Row, row: dict[str, Any], asked: set[tuple[str, str]], gather: Gather[_Row]) -> list[_Row]:
    """The rephrased question and the question for the part of the body."""
    found = []
    rephrased = str(row.get("question_rephrase") or "NULL").strip()
    if rephrased not in ("NULL", ""):
        if (str(row.get("image_name")), rephrased.lower()) in asked:
            gather.pass_over("rephrasing that is a question of the test split")
        else:
            own = {"added": "rephrased question"}
            found.append(taken._replace(id=gather.unique(taken.id), question=rephrased, facts=taken.facts | own))
    organ = _ORGANS.get(taken.facts["organ"].upper())
    if organ is not None:
        own = {"added": "organ question", "question type": "ORGAN", "answer type": "OPEN"}
        question = "Which part of the body does this picture show?"
        found.append(
            taken._replace(id=gather.unique(taken.id), question=question, answer=organ, facts=taken.facts | own)
        )
    return found


READER = Reader(
    name="vqa-rad",
    title="VQA-RAD: 2,248 questions by clinicians about 315 radiology pictures",
    expects=("VQA_RAD Dataset Public.json", "VQA_RAD Image Folder/synpic54610.jpg ..."),
    source="https://osf.io/89kps/",
    citation="Lau et al., A dataset of clinically generated visual questions and answers about radiology images, "
    "Scientific Data 2018, doi:10.1038/sdata.2018.251",
    licence="CC0 1.0",
    splits=("train", "test"),
    read=read,
)
