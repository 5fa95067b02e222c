"""Slices: plain questions about one slice of a labelled volume: what it shows, and whether a structure is on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attending.corpora.cases import Case, Labelled
from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.errors import InputError
from attending.imaging import Picture, Study, Volume, reference_picture

_SPOKEN = {"CT": "CT", "MR": "MRI"}
_LEAST = 12
"""Pixels of a structure below which a slice is asked about neither as with nor as without it."""


class _Row(NamedTuple):
    id: str
    case: int
    place: int
    question: str
    answer: str
    facts: dict[str, str]


def read_cases(
    name: str,
    cases: Iterable[Case],
    labels_of: Callable[[Case], tuple[Volume, Mapping[int, str]]],
    split: str,
    progress: Progress,
) -> Dataset:
    """The conversations of labelled cases: for each structure a slice with it and, where there is one, one without.

    The slice without is one of the same body, and where the case has other structures one that shows some of them, so
    that the place alone gives nothing away. Volumes are read again for the pictures: for training, write them once
    with `attending data convert`.

    Args:
        name: Of the dataset.
        cases: Its cases, of this split.
        labels_of: A case's label ids and names, without its images.
        split: The split.
        progress: See `read`.
    """
    from attending.consult.published import first_turn  # brings the language model's libraries with it

    kept: list[Case] = []

    @lru_cache(maxsize=2)
    def opened(number: int) -> Labelled:
        return kept[number].open()

    def make(row: _Row) -> Conversation:
        case = kept[row.case]
        shown, four, modality = pictures(opened(row.case).study, row.place)
        text = first_turn(row.question, (), _SPOKEN.get(modality, modality), len(shown), four)
        facts = row.facts | {"modality": _SPOKEN.get(modality, modality)}
        return Conversation(row.id, turns(text, row.answer), shown, case.patient, case.source, split, facts)

    gather: Gather[_Row] = Gather(name, split, make, progress)
    files: list[Path] = []
    for case in cases:
        try:
            labels, names = labels_of(case)
            rows = _rows(case, len(kept), labels, names)
        except InputError as error:
            gather.refuse(error)
            continue
        kept.append(case)
        files += case.files
        for row in rows:
            gather.look()
            gather.add(row, "question type", "answer type")
    return gather.dataset(images=files)


def pictures(study: Study, index: int) -> tuple[tuple[Picture, ...], bool, str]:
    """A slice of each series, whether these are the four sequences of a brain-tumour MRI, and the modality."""
    first = study.series[0]
    if len(study.series) == 4 and len(study.sequences) == 4:
        shown = tuple(reference_picture(series.volume, index) for series in study.series)
        return shown, True, first.modality or ""
    return (reference_picture(first.volume, index),), False, first.modality or ""


def areas(labels: Volume) -> dict[int, npt.NDArray[np.int64]]:
    """Pixels of each label on each axial slice, by label; slices in RAS order, as `reference_picture` counts them."""
    array = labels.canonical().array
    return {int(label): (array == label).sum(axis=(0, 1), dtype=np.int64) for label in np.unique(array) if label}


def _rows(case: Case, number: int, labels: Volume, names: Mapping[int, str]) -> list[_Row]:
    rng = np.random.default_rng(list(case.id.encode()))
    found = areas(labels)
    filled = np.add.reduce(list(found.values())) if found else np.zeros(labels.canonical().shape[2], np.int64)
    rows: list[_Row] = []

    def add(kind: str, index: int, question: str, answer: str, about: str) -> None:
        closed = answer in ("yes", "no")
        facts = {
            "original id": case.id,
            "question type": kind,
            "answer type": "yes/no" if closed else "open",
            "about": about,
            "slice": str(index),
            "language": "en",
        } | dict(case.facts)
        rows.append(_Row(f"{case.id}/{len(rows) + 1}", number, index, question, answer, facts))

    for label, structure in names.items():
        area = found.get(label, np.zeros_like(filled))
        question = f"Does this slice show {structure}?"
        with_it = np.flatnonzero(area >= max(_LEAST, area.max() / 2))
        without = np.flatnonzero((area == 0) & (filled >= _LEAST))
        without = without if len(without) else np.flatnonzero(area == 0)
        if len(with_it):
            add("presence", int(rng.choice(with_it)), question, "yes", structure)
        if len(without):
            add("presence", int(rng.choice(without)), question, "no", structure)
    if filled.any():
        index = int(rng.choice(np.flatnonzero(filled >= filled.max() / 2)))
        shown = [names[label] for label, area in found.items() if area[index] >= _LEAST]
        if shown:
            add("structures", index, "Which of the labelled structures does this slice show?", _listed(shown), "")
    return rows


def _listed(names: list[str]) -> str:
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{text[0].upper()}{text[1:]}."
