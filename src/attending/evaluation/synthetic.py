"""Synthetic: the phantom benchmark: conversations from held-out seeds, hospitals and wordings, made when needed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attending.corpora import Conversation, Dataset, turns
from attending.errors import InputError
from attending.evaluation.task import Task

_FIRST = 20_000
"""First seed of the test split that the benchmark uses; those before are for tests and for judging the phantoms."""
_DEFAULTS = {"kinds": ["ct", "mri", "cxr"], "cases": 20, "styles": ["C", "D"], "pairs": False}
_MODALITY = {"ct": "CT", "mri": "MRI", "cxr": "CXR"}
_CHANGES = ("new", "larger", "stable", "smaller", "gone")


def phantom_dataset(task: Task, folder: Path) -> Dataset:
    """Phantom cases of two visits, written once into `folder/phantoms`, as one conversation a question.

    Facts: `type` of question, `kind` of study, `style`, `sex`, `age`, `about`, `wording` (`reserved` or `known`),
    `unit`, `study folders` (of the visits it is about), `option A` and so on, `answer` (the bare value), `pair`.

    Raises:
        InputError: An option that there is none of; a split other than test.
        NotAvailableError: scipy is not installed.
    """
    from attending.phantom.dataset import Plan, build

    for key in task.options:
        if key not in _DEFAULTS:
            raise InputError(f"phantom takes {', '.join(_DEFAULTS)}", field="options", value=key)
    if task.split != "test":
        raise InputError("the phantom benchmark is of the test split", field="split", value=task.split)
    chosen = {**_DEFAULTS, **task.options}
    styles = tuple(chosen["styles"])
    found: list[Conversation] = []
    for kind in chosen["kinds"]:
        plan = Plan(kind, int(chosen["cases"]), _FIRST, "test", styles, visits=2, formats=("dicom",))
        root = folder / "phantoms" / f"{kind}-{'-'.join(styles)}"
        cases = [root / f"{kind}-{styles[seed % len(styles)]}-{seed:08d}" for seed in plan.seeds()]
        if not all((case / "truth.json").is_file() for case in cases):
            build(plan, root)
        for case in cases:
            found += conversations(case, json.loads((case / "truth.json").read_text(encoding="utf-8")))
    if chosen["pairs"]:
        found = paired(found)
    rows = len(found)
    return Dataset("phantom", "test", found, {"rows": rows, "conversations": rows, "refused": 0})


def conversations(case: Path, truth: Mapping[str, Any]) -> list[Conversation]:
    """The questions of one case as conversations without pictures: these are chosen from the study when it is shown."""
    patient = truth["patient"]
    visits = [str(case / f"visit{number + 1}" / "dicom") for number in range(len(truth["visits"]))]
    found = []
    for asked in truth["questions"]:
        value, kind = asked["value"], asked["type"]
        options = asked["choices"] or (_CHANGES if kind == "compare" else ())
        facts = {
            "type": kind,
            "kind": truth["kind"],
            "modality": _MODALITY[truth["kind"]],
            "style": truth["style"]["name"],
            "sex": patient["sex"],
            "age": _decade(patient["age"]),
            "about": asked["about"],
            "unit": asked["unit"],
            "wording": "reserved" if asked["reserved"] else "known",
            "study folders": "\n".join(visits if kind == "compare" else visits[-1:]),
            "answer": "cannot be answered" if value is None else str(value),
            **{f"option {letter}": text for letter, text in zip("ABCDE", options, strict=False)},
        }
        id_ = f"{truth['case']}/{asked['id']}"
        told = turns(asked["question"], asked["answer"])
        found.append(Conversation(id_, told, (), patient["id"], "phantom", "test", facts))
    return found


def paired(found: Sequence[Conversation]) -> list[Conversation]:
    """Presence questions in pairs: the same question on two patients, `yes` for one and `no` for the other."""
    waiting: dict[tuple[str, str, str], list[Conversation]] = {}
    pairs = []
    for told in found:
        facts = told.facts
        if facts["type"] != "presence":
            continue
        other = {"yes": "no", "no": "yes"}[facts["answer"]]
        there = waiting.get((facts["kind"], facts["about"], other), [])
        if not there or there[0].patient == told.patient:
            waiting.setdefault((facts["kind"], facts["about"], facts["answer"]), []).append(told)
            continue
        first = there.pop(0)
        name = re.sub(r"\W+", "-", f"{first.id} {told.patient}")
        for one in (first, told):
            same = turns(first.messages[0].content, one.messages[1].content)
            pairs.append(Conversation(one.id, same, (), one.patient, "phantom", "test", {**one.facts, "pair": name}))
    return pairs


def _decade(age: int) -> str:
    return f"{age // 20 * 20} to {age // 20 * 20 + 19}"
