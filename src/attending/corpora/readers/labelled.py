"""Labelled: yes/no questions about chest radiographs from tables of findings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import Conversation, turns

HEAD = (
    "The following is a question about findings in chest X-ray in the frontal view. Please reply with yes or no.\n"
    "Question: is there {name} according to the provided X-ray image?\n"
)
"""VILA-M3's prompt for classification without an expert."""


class Labels(NamedTuple):
    """One radiograph: `found` says of each finding whether it is there; what is unsure is not in it."""

    id: str
    image: Path
    found: Mapping[str, bool]
    patient: str
    facts: dict[str, str]


class Question(NamedTuple):
    """One finding of one radiograph."""

    labels: Labels
    name: str


def conversation(question: Question, source: str, split: str) -> Conversation:
    """Whether the radiograph shows the finding."""
    labels, name = question
    facts = labels.facts | {"question type": name, "answer type": "yes/no", "modality": "CXR", "language": "en"}
    messages = turns(f"<image>\n{HEAD.format(name=name.lower())}", "yes" if labels.found[name] else "no")
    return Conversation(f"{labels.id}/{name}", messages, (labels.image,), labels.patient, source, split, facts)


def choose(labels: Labels, most: int, seed: int) -> list[Question]:
    """At most `most` questions: by turns a finding that is there and one that is not, chosen by hash; 0 for all."""
    names = sorted(labels.found, key=lambda name: hashlib.sha256(f"{seed}/{labels.id}/{name}".encode()).digest())
    there = [name for name in names if labels.found[name]]
    absent = [name for name in names if not labels.found[name]]
    if not most:
        return [Question(labels, name) for name in labels.found]
    mixed = [name for pair in zip(there, absent, strict=False) for name in pair]
    rest = there[len(absent) :] + absent[len(there) :]
    return [Question(labels, name) for name in (mixed + rest)[:most]]
