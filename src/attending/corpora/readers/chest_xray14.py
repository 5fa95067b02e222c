"""ChestX-ray14: 112,120 frontal radiographs with labels mined from reports, and four findings read by experts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.labelled import Labels, Question, choose, conversation
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import csv_rows, first_of, inside
from attending.errors import InputError
from attending.imaging.files import open_regular

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_EXPERT = {
    "Fracture": "fracture",
    "Pneumothorax": "pneumothorax",
    "Airspace opacity": "lung opacity",
    "Nodule or mass": "nodule or mass",
}
"""Columns of the experts' labels, and what VILA-M3's questions call them."""
_NEEDED = ("Image Index", "Patient ID", "View Position")


def read(
    folder: Path, split: str, *, progress: Progress, labels: str = "mined", questions: int = 2, seed: int = 0
) -> Dataset:
    """Read it.

    Where the experts' labels are there, the patients of their validation set are left out of `train`, and that set is
    `validate`; `test` is theirs with `labels="experts"`, else the official list.

    Args:
        folder: See `READER`.
        split: `train` and `test` are the official lists.
        progress: See `read`.
        labels: `mined` from reports, of which about one in ten is wrong, or read by `experts`.
        questions: Of mined labels, at most so many for each radiograph; 0 for all 14.
        seed: Chooses them.
    """
    if labels not in ("mined", "experts"):
        raise InputError("expected mined or experts", field="labels", value=labels)
    gather: Gather[Question] = Gather(
        "chest-xray14", split, partial(conversation, source="chest-xray14", split=split), progress
    )
    roots = [folder / "images", *sorted(folder.glob("images_*/images"))]
    if labels == "experts" or split == "validate":
        if split == "train":
            raise InputError("the experts read validation and test pictures only", field="labels", value=labels)
        _experts(folder, split, roots, gather)
        return gather.dataset()
    path = first_of(folder, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    listed = _listed(first_of(folder, "test_list.txt" if split == "test" else "train_val_list.txt"))
    seen = set()
    kept_out = _validated(folder, gather) if split == "train" else set()
    for where, row in csv_rows(path, (*_NEEDED, "Finding Labels"), gather.refuse):
        if row["Image Index"] not in listed:
            continue
        seen.add(row["Image Index"])
        gather.look()
        if row["Patient ID"] in kept_out:
            gather.pass_over("patient of the experts' validation set")
            continue
        told = set(row["Finding Labels"].split("|"))
        unknown = told - {*FINDINGS, "No Finding"}
        if unknown:
            wrong = "expected findings of the dataset, joined by |"
            gather.refuse(InputError(wrong, path=path, field=f"{where}, Finding Labels", value=row["Finding Labels"]))
            continue
        found = {name.replace("_", " "): name in told for name in FINDINGS}
        one = _labels(row, path, where, roots, found, "mined from reports", gather)
        for question in choose(one, questions, seed) if one else ():
            gather.add(question, "question type")
    lost = sorted(listed - seen)
    if lost:
        gather.refuse(InputError(f"lacks {len(lost)} pictures of the list of this split", path=path, value=lost[0]))
    return gather.dataset()


def _labels(
    row: dict[str, str],
    path: Path,
    where: str,
    roots: list[Path],
    found: dict[str, bool],
    source: str,
    gather: Gather[Question],
) -> Labels | None:
    name = row["Image Index"]
    try:
        places = [inside(root, name, path, f"{where}, Image Index") for root in roots]
    except InputError as error:
        gather.refuse(error)
        return None
    image = next((place for place in places if place.is_file()), places[0])
    facts = {"original id": name, "view": row["View Position"], "labels": source}
    return Labels(name.removesuffix(".png"), image, found, f"NIH {row['Patient ID']}", facts)


def _listed(path: Path) -> set[str]:
    with open_regular(path) as file:
        return {line.decode("utf-8", "replace").strip() for line in file} - {""}


def _file(folder: Path, kind: str) -> Path:
    names = (f"four_findings_expert_labels/{kind}_labels.csv", f"four_findings_expert_labels_{kind}_labels.csv")
    return first_of(folder, *names)


def _validated(folder: Path, gather: Gather[Question]) -> set[str]:
    """Patients of the experts' validation set, which comes from the official training list."""
    try:
        path = _file(folder, "validation")
    except InputError:
        gather.notes.append("the experts' validation labels are not in the folder: none of its patients is left out")
        return set()
    return {row["Patient ID"] for _, row in csv_rows(path, _NEEDED, gather.refuse)}


def _experts(folder: Path, split: str, roots: list[Path], gather: Gather[Question]) -> None:
    path = _file(folder, "test" if split == "test" else "validation")
    for where, row in csv_rows(path, (*_NEEDED, *_EXPERT), gather.refuse):
        gather.look()
        wrong = [column for column in _EXPERT if row[column] not in ("YES", "NO")]
        if wrong:
            bad = InputError("expected YES or NO", path=path, field=f"{where}, {wrong[0]}", value=row[wrong[0]])
            gather.refuse(bad)
            continue
        found = {name: row[column] == "YES" for column, name in _EXPERT.items()}
        one = _labels(row, path, where, roots, found, "read by experts", gather)
        for question in choose(one, 0, 0) if one else ():
            gather.add(question, "question type")


READER = Reader(
    name="chest-xray14",
    title="ChestX-ray14: 112,120 frontal radiographs, 14 findings mined from reports, four read by experts",
    expects=(
        "Data_Entry_2017_v2020.csv (or Data_Entry_2017.csv), train_val_list.txt, test_list.txt",
        "images/00000001_000.png ... (or images_001/images/ ... images_012/images/)",
        "four_findings_expert_labels/validation_labels.csv, test_labels.csv (for validate, and labels=experts)",
    ),
    source="https://nihcc.app.box.com/v/ChestXray-NIHCC; experts' labels: "
    "https://cloud.google.com/healthcare-api/docs/resources/public-datasets/nih-chest",
    citation="Wang et al., ChestX-ray8, CVPR 2017, arXiv:1705.02315; Majkowska et al., Radiology 2020, "
    "doi:10.1148/radiol.2019191293",
    licence="no restriction on use; cite and link the NIH download site",
    splits=("train", "validate", "test"),
    read=read,
)
