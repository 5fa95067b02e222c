"""Medical Segmentation Decathlon: ten tasks of labelled CT and MRI, and any set in its layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attending.corpora.cases import Case, Labelled, read_labels, read_volume, study_of
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.shares import shares_of, split_by_hash
from attending.corpora.readers.slices import read_cases
from attending.corpora.readers.tables import inside
from attending.errors import InputError
from attending.imaging import Volume
from attending.imaging.files import open_regular

_VISTA3D = {
    "liver": {"liver": 1, "cancer": 26, "tumour": 26},
    "hepaticvessel": {"vessel": 25, "tumour": 26},
    "pancreas": {"pancreas": 4, "cancer": 24},
    "lung": {"cancer": 23},
    "colon": {"colon cancer primaries": 27},
    "spleen": {"spleen": 3},
}
"""VISTA3D's ids of the decathlon's labels, by task."""
_BRATS = {"edema": 2, "non-enhancing tumor": 1, "enhancing tumour": 4}
_SEQUENCES = {"flair": "flair", "t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}
_LESIONS = frozenset({1, 2, 4})
_OWN = 140
"""First id of labels that no expert knows."""


def read(folder: Path, split: str, *, progress: Progress, shares: str = "100,0,0") -> Dataset:
    """Read it: questions about slices; see `read_cases`.

    The official split has no labels for its test cases, so all labelled cases are `train` unless `shares` says
    otherwise.

    Args:
        folder: Of one task; see `READER`.
        split: See `shares`.
        progress: See `read`.
        shares: Percentages of train, validate and test; a case's place follows from its name.
    """
    problems: list[InputError] = []
    task = _Task(folder)
    cut = shares_of(shares)
    found = [case for case in task.cases(problems) if split_by_hash(case.patient, cut) == split]
    dataset = read_cases(f"decathlon {task.name}", found, task.labels, split, progress)
    dataset.problems[:0] = problems
    return dataset


def cases(folder: Path) -> list[Case]:
    """The labelled cases of one task.

    Raises:
        InputError: `dataset.json` is not the decathlon's, or names what is not there.
    """
    problems: list[InputError] = []
    found = list(_Task(folder).cases(problems))
    if problems:
        raise problems[0]
    return found


class _Task:
    """One task's `dataset.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "dataset.json"
        with open_regular(self.path) as file:
            try:
                told = json.loads(file.read())
            except ValueError as error:
                raise InputError(f"is not JSON ({error})", path=self.path) from None
        self.told: dict[str, Any] = told if isinstance(told, dict) else {}
        self.name = str(self.told.get("name") or folder.name)
        self.channels = [str(one) for one in self._numbered("modality").values()]
        kinds = {"CT" if one.lower() == "ct" else "MR" for one in self.channels}
        if len(kinds) != 1:
            raise InputError("expected CT or MRI", path=self.path, field="modality", value=self.told.get("modality"))
        self.modality = kinds.pop()
        self.known, self.names = self._standard(self._numbered("labels"))

    def _numbered(self, key: str) -> dict[int, Any]:
        """A dict with numbers as keys, as the decathlon has it, or the other way round, as nnU-Net has it."""
        given = self.told.get(key) or self.told.get({"modality": "channel_names"}.get(key, ""))
        try:
            if not isinstance(given, dict) or not given:
                raise ValueError
            turned = {v: k for k, v in given.items()} if all(isinstance(v, int) for v in given.values()) else given
            return {int(number): value for number, value in turned.items()}
        except (ValueError, TypeError):
            raise InputError("expected names by number", path=self.path, field=key, value=given) from None

    def _standard(self, labels: Mapping[int, Any]) -> tuple[dict[int, int], dict[int, str]]:
        """The experts' id for each label, and the names by that id."""
        from attending.experts.brats import NAMES
        from attending.experts.vista3d import vista3d_labels

        words = f"{self.name} {self.folder.name}".lower().replace("_", " ")
        table = next((ids for organ, ids in _VISTA3D.items() if organ in words), {})
        tumor = {str(one).lower() for one in labels.values()} >= set(_BRATS)
        known: dict[int, int] = {}
        names: dict[int, str] = {}
        for number, name in labels.items():
            text = str(name).lower()
            if number == 0:
                continue
            if tumor and text in _BRATS:
                known[number] = _BRATS[text]
                names[_BRATS[text]] = NAMES[_BRATS[text]]
            elif self.modality == "CT" and text in table:
                known[number] = table[text]
                names[table[text]] = vista3d_labels()["names"][table[text]]
            else:
                known[number] = _OWN + number
                names[_OWN + number] = str(name)
        return known, names

    def cases(self, problems: list[InputError]) -> list[Case]:
        """Its labelled cases; what is wrong with others goes to `problems`."""
        listed = self.told.get("training")
        if not isinstance(listed, list):
            raise InputError("expected a list of image and label", path=self.path, field="training", value=listed)
        found = []
        for number, row in enumerate(listed):
            field = f"training, {number + 1}"
            try:
                if not isinstance(row, dict):
                    raise InputError("expected image and label", path=self.path, field=field, value=row)
                image, label = (
                    inside(self.folder, str(row.get(key, "")).removeprefix("./"), self.path, f"{field}, {key}")
                    for key in ("image", "label")
                )
                for path in (image, label):
                    if not path.is_file():
                        raise InputError("is not there", path=path, field=field)
            except InputError as error:
                problems.append(error)
                continue
            stem = image.name.removesuffix(".gz").removesuffix(".nii")
            found.append(self._case(stem, image, label))
        return found

    def _case(self, stem: str, image: Path, label: Path) -> Case:
        def opened() -> Labelled:
            volume = read_volume(image, self.modality)
            sequences = [_SEQUENCES.get(one.lower()) for one in self.channels]
            if volume.array.ndim == 4:
                if len(volume.array) != len(self.channels):
                    wrong = f"has {len(volume.array)} channels; dataset.json names {len(self.channels)}"
                    raise InputError(wrong, path=image, field="channels")
                shown = {
                    sequence or name: Volume(channel, volume.affine, self.modality)
                    for sequence, name, channel in zip(sequences, self.channels, volume.array, strict=True)
                }
                ordered = {one: shown[one] for one in ("t1ce", "t1", "t2", "flair") if one in shown} | shown
            else:
                ordered = {self.channels[0]: volume}
            first = next(iter(ordered.values()))
            part = "BRAIN" if self.known and set(self.known.values()) <= _LESIONS and self.modality == "MR" else ""
            study = study_of(ordered, self.modality, part, stem, image)
            return Labelled(study, read_labels(label, self.known, first), self.names, self.lesions)

        return Case(stem, f"MSD {self.name} {stem}", f"decathlon {self.name}", opened, (image, label))

    @property
    def lesions(self) -> frozenset[int]:
        """Ids of lesions among its labels."""
        from attending.experts.vista3d import vista3d_labels

        ids = _LESIONS if self.modality == "MR" else frozenset(vista3d_labels()["lesions"])
        return ids & frozenset(self.names)

    def labels(self, case: Case) -> tuple[Volume, dict[int, str]]:
        """A case's labels without its image."""
        return read_labels(case.files[1], self.known), self.names


READER = Reader(
    name="decathlon",
    title="Medical Segmentation Decathlon: one task of labelled CT or MRI (or your own in its layout)",
    expects=("dataset.json, imagesTr/liver_0.nii.gz ..., labelsTr/liver_0.nii.gz ... (one task's folder)",),
    source="http://medicaldecathlon.com/",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022, "
    "doi:10.1038/s41467-022-30695-9",
    licence="CC BY-SA 4.0",
    splits=("train", "validate", "test"),
    read=read,
)
