"""What attending-nano is asked to show what it can: held-out patients, hospitals and wordings, judged by the truth."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attending.corpora import Conversation, Dataset, turns
from attending.corpora.nano import Wordings, plans, truth_of
from attending.errors import InputError
from attending.evaluation.task import Task

_FIRST = {"ct": 30_000, "mri": 31_000, "cxr": 32_000, "ct+cxr": 33_000}
"""First seed of the test split that is used here."""
_DEFAULTS = {
    "studies": ["cxr", "mri", "ct", "ct+cxr"], "first": 0, "cases": 16, "styles": ["C", "D"], "questions": 5,
}  # fmt: skip
"""Patients of each kind from the `first` on."""
_MODALITY = {"ct": "CT", "mri": "MRI", "cxr": "CXR", "ct+cxr": "CT"}
_MEASURED = ("count", "diameter", "volume", "organ volume", "side")
_UNJUDGED = ("missing", "segment", "organs", "report", "probability", "part", "ok", "free", "two volumes")
"""Types of question whose right answer the truth alone does not tell."""


def nano_dataset(task: Task, folder: Path) -> Dataset:
    """Phantoms, written once into `folder/phantoms`, with questions in known wordings and as many in reserved ones.

    Facts: those of `attending.corpora.nano.plans`, `wording` (`known` or `reserved`), `kind` of study, `style`, `sex`,
    `study folders`.

    Raises:
        InputError: An option that there is none of; a split other than test.
    """
    for key in task.options:
        if key not in _DEFAULTS:
            raise InputError(f"nano takes {', '.join(_DEFAULTS)}", field="options", value=key)
    if task.split != "test":
        raise InputError("the benchmark is of the test split", field="split", value=task.split)
    chosen: Mapping[str, Any] = {**_DEFAULTS, **task.options}
    styles = tuple(chosen["styles"])
    found: list[Conversation] = []
    for study in chosen["studies"]:
        if study not in _FIRST:
            raise InputError(f"expected some of {', '.join(_FIRST)}", field="studies", value=study)
        first = _FIRST[study] + int(chosen["first"])
        for number, case in enumerate(_cases(study, folder / "phantoms", first, int(chosen["cases"]), styles)):
            found += _questions(study, case, first + number, int(chosen["questions"]))
    return Dataset("nano", "test", found, {"rows": len(found), "conversations": len(found), "refused": 0})


def _cases(study: str, root: Path, first: int, count: int, styles: tuple[str, ...]) -> list[Path]:
    """Folders with a `truth.json` for each kind, and `images` below, all of one patient."""
    from attending.phantom.dataset import Plan, build

    found = []
    for kind in study.split("+"):
        plan = Plan(kind, count, first, "test", styles, formats=("dicom",))
        made = root / f"{kind}-{first}-{'-'.join(styles)}"
        cases = [made / f"{kind}-{styles[seed % len(styles)]}-{seed:08d}" for seed in plan.seeds()]
        if not all((case / "truth.json").is_file() for case in cases):
            build(plan, made)
        found.append(cases)
    joined = []
    for parts in zip(*found, strict=True):
        case = root / study / parts[0].name
        if not (case / "done").is_file():
            shutil.rmtree(case, ignore_errors=True)
            for kind, part in zip(study.split("+"), parts, strict=True):
                shutil.copytree(part / "visit1" / "dicom", case / "images" / kind)
                shutil.copyfile(part / "truth.json", case / f"{kind}.json")
            (case / "done").touch()
        joined.append(case)
    return joined


def _questions(study: str, case: Path, seed: int, most: int) -> list[Conversation]:
    told = [json.loads((case / f"{kind}.json").read_text(encoding="utf-8")) for kind in study.split("+")]
    truth, patient = truth_of(told), told[0]["patient"]
    found = []
    for wording in ("known", "reserved"):
        draw = np.random.default_rng([seed, wording == "reserved"])
        asked = [plan for plan in plans(truth, Wordings(draw, wording == "reserved")) if _judged(plan.facts)]
        needing = [plan for plan in asked if plan.facts["calls"]]
        rest = [plan for plan in asked if not plan.facts["calls"]]
        for group in (needing, rest):
            for index in _varied([plan.facts["type"] for plan in group], draw)[: (most + (group is needing)) // 2]:
                plan = group[index]
                facts = {
                    **plan.facts,
                    "wording": wording,
                    "kind": study,
                    "modality": _MODALITY[study],
                    "style": told[0]["style"]["name"],
                    "sex": patient["sex"],
                    "study folders": str(case / "images"),
                }
                answer = plan.facts["answer"] or "cannot be answered"
                name = f"{case.name}/{study}/{wording}-{plan.facts['type'].replace(' ', '-')}-{index}"
                id_ = patient["id"]
                talk = turns(plan.question, answer)
                found.append(Conversation(name, talk, (), id_, "phantom", "test", {**facts, "answer": answer}))
    return found


def _varied(types: Sequence[str], draw: np.random.Generator) -> list[int]:
    """Places in a random order in which every type comes once before any comes again."""
    before: Counter[str] = Counter()
    rounds: list[tuple[int, int, int]] = []
    for index in draw.permutation(len(types)).tolist():
        rounds.append((before[types[index]], len(rounds), index))
        before[types[index]] += 1
    return [index for _, _, index in sorted(rounds)]


def _judged(facts: Mapping[str, str]) -> bool:
    kind = facts["type"]
    return kind not in _UNJUDGED and (bool(facts["answer"]) or kind not in _MEASURED)
