"""Domain: how unlike a study is to the synthetic ones that a model learned from, measured on its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from attending.consult.appearance import appearance, colour, shrink
from attending.consult.show import first_pictures, slice_of, spoken_modality
from attending.imaging import Picture, Series, Study, key_slices, picture_of

SLICES = 5
"""Axial slices of a volume that are looked at, spread over the body."""
_NAMES = {"CT": "CT", "MRI": "brain MRI", "CXR": "chest radiographs"}
_BEGINS = ("This model learned from synthetic", "This study is unlike the synthetic ones this model learned from")
_ENDS = "; what follows may well be wrong."


@dataclass(frozen=True)
class Judgement:
    """Whether a study is like those that a model learned from.

    Attributes:
        unlike: Whether the reader must be told.
        text: What the reader is told, a sentence; empty when it is alike.
        modality: Of the pictures that fit least: `CT`, `MRI`, `CXR`, `US`; None when it is not known.
        score: Their distance from the training studies, which have about 1; None of a modality that was not among them.
        limit: The score above which a study counts as unlike; None without a score.
    """

    unlike: bool
    text: str
    modality: str | None
    score: float | None = None
    limit: float | None = None

    @property
    def note(self) -> str:
        """What an answer begins with: `text` as a paragraph of its own, or nothing."""
        return f"{self.text}\n\n" if self.text else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "unlike": self.unlike,
            "modality": self.modality,
            "score": None if self.score is None else round(self.score, 3),
            "limit": None if self.limit is None else round(self.limit, 3),
        }


class Fit(NamedTuple):
    """The training pictures of one modality, as a Gaussian of their `appearance`.

    Attributes:
        mean: `[FEATURES]`.
        whiten: `[FEATURES, FEATURES]`; times the difference from the mean it gives independent values of variance 1.
        limit: The score above which a study counts as unlike.
    """

    mean: npt.NDArray[np.float64]
    whiten: npt.NDArray[np.float64]
    limit: float

    def score(self, looks: npt.NDArray[np.float64]) -> float:
        """Distance of a series from its looks `[pictures, FEATURES]`: the median over its pictures.

        A picture's is its Mahalanobis distance by the root of the number of features.
        """
        apart = (looks - self.mean) @ self.whiten.T
        return float(np.median(np.sqrt((apart**2).mean(1))))


@dataclass(frozen=True, eq=False)
class Domain:
    """What a model learned from, as far as pictures show it.

    Attributes:
        fits: By modality as models are told it (`CT`, `MRI`, `CXR`).
    """

    fits: Mapping[str, Fit]
    _known: WeakKeyDictionary[Series, float] = field(default_factory=WeakKeyDictionary, repr=False)

    @classmethod
    def load(cls) -> Domain:
        """That of the phantoms, which the embedded default learned from; `data/README.md` says how it was made."""
        from safetensors.numpy import load

        stored = load(files("attending.consult").joinpath("data/domain.safetensors").read_bytes())
        names = sorted({key.partition(".")[0] for key in stored})
        return cls(
            {
                name: Fit(
                    stored[f"{name}.mean"].astype(float),
                    stored[f"{name}.whiten"].astype(float),
                    float(stored[f"{name}.limit"][0]),
                )
                for name in names
            }
        )

    def judge(
        self, study: Study | None, pictures: Sequence[Picture] | None = None, modality: str | None = None
    ) -> Judgement:
        """Judge a study by the pictures that a model is shown of it.

        Of a volume, slices spread over the body stand for the one or few shown. The series that fits least decides.
        What the headers say counts only for the modality: a head CT is compared with CTs.

        Args:
            study: What is asked about, or None.
            pictures: What is shown of it; by default what would be shown first.
            modality: Of pictures that are no part of the study.

        Raises:
            InputError: The voxels cannot be read.
        """
        if pictures is None:
            pictures = first_pictures(study).pictures if study is not None else ()
        found = [self._judged(name, score) for name, score in self._scores(study, pictures, modality)]
        return max(found, key=_badness, default=Judgement(False, "", None))

    def _scores(
        self, study: Study | None, pictures: Iterable[Picture], modality: str | None
    ) -> Iterator[tuple[str | None, float | None]]:
        """Modality and score of each series shown, and of each picture that belongs to none."""
        by_id = {series.id: series for series in study.series} if study is not None else {}
        seen: dict[str, Series] = {}
        for picture in pictures:
            series = by_id.get(picture.series or "")
            if series is not None:
                seen[series.id] = series
            else:
                fit = self.fits.get(modality or "")
                yield modality, fit and fit.score(looks([picture]))
        for series in seen.values():
            name = spoken_modality(series)
            fit = self.fits.get(name or "")
            yield name, fit and self._of_series(series, fit)

    def _of_series(self, series: Series, fit: Fit) -> float:
        if series not in self._known:
            self._known[series] = fit.score(looks(spread(series)))
        return self._known[series]

    def _judged(self, name: str | None, score: float | None) -> Judgement:
        if score is None or name is None:
            learned = [_NAMES.get(one, one) for one in self.fits]
            told = f"{', '.join(learned[:-1])} and {learned[-1]}" if learned[1:] else "".join(learned)
            this = f"this is {name}" if name is not None else "what this was made with is not known to be one of these"
            return Judgement(True, f"{_BEGINS[0]} {told} only, and {this}{_ENDS}", name)
        limit = self.fits[name].limit
        if score <= limit:
            return Judgement(False, "", name, score, limit)
        text = f"{_BEGINS[1]} (score {score:.1f}, limit {limit:.1f}){_ENDS}"
        return Judgement(True, text, name, score, limit)


def without_note(answer: str) -> str:
    """An answer's text without the note before it, as a client may send it back."""
    note, paragraph, rest = answer.partition("\n\n")
    return rest if paragraph and note.startswith(_BEGINS) and note.endswith(_ENDS) else answer


def spread(series: Series) -> list[Picture]:
    """Pictures that stand for a series, windowed as models are shown it: `SLICES` of a volume, one of an image."""
    if series.kind == "image":
        return [picture_of(series.image)]
    volume = series.volume
    return [slice_of(volume, index) for index in key_slices(volume, "axial", SLICES)]


def looks(pictures: Iterable[Picture]) -> npt.NDArray[np.float64]:
    """`appearance` of each, `[pictures, FEATURES]`."""
    return np.stack([appearance(shrink(one.pixels), colour(one.pixels)) for one in pictures])


def _badness(judgement: Judgement) -> tuple[bool, float]:
    """By which the worst of several is found: no score at all is worse than any."""
    if judgement.score is None or judgement.limit is None:
        return judgement.unlike, np.inf
    return judgement.unlike, judgement.score / judgement.limit
