"""BraTS 2018 to 2024: brain tumours in four MRI sequences, with the label ids of every year brought to 1, 2, 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attending.corpora.cases import Case, Labelled, read_labels, read_volume, study_of
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.shares import shares_of, split_by_hash
from attending.corpora.readers.slices import read_cases
from attending.corpora.readers.tables import csv_rows
from attending.errors import InputError
from attending.imaging import Volume

_ROLES = {
    "t1ce": ("t1ce", "t1c"),
    "t1": ("t1", "t1n"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f"),
}  # fmt: skip
_OLD = {1: 1, 2: 2, 4: 4}
_NEW = {1: 1, 2: 2, 3: 4, 4: 145}
"""From 2023 on the enhancing tumour is 3; 4, in 2024's scans after treatment, is the resection cavity."""
_CAVITY = {145: "resection cavity"}
_MASK = re.compile(r"([^.].*)([_-])seg\.nii(?:\.gz)?")
_YEARS = re.compile(r"^brats\d\d_", re.IGNORECASE)


def read(folder: Path, split: str, *, progress: Progress, shares: str = "100,0,0") -> Dataset:
    """Read it: questions about slices of all four sequences; see `read_cases`.

    Its validation and test cases have no labels, so all labelled cases are `train` unless `shares` says otherwise.
    Scans of one patient stay together.

    Args:
        folder: See `READER`.
        split: See `shares`.
        progress: See `read`.
        shares: Percentages of train, validate and test.
    """
    problems: list[InputError] = []
    cut = shares_of(shares)
    found = [case for case in _cases(folder, problems) if split_by_hash(case.patient, cut) == split]
    dataset = read_cases("brats", found, _labels, split, progress)
    dataset.problems[:0] = problems
    return dataset


def cases(folder: Path) -> list[Case]:
    """The labelled cases below a folder.

    Raises:
        InputError: There are none, or a sequence is missing.
    """
    problems: list[InputError] = []
    found = list(_cases(folder, problems))
    if problems:
        raise problems[0]
    return found


def _cases(folder: Path, problems: list[InputError]) -> Iterator[Case]:
    masks = [(path, found) for path in sorted(folder.glob("**/*seg.nii*")) if (found := _MASK.fullmatch(path.name))]
    if not masks:
        raise InputError("expected <case>/<case>_seg.nii.gz or <case>/<case>-seg.nii.gz below this folder", path=folder)
    mapped = _mapping(folder, problems)
    for mask, found in masks:
        stem, joint = found.group(1, 2)
        try:
            files = {role: _file(mask, stem, joint, ends) for role, ends in _ROLES.items()}
        except InputError as error:
            problems.append(error)
            continue
        patient, grade = mapped.get(stem, (_patient(stem), ""))
        grade = grade or next((part for part in mask.parts[::-1] if part in ("HGG", "LGG")), "")
        facts = {"grade": grade} if grade else {}
        yield _case(stem, f"BraTS {patient}", mask, files, _NEW if joint == "-" else _OLD, facts)


def _file(mask: Path, stem: str, joint: str, ends: tuple[str, ...]) -> Path:
    for end in ends:
        for suffix in (".nii.gz", ".nii"):
            path = mask.with_name(f"{stem}{joint}{end}{suffix}")
            if path.is_file():
                return path
    raise InputError(f"expected {stem}{joint}{ends[0]}.nii.gz beside it", path=mask)


def _patient(stem: str) -> str:
    """Whose scan it is: `BraTS-GLI-00000-100` is a later scan of 00000; the years share names, `Brats18_2013_10_1`."""
    if stem.count("-") >= 3:
        return stem.rpartition("-")[0]
    return re.sub(r"_\d$", "", _YEARS.sub("", stem)) if re.match(r"brats1\d_", stem, re.IGNORECASE) else stem


def _mapping(folder: Path, problems: list[InputError]) -> dict[str, tuple[str, str]]:
    """`name_mapping.csv` of 2019 and 2020: patient (by the oldest name) and grade, by any year's name."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("**/name_mapping.csv")):
        for _, row in csv_rows(path, ("Grade",), problems.append):
            names = [row[key] for key in sorted(row) if key.startswith("BraTS_20") and row[key] not in ("", "NA")]
            grade = row["Grade"] if row["Grade"] in ("HGG", "LGG") else ""
            found |= {name: (_patient(names[0]), grade) for name in names}
    return found


def _case(
    stem: str, patient: str, mask: Path, files: dict[str, Path], known: dict[int, int], facts: dict[str, str]
) -> Case:
    def opened() -> Labelled:
        volumes = {role: read_volume(path, "MR") for role, path in files.items()}
        study = study_of(volumes, "MR", "BRAIN", patient, mask.parent)
        labels = read_labels(mask, known, volumes["t1ce"])
        return Labelled(study, labels, _names(labels), frozenset((1, 2, 4)))

    return Case(stem, patient, "brats", opened, (*files.values(), mask), facts)


def _labels(case: Case) -> tuple[Volume, dict[int, str]]:
    labels = read_labels(case.files[-1], _NEW if "-seg." in case.files[-1].name else _OLD)
    return labels, _names(labels)


def _names(labels: Volume) -> dict[int, str]:
    from attending.experts.brats import NAMES

    return NAMES | (_CAVITY if (labels.array == 145).any() else {})


READER = Reader(
    name="brats",
    title="BraTS: brain tumours in T1, contrast T1, T2 and FLAIR",
    expects=(
        "2018, 2019: HGG/<case>/<case>_t1ce.nii.gz, _t1, _t2, _flair, _seg; LGG/ likewise",
        "2020, 2021: <case>/<case>_t1ce.nii(.gz) ..., name_mapping.csv (grade)",
        "2023 on: <case>/<case>-t1c.nii.gz, -t1n, -t2w, -t2f, -seg",
    ),
    source="https://www.synapse.org/brats (registration)",
    citation="Menze et al., IEEE TMI 2015, doi:10.1109/TMI.2014.2377694; Bakas et al., Scientific Data 2017, "
    "doi:10.1038/sdata.2017.117; Baid et al., arXiv:2107.02314",
    licence="as its makers state for each year; 2023 on: CC BY 4.0 or CC BY-NC 4.0",
    splits=("train", "validate", "test"),
    read=read,
)
