"""Scores: what a classifier says of the pictures of a dataset, kept on disk, and conversations that lean on it.

VILA-M3 wrapped questions and reports about chest radiographs in such conversations; see `with_scores`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attending.consult.loop import Codec
from attending.consult.transcript import Turn
from attending.corpora.cases import Labelled, study_of
from attending.corpora.constructions import Plan, Speaker, say
from attending.corpora.conversation import PLACE, Conversation, Message
from attending.corpora.dataset import Dataset, Progress, load_picture
from attending.corpora.expert_conversations import cards, enact
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.tables import append_to, json_rows
from attending.errors import InputError
from attending.experts import Expert, ExpertCard, Finding, Record, run_expert
from attending.imaging import Study, open_study

Scores = Mapping[str, Mapping[str, float]]
"""Probabilities by finding, by the picture's name."""


class _Known:
    """Stands for the classifier: its scores of this picture are known."""

    def __init__(self, card: ExpertCard, scores: Mapping[str, float]) -> None:
        self.card, self._scores = card, scores

    def available(self) -> str | None:
        return None

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        return Finding("done", "Probabilities from the store.", Record("", "store"), scores=self._scores)


class _Row(NamedTuple):
    place: int
    image: str


def score_images(
    dataset: Dataset, expert: Expert, store: Path, *, progress: Progress = lambda done: None
) -> list[InputError]:
    """Run a classifier on every picture of a dataset that `store` does not hold yet, and add what it says.

    Args:
        dataset: Its pictures are files.
        expert: Such as `find_expert("CXR")`.
        store: JSON lines, one for each picture: `image` (its path), `scores`.
        progress: Called with the number of conversations looked at.

    Returns:
        A problem for each picture of which there is no result.
    """
    held = set(read_scores(store)) if store.is_file() else set()
    problems = []
    with append_to(store) as file:
        for done, conversation in enumerate(dataset.conversations, 1):
            for image in conversation.images:
                if not isinstance(image, Path) or str(image) in held:
                    continue
                held.add(str(image))
                finding = run_expert(expert, open_study(image, modality="CXR"))
                if finding.status == "done" and finding.scores:
                    file.write(json.dumps({"image": str(image), "scores": dict(finding.scores)}) + "\n")
                else:
                    problems.append(InputError(f"no scores: {finding.text}", path=image))
            progress(done)
    return problems


def read_scores(store: Path) -> dict[str, dict[str, float]]:
    """What `score_images` wrote, by the picture's path.

    Raises:
        InputError: A line is not what it writes.
    """
    problems: list[InputError] = []
    found = {}
    for where, row in json_rows(store, problems.append):
        image, scores = row.get("image"), row.get("scores")
        told = scores if isinstance(scores, dict) else {}
        good = isinstance(image, str) and told
        if not good or not all(isinstance(one, float | int) and 0 <= one <= 1 for one in told.values()):
            raise InputError("expected image, and scores from 0 to 1 by name", path=store, field=where, value=row)
        found[str(image)] = {str(name): float(one) for name, one in told.items()}
    if problems:
        raise problems[0]
    return found


def with_scores(
    dataset: Dataset, scores: Scores, codec: Codec, *, name: str = "", progress: Progress = lambda done: None
) -> Dataset:
    """The conversations of a dataset about single chest radiographs, each begun by asking the CXR expert.

    The answer is the dataset's own. A conversation of another form (no picture or several), or whose picture has no
    scores, is passed over and counted.

    Args:
        dataset: Such as `mimic-cxr`, `medical-diff-vqa`, `chexpert`.
        scores: By the picture's path; see `read_scores`.
        codec: Of the model that is to be trained.
        name: Of the new dataset; by default the old one's with `expert` before it.
        progress: Called with the number of conversations made.
    """
    offered = cards()
    card = next(one for one in offered if one.name == "CXR")
    speaker = Speaker(codec.name, np.random.default_rng(0))
    lead = speaker.call("This looks like an chest x-ray. Let me first trigger", ("CXR", ""), tail=".")

    def make(row: _Row) -> Conversation:
        plain = dataset.conversations[row.place]
        said = [message.content.replace(f"{PLACE}\n", "").replace(PLACE, "").strip() for message in plain.messages]
        pairs = list(zip(said[2::2], said[3::2], strict=True))
        plan = Plan("cxr question", said[0], (lead, say(said[1])), then=tuple((q, say(a)) for q, a in pairs))
        first = Turn("user", plan.question, (load_picture(plain.images[0]),), "CXR", offered)
        experts = [_Known(card, scores[row.image])]
        case = Labelled(study_of({}, "DX"), None, {})
        messages, _ = codec.messages(enact(plan, first, case, experts, codec, _at_once))
        facts = dict(plain.facts) | {"expert": "CXR", "status": "done", "codec": codec.name}
        return Conversation(
            plain.id,
            tuple(Message(str(one["role"]), str(one["content"])) for one in messages),
            plain.images,
            plain.patient,
            plain.source,
            plain.split,
            facts,
        )

    gather: Gather[_Row] = Gather(name or f"expert {dataset.name}", dataset.split, make, progress)
    for place, plain in enumerate(dataset.conversations):
        gather.look()
        single = len(plain.images) == 1 and isinstance(plain.images[0], Path) and plain.messages[0].role == "user"
        if not single or any(PLACE in message.content for message in plain.messages[1:]):
            gather.pass_over("not a conversation about one picture in a file")
        elif str(plain.images[0]) not in scores:
            gather.pass_over("no scores of its picture")
        else:
            gather.add(_Row(place, str(plain.images[0])), "question type")
    return gather.dataset()


def _at_once(expert: Expert, study: Study, arguments: object = None, **more: object) -> Finding:
    """The known scores; nothing is run."""
    found = expert.run(study, {})
    return replace(found, record=replace(found.record, expert=expert.card.name))
