"""CheXpert: 224,316 chest radiographs of 65,240 patients with 14 observations, some of them unsure."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.labelled import Labels, Question, choose, conversation
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import csv_rows, first_of, inside
from attending.errors import InputError

FINDINGS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
NORMAL = "No Finding"
"""The fourteenth observation: asked of the sets that radiologists read. In `train` it stands only where it is true."""
_FILES = {
    "train": ("train.csv",),
    "validate": ("valid.csv", "val_labels.csv"),
    "test": ("test.csv", "test_labels.csv", "groundtruth.csv"),
}
_VALUES = {"1": "present", "0": "absent", "-1": "unsure", "": "not mentioned"}
_PREFIX = re.compile(r"^CheXpert(-v1\.0)?(-small)?/")


def read(
    folder: Path, split: str, *, progress: Progress, unsure: str = "skip", questions: int = 2, seed: int = 0
) -> Dataset:
    """Read it; of each study the frontal views.

    Args:
        folder: See `READER`.
        split: `validate` and `test` were read by radiologists: of these each of the 14 observations is asked, and of
            `test` on the first frontal view of each study, as VILA-M3 was tested. `groundtruth.csv` has a row a study,
            the other tables one a picture.
        progress: See `read`.
        unsure: What becomes of the label -1: `skip` (no question), `yes` or `no`. A finding that the report does not
            mention is not asked for.
        questions: Of `train`, at most so many for each radiograph; 0 for all.
        seed: Chooses them.
    """
    if unsure not in ("skip", "yes", "no"):
        raise InputError("expected skip, yes or no", field="unsure", value=unsure)
    path = first_of(folder, *_FILES[split])
    gather: Gather[Question] = Gather(
        "chexpert", split, partial(conversation, source="chexpert", split=split), progress
    )
    for where, row in csv_rows(path, FINDINGS, gather.refuse):
        gather.look()
        picture = _picture(row, path)
        view = row.get("Frontal/Lateral") or ("Frontal" if "_frontal" in picture else "Lateral")
        if view != "Frontal":
            gather.pass_over("lateral view")
        elif split == "test" and "view1_" not in picture:
            gather.pass_over("second view of a study")
        else:
            asked = FINDINGS if split == "train" or NORMAL not in row else (NORMAL, *FINDINGS)
            try:
                one = _labels(row, picture, path, where, folder, asked, unsure)
            except InputError as error:
                gather.refuse(error)
                continue
            for question in choose(one, questions if split == "train" else 0, seed):
                gather.add(question, "question type")
    return gather.dataset()


def _picture(row: dict[str, str], path: Path) -> str:
    """The picture of a row, as the table names it; that of a study is its first frontal view.

    Raises:
        InputError: The table tells neither.
    """
    if "Path" in row:
        return row["Path"]
    if "Study" not in row:
        raise InputError("lacks the column Path, or Study", path=path)
    return f"{row['Study']}/view1_frontal.jpg"


def _labels(
    row: dict[str, str], picture: str, path: Path, where: str, folder: Path, asked: tuple[str, ...], unsure: str
) -> Labels:
    name = _PREFIX.sub("", picture)
    patient = next((part for part in name.split("/") if re.fullmatch(r"patient\d+", part)), "")
    if not patient:
        wrong = "expected a path with the patient, such as train/patient00001/study1/view1_frontal.jpg"
        raise InputError(wrong, path=path, field=f"{where}, Path", value=picture)
    found = {}
    for finding in asked:
        value = _VALUES.get(row[finding].strip().removesuffix(".0"))
        if value is None:
            wrong = "expected 1, 0, -1 or nothing"
            raise InputError(wrong, path=path, field=f"{where}, {finding}", value=row[finding])
        if value in ("present", "absent"):
            found[finding] = value == "present"
        elif value == "unsure" and unsure != "skip":
            found[finding] = unsure == "yes"
    facts = {"original id": picture, "view": row.get("AP/PA") or "frontal"}
    image = inside(folder, name, path, f"{where}, Path")
    return Labels(name.removesuffix(".jpg"), image, found, f"CheXpert {patient}", facts)


READER = Reader(
    name="chexpert",
    title="CheXpert: 224,316 chest radiographs with 14 observations",
    expects=(
        "train.csv, valid.csv; test.csv (or test_labels.csv of CheXlocalize, or groundtruth.csv of the test labels)",
        "train/patient00001/study1/view1_frontal.jpg ..., valid/ ..., test/ ...",
    ),
    source="https://stanfordmlgroup.github.io/competitions/chexpert/ and "
    "https://stanfordaimi.azurewebsites.net/datasets/23c56a0d-15de-405b-87c8-99c30138950c (test pictures), "
    "https://github.com/rajpurkarlab/cheXpert-test-set-labels (groundtruth.csv)",
    citation="Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels and expert comparison, "
    "AAAI 2019, arXiv:1901.07031",
    licence="Stanford University Dataset Research Use Agreement: research only, not to be passed on",
    splits=("train", "validate", "test"),
    read=read,
)
