"""A model that follows a script, experts that know the truth, and the studies they look at."""

from collections.abc import Iterator, Mapping

import numpy as np
from bundles import ball, oblique, series_of, study_of

from attending.experts import ExpertCard, Finding, Record
from attending.experts.brats import Brats
from attending.experts.cxr import Cxr
from attending.experts.fit import digest, fit
from attending.experts.segment import tell
from attending.experts.vista3d import Vista3D
from attending.imaging import Image2D, Study, Volume
from attending.model import Delta

SHAPE = (40, 36, 12)
NAMES = {1: "liver", 26: "hepatic tumor"}


class Scripted:
    """A back end that says the given texts in turn, the last one for ever; keeps what it was asked."""

    def __init__(self, *replies: str, name: str = "vila-m3-scripted", finish: str = "stop") -> None:
        self.replies, self.name, self.finish = list(replies), name, finish
        self.asked: list[tuple[list[dict], list]] = []

    def session(self) -> "Scripted":
        return self

    def stream(self, messages, pictures=(), sampling=None, *, constraint=None, cancelled=lambda: False):
        places = sum(message["content"].count("<image>") for message in messages)
        assert places == len(pictures)  # a real back end would refuse
        self.asked.append((messages, list(pictures)))
        return self._speak(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0], cancelled)

    def _speak(self, text: str, cancelled) -> Iterator[Delta]:
        for start in range(0, len(text), 7):
            if cancelled():
                yield Delta("", "cancelled", 10, 0, start)
                return
            yield Delta(text[start : start + 7])
        yield Delta("", self.finish, 10, 4, len(text))

    @property
    def last(self) -> str:
        """The last message the model was sent."""
        return self.asked[-1][0][-1]["content"]


def ct(**facts) -> Study:
    """A CT on an oblique grid: -50 HU with a liver of 60 HU and a tumour of 90 HU in its left part."""
    affine = oblique()
    values = np.full(SHAPE, -50, np.int16)
    values[liver(affine) > 0] = 60
    values[liver(affine) == 26] = 90
    return study_of(series_of(values, affine, **({"name": "ct", "body_part": "ABDOMEN"} | facts)))


def liver(affine, tumor: bool = True) -> np.ndarray:
    labels = ball(affine, SHAPE, (20, 18, 6), 14).astype(np.uint8)
    if tumor:
        labels[ball(affine, SHAPE, (14, 18, 8), 5) > 0] = 26
    return labels


def mri(missing: tuple[str, ...] = ()) -> Study:
    rng = np.random.default_rng(3)
    roles = [role for role in ("flair", "t1", "t1ce", "t2") if role not in missing]
    return study_of(
        *(
            series_of(
                rng.integers(0, 900, SHAPE).astype(np.int16), oblique(), modality="MR", name=role, sequence=role,
                body_part="HEAD",
            )
            for role in roles
        )
    )  # fmt: skip


def cxr() -> Study:
    pixels = np.random.default_rng(4).integers(0, 255, (1, 32, 30)).astype(np.uint8)
    series = series_of(pixels[0][..., None], np.eye(4), modality="DX", name="cxr", body_part="CHEST")
    series.kind, series.shape, series.spacing = "image", (30, 32, 1), (0.5, 0.5)
    series.read = lambda _: Image2D(pixels, (0.5, 0.5), "DX", "cxr")
    return study_of(series)


class Truthful:
    """An expert with another's card that finds what it is told to."""

    def __init__(self, card: ExpertCard, find) -> None:
        self.card, self.find, self.ran = card, find, []

    def available(self) -> None:
        return None

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        self.ran.append(dict(arguments))
        return self.find(self.card, study)


def segments(labels_of=liver, names=NAMES, lesions=(26,)):
    """Finds the labels that `labels_of` draws on the study's grid."""

    def find(card, study):
        series = fit(card, study)[0][0]
        labels = Volume(labels_of(series.volume.affine), series.volume.affine)
        return tell(labels, names, series, Record("", inputs={series.id: digest(series)}), [], lesions)

    return find


def scores(**found: float):
    def find(card, study):
        series = fit(card, study)[0][0]
        return Finding("done", "probabilities", Record("", inputs={series.id: digest(series)}), scores=found)

    return find


def tumor_parts(affine) -> np.ndarray:
    labels = np.where(ball(affine, SHAPE, (20, 18, 6), 9) > 0, 2, 0).astype(np.uint8)
    labels[ball(affine, SHAPE, (20, 18, 6), 6) > 0] = 4
    labels[ball(affine, SHAPE, (20, 18, 6), 3) > 0] = 1
    return labels


def vista3d(labels_of=liver) -> Truthful:
    return Truthful(Vista3D().card, segments(labels_of))


def brats() -> Truthful:
    names = {1: "necrotic core", 2: "peritumoral edema", 4: "enhancing tumor"}
    return Truthful(Brats().card, segments(tumor_parts, names, ()))


def cxr_expert(**found: float) -> Truthful:
    return Truthful(Cxr().card, scores(**(found or {"Pleural_Thickening": 0.2, "Effusion": 0.91, "Pneumonia": 0.5})))
