"""Stand-ins that behave, or misbehave, as a test needs. They are no experts and are never offered to users."""

import threading
from collections.abc import Mapping

import numpy as np

from attending.experts import ExpertCard, Finding, Record, Segmentation
from attending.experts.fit import digest
from attending.imaging import Study, Volume

CARD = ExpertCard(
    name="STANDIN", modality=("CT",), body_part=("CHEST", "ABDOMEN"), task="segmentation", overview="a stand-in",
    accuracy="exact on phantoms", arguments={"what": ("all", "lesion")}, version="1",
)  # fmt: skip


class StandIn:
    """Returns what `answer` makes of the study."""

    def __init__(self, answer, card: ExpertCard = CARD, missing: str | None = None) -> None:
        self.card, self.answer, self.missing, self.seen = card, answer, missing, []

    def available(self) -> str | None:
        return self.missing

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        self.seen.append(dict(arguments))
        return self.answer(study)


def finding(study: Study, **changes) -> Finding:
    """A sound finding: a box of label 1 in the first series."""
    series = study.series[0]
    array = changes.pop("array", None)
    if array is None:
        array = np.zeros(series.shape, np.uint8)
        array[2:5, 2:5, 2:5] = 1
    labels = Volume(array, changes.pop("affine", series.volume.affine))
    facts = {
        "status": "done",
        "text": "box: found.",
        "record": Record("", inputs={series.id: digest(series)}),
        "segmentation": Segmentation(labels, {1: "box"}),
    }
    return Finding(**(facts | changes))


def hang(until: threading.Event):
    """An expert that never looks at the clock."""

    def answer(study: Study) -> Finding:
        until.wait(60)
        return finding(study)

    return answer
