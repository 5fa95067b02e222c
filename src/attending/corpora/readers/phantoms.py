"""Phantoms: questions with exact answers about synthetic studies, made as they are asked for or read from a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Built, Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import inside
from attending.errors import InputError
from attending.imaging import Picture, Volume, Window, open_study, reference_picture, slice_picture
from attending.imaging.files import open_regular

if TYPE_CHECKING:
    from attending.phantom import Case

_SPLIT = {"train": "train", "validate": "validation", "test": "test"}
_FILM = Window(2047.5, 4095)
"""What `attending phantom` writes as PNG: 12 bits in 8."""
_FROM_A_SLICE = ("presence", "locate", "choice", "modality", "body", "unanswerable")
"""What can be told of one slice; counts, volumes and what is nowhere need the whole study, hence an expert."""
_WRITTEN = "expected a truth file written by attending phantom"
_SIZE = re.compile(r"\d+(\.\d+)? ?(mm|mL|cm)\b")
_LUNG = (28, 29, 30, 31, 32)
_HOME = {
    "liver lesion": (1, 26), "lung nodule": (*_LUNG, 23), "kidney lesion": (5, 14, 116, 117, 140),
    "pancreas lesion": (4, 24), "effusion": (*_LUNG, 141), "pneumothorax": (*_LUNG, 142),
    "consolidation": (*_LUNG, 143), "atelectasis": (*_LUNG, 144), "edema": (*_LUNG, 145), "cardiomegaly": (115,),
    "fracture": tuple(range(63, 87)),
}  # fmt: skip
"""Where a finding would be, by VISTA3D's ids: a question about one that is absent shows that place too."""


def read(
    folder: None,
    split: str,
    *,
    progress: Progress,
    kinds: str = "cxr,ct,mri",
    cases: int = 1000,
    questions: int = 4,
    first: int = 0,
    styles: str = "A,B,C,D",
    size: int = 0,
) -> Dataset:
    """Make it: nothing touches the disk, and a conversation's study is generated when it is asked for.

    Only the training split's seeds and wordings are used for `train`; a seed is a patient. Answers that give a size
    which no picture shows are cut to their yes, or their question is passed over.

    Args:
        folder: Not used.
        split: Seeds 0 to 899,999 are `train`, to 949,999 `validate`, to 999,999 `test`.
        progress: See `read`.
        kinds: Of `cxr`, `ct` and `mri`, separated by commas.
        cases: Patients of each kind.
        questions: Questions about each.
        first: First seed within the split.
        styles: Hospitals, taking turns by seed.
        size: Voxels along a side, 48 or more (of a radiograph at least 128), for small and fast ones; 0 for the usual.
    """
    from attending.phantom import generate, seeds_of
    from attending.phantom.study import STUDIES

    wanted, hospitals = ([part.strip() for part in text.split(",")] for text in (kinds, styles))
    for kind in wanted:
        if kind not in STUDIES:
            raise InputError(f"expected some of {', '.join(STUDIES)}", field="kinds", value=kind)
    if questions < 1:
        raise InputError("expected 1 or more", field="questions", value=questions)
    seeds = seeds_of(_SPLIT[split], first, cases)

    @lru_cache(maxsize=2)
    def case(kind: str, seed: int) -> Case:
        return generate(kind, seed, hospitals[seed % len(hospitals)], shape=shape_of(kind, size))

    def make(index: int) -> Conversation:  # patient by patient, of each all kinds, of each all questions
        rest, place = divmod(index, questions)
        at, kind = divmod(rest, len(wanted))
        made = case(wanted[kind], seeds[at])
        return _conversation(made.truth.to_dict(), place, made.volumes, made.labels, made.visits[-1].instances, split)

    count = cases * len(wanted) * questions
    progress(count)
    patients = frozenset(f"phantom {seed}" for seed in seeds)
    counts = {"rows": count, "conversations": count, "refused": 0, "images": 0, "patients": cases}
    return Dataset("phantom", split, Built(range(count), make), counts, [], [], patients, ())


def shape_of(kind: str, size: int) -> tuple[int, int, int] | None:
    """The voxels of a phantom with `size` along a side; None, the usual ones, for 0."""
    if not size:
        return None
    return (max(size, 128), 1, max(size, 128)) if kind == "cxr" else (size, size, size)


def read_folder(folder: Path, split: str, *, progress: Progress) -> Dataset:
    """Read what `attending phantom` wrote, all questions that its pictures can answer.

    Args:
        folder: See `FOLDER`.
        split: By seed; cases of others are passed over.
        progress: See `read`.
    """
    paths = sorted(folder.glob("**/truth.json"))
    if not paths:
        raise InputError("no truth.json in this folder or below it", path=folder)

    @lru_cache(maxsize=4)
    def truth(path: Path) -> dict[str, Any]:
        return _truth(path)

    @lru_cache(maxsize=4)
    def volume(path: Path, modality: str | None) -> Volume:
        return open_study(path, modality=modality).series[0].volume

    def make(row: tuple[Path, int]) -> Conversation:
        try:
            return made(*row)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(f"{_WRITTEN} ({error!r})", path=row[0]) from error

    def made(path: Path, place: int) -> Conversation:
        told = truth(path)
        files = told["visits"][-1]["files"]
        field = "visits, files"
        labels = inside(path.parent, files["labels"], path, field)
        if told["kind"] == "cxr" and "png" in files:
            image = inside(path.parent, files["png"]["frontal"], path, field)
            return _conversation(told, place, {"frontal": image}, None, None, split)
        modality = {"ct": "CT", "mri": "MR", "cxr": "DX"}[told["kind"]]
        volumes = {
            name: volume(inside(path.parent, file, path, field), modality) for name, file in files["nifti"].items()
        }
        instances = volume(inside(path.parent, files["findings"], path, field), None)
        return _conversation(told, place, volumes, volume(labels, None), instances, split)

    gather: Gather[tuple[Path, int]] = Gather("phantom-folder", split, make, progress)
    for path in paths:
        try:
            told = truth(path)
            count = _questions_with_pictures(told, path)
        except InputError as error:
            gather.refuse(error)
            continue
        for place in range(count if told.get("split") == _SPLIT[split] else 0):
            gather.look()
            gather.add((path, place), "question type", "modality")
    return gather.dataset()


def _questions_with_pictures(told: Mapping[str, Any], path: Path) -> int:
    try:
        files = told["visits"][-1]["files"]
        count = len(_usable(told))
        if "png" in files or "nifti" in files:
            return count
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{_WRITTEN} ({error!r})", path=path) from error
    raise InputError("was written without png and nifti; write it again with them", path=path)


def _truth(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            told: dict[str, Any] = json.loads(file.read())
        if not (told["kind"] in ("ct", "mri", "cxr") and told["questions"] and told["visits"][-1]["files"]):
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(_WRITTEN, path=path) from error
    return told


def _usable(truth: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The questions that the pictures can answer, with their answers, in an order that mixes types."""
    found = []
    for question in truth["questions"]:
        kind, answer = question["type"], question["answer"]
        if truth["kind"] != "cxr" and kind not in _FROM_A_SLICE:
            continue
        if truth["kind"] == "ct" and kind == "body":  # the whole scan covers chest and abdomen, one slice does not
            continue
        if _SIZE.search(answer):
            if kind != "presence":
                continue
            answer = "Yes."
        if kind == "count" and question["value"] == 0 and answer == "No.":
            answer = "None."
        found.append((question, answer))
    order = np.random.default_rng(truth["seed"]).permutation(len(found))
    return [found[i] for i in order]


def _conversation(
    truth: dict[str, Any],
    place: int,
    volumes: Mapping[str, Volume | Path],
    labels: Volume | None,
    instances: Volume | None,
    split: str,
) -> Conversation:
    usable = _usable(truth)
    question, answer = usable[place % len(usable)]
    name = f"{truth['case']}/{question['id']}" + (f"#{place // len(usable) + 1}" if place >= len(usable) else "")
    if truth["kind"] == "cxr":
        film = volumes["frontal"]
        image = film if isinstance(film, Path) else slice_picture(film, "coronal", index=0, window=_FILM)
    else:
        image = _slice(truth, question, place, volumes, labels, instances)
    text = question["question"]
    if question["choices"]:
        text += "".join(f"\n{letter}. {choice}" for letter, choice in zip("ABCDE", question["choices"], strict=False))
    facts = {
        "original id": question["id"],
        "question type": question["type"],
        "modality": {"ct": "CT", "mri": "MRI", "cxr": "CXR"}[truth["kind"]],
        "style": truth["style"]["name"],
        "about": question["about"],
        "reserved wording": str(question["reserved"]).lower(),
        "language": "en",
    }
    patient = f"phantom {truth['seed']}"
    return Conversation(name, turns(f"<image>\n{text}", answer), (image,), patient, "phantom", split, facts)


def _slice(
    truth: dict[str, Any],
    question: dict[str, Any],
    place: int,
    volumes: Mapping[str, Volume | Path],
    labels: Volume | None,
    instances: Volume | None,
) -> Picture:
    """A slice on which the question can be answered: through the finding, or where it would be if it were there."""
    assert labels is not None
    assert instances is not None
    rng = np.random.default_rng([truth["seed"], place])
    name = "ct" if truth["kind"] == "ct" else str(rng.choice(("t1ce", "t1", "t2", "flair")))
    volume = volumes[name]
    assert isinstance(volume, Volume)
    numbers = [
        number
        for number, finding in enumerate(truth["visits"][-1]["findings"], 1)
        if finding["id"] in question["rests_on"] or finding["kind"] in question["rests_on"]
    ]
    if numbers:
        area = np.isin(instances.array, numbers).sum(axis=(0, 1))
    elif truth["kind"] == "ct" and question["about"] in _HOME:
        area = np.isin(labels.array, _HOME[question["about"]]).sum(axis=(0, 1))
    else:
        size = volume.array.shape[2]
        area = np.zeros(size)
        area[size // 4 : size - size // 4] = 1
    if not area.any():
        area[:] = 1
    return reference_picture(volume, int(rng.choice(np.flatnonzero(area >= area.max() / 2))))


READER = Reader(
    name="phantom",
    title="phantoms: synthetic radiographs, CT and brain MRI with exact answers, made as they are asked for",
    expects=("nothing: no folder is read",),
    source="made by `attending`",
    citation="",
    licence="Apache-2.0",
    splits=("train", "validate", "test"),
    read=read,
    needs_folder=False,
)
FOLDER = Reader(
    name="phantom-folder",
    title="phantoms that `attending phantom` wrote",
    expects=("cxr-A-00000000/truth.json, cxr-A-00000000/visit1/frontal.png ... (--format nifti,png)",),
    source="attending phantom --format nifti,png --out FOLDER",
    citation="",
    licence="Apache-2.0",
    splits=("train", "validate", "test"),
    read=read_folder,
)
