"""The conversations that attending-nano learns from, made of phantoms by the loop that serves users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attending.corpora.conversation import Conversation, Message
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.reader import Reader
from attending.errors import InputError

if TYPE_CHECKING:
    from attending.consult.show import Shown
    from attending.corpora.cases import Labelled
    from attending.corpora.constructions import Plan
    from attending.corpora.nano import Truth
    from attending.experts import Expert, Finding
    from attending.imaging import Picture, Study
    from attending.phantom import Case

_SPLIT = {"train": "train", "validate": "validation", "test": "test"}
_STUDIES = ("ct", "mri", "cxr", "ct+cxr")
_UNTOLD = 0.4
"""Share of conversations in which nothing says what the pictures were made with, as of a PNG: the model must look."""
_OTHERWISE = 0.4
"""Share of the others whose pictures are changed until only those words tell: real studies look like no phantom."""
_FEWER = 0.4
"""Share of conversations in which experts that no question needs may be missing from the offer."""


def read(
    folder: None,
    split: str,
    *,
    progress: Progress,
    studies: str = "ct,mri,cxr,ct+cxr",
    cases: int = 50,
    first: int = 0,
    styles: str = "A,B,C",
    experts: bool = True,
    kinds: str = "",
    together: int = 1,
    seed: int = 0,
) -> Dataset:
    """Make them all: about 30 of a CT, 20 of an MRI or a radiograph, 10 of a study that holds both.

    The experts' findings are the truth, measured as the embedded experts measure; now and then some are not on offer.

    Args:
        folder: Not used.
        split: Of the seeds; `test` has the wordings that are kept from training.
        progress: See `attending.corpora.read`.
        studies: Of `ct`, `mri`, `cxr` and `ct+cxr` (both in one study), separated by commas.
        cases: Patients of each.
        first: First seed within the split.
        styles: Hospitals, taking turns by seed.
        experts: Whether experts are on offer; without them the answer is what a look can tell.
        kinds: Types of question to keep, separated by commas; empty keeps all.
        together: Most questions that follow each other in one conversation; a record's facts are those of the last.
        seed: Draws wordings.
    """
    from attending.phantom import seeds_of

    wanted, hospitals, kept = (
        [one.strip() for one in text.split(",") if one.strip()] for text in (studies, styles, kinds)
    )
    for study in wanted:
        if study not in _STUDIES:
            raise InputError(f"expected some of {', '.join(_STUDIES)}", field="studies", value=study)
    found: list[Conversation] = []
    seeds = seeds_of(_SPLIT[split], first, cases)
    for study in wanted:
        for number in seeds:
            seen = _patient(study, number, hospitals[number % len(hospitals)])
            draw = np.random.default_rng([seed, number, _STUDIES.index(study)])
            for place, asked in enumerate(_conversations(seen.truth, draw, split, experts, kept, together)):
                told = _record(f"{seen.id}/{study}-{place}", asked, seen, experts, draw)
                found.append(replace(told, patient=f"phantom {number}", split=split))
            progress(len(found))
    patients = frozenset(f"phantom {number}" for number in seeds)
    counts = {"rows": len(found), "conversations": len(found), "refused": 0, "patients": len(patients)}
    return Dataset("phantom-nano", split, found, counts, patients=patients, images=())


def _conversations(
    truth: Truth, draw: np.random.Generator, split: str, experts: bool, kept: list[str], together: int
) -> Iterator[list[Plan]]:
    """What is asked in each conversation; one that lacks an expert stands alone."""
    from attending.corpora.nano import Wordings, plans, unaided

    drawn = [plan if experts else unaided(plan) for plan in plans(truth, Wordings(draw, split == "test"))]
    asked = [plan for plan in drawn if plan is not None and (not kept or plan.facts["type"] in kept)]
    if together > 1:
        asked = [asked[index] for index in draw.permutation(len(asked)).tolist()]
    while asked:
        most = int(draw.integers(together)) + 1
        alone = next((place for place, plan in enumerate(asked[:most]) if plan.without), most)
        yield asked[: max(1, alone)]
        asked = asked[max(1, alone) :]


class _Seen(NamedTuple):
    """What is kept of a patient: little next to the volumes, so that several datasets are made of one generation."""

    id: str
    truth: Truth
    shown: Shown
    findings: Mapping[str, Finding]
    """What each embedded expert finds if it finds the truth, by name."""


@lru_cache(maxsize=4096)
def _patient(study: str, number: int, style: str) -> _Seen:
    from attending.consult.short import Short
    from attending.consult.show import first_pictures
    from attending.corpora.nano import truth_of
    from attending.corpora.phantom_cases import labelled
    from attending.imaging import Study
    from attending.phantom import generate

    made = [generate(kind, number, style) for kind in study.split("+")]
    opened = [labelled(case) for case in made]
    both = Study(Path(), [one for case in opened for one in case.study.series])
    shown = first_pictures(both, slices=Short.slices, together=Short.together)
    known = dict(_examined(case, told, number) for case, told in zip(made, opened, strict=True))
    return _Seen(made[0].id, truth_of([case.truth.to_dict() for case in made]), shown, known)


def _examined(case: Case, told: Labelled, number: int) -> tuple[str, Finding]:
    """An expert's name and the truth as it would tell it, without the mask."""
    from attending.corpora.nano import wording
    from attending.corpora.truth_expert import TruthExpert
    from attending.experts import ExpertCard, Finding
    from attending.experts.brats import tell_tumor
    from attending.experts.embedded import TORSO_LABELS, TORSO_LESIONS
    from attending.experts.finding import Record
    from attending.experts.segment import tell
    from attending.imaging import Volume

    series = told.study.series[0]
    if case.kind == "cxr":
        simulated = TruthExpert(ExpertCard("CHEST", (), (), "", "", ""), told, number).scores()
        scores = {name: simulated[name] for name in wording()["findings"]}
        return "CHEST", Finding("done", "", Record("CHEST"), scores=scores)
    if case.kind == "mri":
        assert told.labels is not None
        return "BRAIN", _light(tell_tumor(told.labels, series, Record("BRAIN"), ()))
    lookup = np.zeros(256, np.uint8)
    for label, name in TORSO_LABELS.items():
        lookup[wording()["structures"][name]["labels"]] = label
    labels = Volume(lookup[case.labels.array], case.labels.affine)
    return "TORSO", _light(tell(labels, TORSO_LABELS, series, Record("TORSO"), (), TORSO_LESIONS))


def _light(finding: Finding) -> Finding:
    from attending.experts.finding import Segmentation
    from attending.imaging import Volume

    assert finding.segmentation is not None
    empty = Volume(np.zeros((1, 1, 1), np.uint8), np.eye(4))
    return replace(finding, segmentation=Segmentation(empty, finding.segmentation.names), pictures=())


def _record(id_: str, asked: list[Plan], seen: _Seen, experts: bool, draw: np.random.Generator) -> Conversation:
    """Hold the conversation, one question after another."""
    from attending.consult.short import Short
    from attending.consult.transcript import Turn
    from attending.corpora.cases import Labelled
    from attending.corpora.expert_conversations import enact
    from attending.imaging import Study

    offered = _offered(asked, draw.spawn(1)[0]) if experts else []

    def run(expert: Expert, study: Study, arguments: Any = None, **limits: Any) -> Finding:
        return _part(seen.findings[expert.card.name], expert.card.choose(arguments).get("structures"))

    modality = None if draw.random() < _UNTOLD else seen.shown.modality
    shown = seen.shown.pictures
    if modality is not None and draw.random() < _OTHERWISE:
        shown = tuple(_otherwise(picture, draw) for picture in shown)
    turns: tuple[Turn, ...] = ()
    for plan in asked:
        cards = tuple(expert.card for expert in offered)
        first = Turn("user", plan.question) if turns else Turn("user", plan.question, shown, modality, cards)
        turns = enact(plan, first, Labelled(Study(Path(), []), None, {}), offered, Short(), run, turns)
    messages, pictures = Short().messages(turns)
    said = tuple(Message(str(one["role"]), str(one["content"])) for one in messages)
    return Conversation(id_, said, tuple(pictures), "", "phantom-nano", "", asked[-1].facts)


def _offered(asked: list[Plan], draw: np.random.Generator) -> list[Expert]:
    """The embedded experts; now and then without some that no question needs, since users choose theirs."""
    from attending.experts.embedded import embedded

    there = [expert for expert in embedded() if expert.card.name != asked[0].without]
    needed = {name for plan in asked for name in plan.facts["calls"].split(" and ")}
    if draw.random() >= _FEWER:
        return there
    return [expert for expert in there if expert.card.name in needed or draw.random() < 0.5] or there


def _otherwise(picture: Picture, draw: np.random.Generator) -> Picture:
    """A part of a picture, turned, brighter or darker: so unlike a phantom that only words tell what it is."""
    size = (np.array(picture.pixels.shape[:2]) * draw.uniform(0.5, 1, 2)).astype(int)
    row, column = draw.integers(np.array(picture.pixels.shape[:2]) - size + 1)
    levels = picture.pixels[row : row + size[0], column : column + size[1]] / 255
    levels = np.rot90(levels ** np.exp(draw.uniform(-1, 1)), int(draw.integers(4)))
    return replace(picture, pixels=np.ascontiguousarray(255 * levels).astype(np.uint8), window=None)


def _part(whole: Finding, structures: str | None) -> Finding:
    """What a segmentation tells when it is asked for some structures."""
    from attending.experts.embedded import TORSO_GROUPS, TORSO_LABELS, TORSO_LESIONS
    from attending.experts.monai_bundle import structures as groups_of

    if structures is None or whole.segmentation is None:
        return whole
    ids = groups_of(TORSO_LABELS, TORSO_LESIONS, TORSO_GROUPS)[structures]
    names = {label: whole.segmentation.names[label] for label in ids}
    kept = {name: facts for name, facts in whole.measurements.items() if name in names.values()}
    return replace(whole, segmentation=replace(whole.segmentation, names=names), measurements=kept)


READER = Reader(
    name="phantom-nano",
    title="what attending-nano learns from: questions about phantoms in many wordings, with the embedded experts",
    expects=("nothing: no folder is read",),
    source="made by `attending`",
    citation="",
    licence="Apache-2.0",
    splits=("train", "validate", "test"),
    read=read,
    needs_folder=False,
)
