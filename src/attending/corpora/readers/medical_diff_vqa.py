"""Medical-Diff-VQA (MIMIC-Diff-VQA): questions about MIMIC-CXR radiographs, and about what changed between two."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.mimic import SPLIT_OF, number, patient, picture
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import csv_rows, first_of
from attending.errors import InputError

TYPES = ("abnormality", "presence", "view", "location", "level", "type", "difference")
_TWO = "Reference image: <image>\nMain image: <image>\n"


class _Study(NamedTuple):
    subject: str
    dicom: str
    split: str
    view: str


class _Row(NamedTuple):
    id: str
    images: tuple[Path, ...]
    question: str
    answer: str
    subject: str
    facts: dict[str, str]


def read(
    folder: Path, split: str, *, progress: Progress, images: str = "", difference: bool = False, by: str = "dataset"
) -> Dataset:
    """Read it.

    Args:
        folder: See `READER`.
        split: Of the dataset's own column.
        progress: See `read`.
        images: The folder of MIMIC-CXR-JPG; by default the same.
        difference: Also the questions about what changed, which show two radiographs. VILA-M3 left them out.
        by: `dataset`, or `mimic` to split as MIMIC-CXR does, so that none of its test patients is trained on.
    """
    if by not in ("dataset", "mimic"):
        raise InputError("expected dataset or mimic", field="by", value=by)
    root = Path(images) if images else folder

    def make(row: _Row) -> Conversation:
        head = _TWO if len(row.images) == 2 else "<image>\n"
        messages = turns(head + row.question, row.answer)
        return Conversation(row.id, messages, row.images, patient(row.subject), "medical-diff-vqa", split, row.facts)

    gather: Gather[_Row] = Gather("medical-diff-vqa", split, make, progress)
    studies = _studies(folder, gather)
    path = first_of(folder, "mimic_pair_questions.csv")
    needed = ("study_id", "subject_id", "ref_id", "question_type", "question", "answer", "split")
    for where, row in csv_rows(path, needed, gather.refuse):
        try:
            study = number(row["study_id"], path, f"{where}, study_id")
            known = studies.get(study)
            if known is None:
                raise InputError("is not in mimic_all.csv", path=path, field=f"{where}, study_id", value=study)
            if SPLIT_OF.get(row["split"] if by == "dataset" else known.split) != split:
                _check_split(row["split"], path, where)
                continue
            gather.look()
            if row["question_type"] == "difference" and not difference:
                gather.pass_over("question about a difference")
                continue
            taken = _row(row, path, where, study, studies, root, gather)
        except InputError as error:
            gather.refuse(error)
            continue
        gather.add(taken, "question type", "answer type")
    return gather.dataset()


def _check_split(name: str, path: Path, where: str) -> None:
    if name not in SPLIT_OF:
        raise InputError("expected train, val or test", path=path, field=f"{where}, split", value=name)


def _studies(folder: Path, gather: Gather[_Row]) -> dict[str, _Study]:
    path = first_of(folder, "mimic_all.csv")
    found = {}
    for where, row in csv_rows(path, ("subject_id", "study_id", "dicom_id", "split"), gather.refuse):
        try:
            study = number(row["study_id"], path, f"{where}, study_id")
            subject = number(row["subject_id"], path, f"{where}, subject_id")
        except InputError as error:
            gather.refuse(error)
            continue
        found[study] = _Study(subject, row["dicom_id"], row["split"], row.get("view", ""))
    return found


def _row(
    row: dict[str, str],
    path: Path,
    where: str,
    study: str,
    studies: dict[str, _Study],
    root: Path,
    gather: Gather[_Row],
) -> _Row:
    kind, answer = row["question_type"].strip(), row["answer"].strip()
    if kind not in TYPES:
        raise InputError(f"expected one of {', '.join(TYPES)}", path=path, field=f"{where}, question_type", value=kind)
    shown = [study]
    if kind == "difference":
        shown.insert(0, number(row["ref_id"], path, f"{where}, ref_id"))
    if shown[0] not in studies:
        raise InputError("is not in mimic_all.csv", path=path, field=f"{where}, ref_id", value=shown[0])
    subject = number(row["subject_id"], path, f"{where}, subject_id")
    if any(studies[one].subject != subject for one in shown):
        wrong = f"is not the patient of study {study} in mimic_all.csv"
        raise InputError(wrong, path=path, field=f"{where}, subject_id", value=subject)
    images = tuple(picture(root, subject, one, studies[one].dicom, path, f"{where}, study_id") for one in shown)
    facts = {
        "question type": kind,
        "answer type": "closed" if answer.lower() in ("yes", "no") else "open",
        "modality": "CXR",
        "view": studies[study].view,
        "study": study,
        "language": "en",
    }
    name = gather.unique(f"{study}/{where.partition(' ')[2]}")
    return _Row(name, images, row["question"].strip(), answer, subject, facts)


READER = Reader(
    name="medical-diff-vqa",
    title="Medical-Diff-VQA: 700,703 questions about 164,324 MIMIC-CXR radiographs",
    expects=(
        "mimic_pair_questions.csv, mimic_all.csv",
        "files/p10/p10000032/s50414267/<dicom id>.jpg ... of MIMIC-CXR-JPG (here, or in the option images)",
    ),
    source="https://physionet.org/content/medical-diff-vqa/ (credentialed access)",
    citation="Hu et al., Expert knowledge-aware image difference graph representation learning for difference-aware "
    "medical visual question answering, KDD 2023, doi:10.1145/3580305.3599819",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    splits=("train", "validate", "test"),
    read=read,
)
