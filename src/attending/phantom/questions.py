"""Questions with answers that follow from the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from attending.phantom.finding import kinds_on
from attending.phantom.random import stream
from attending.phantom.report import STUDY_WORDS, amount, describe, place_words, size_of
from attending.phantom.study import Subject
from attending.phantom.wording import article, say, wording

TYPES = ("open", "presence", "describe", "count", "diameter", "volume", "organ volume", "locate", "choice", "compare",
         "modality", "body", "absent", "unanswerable")  # fmt: skip
_MODALITY = {"ct": "This is a CT image.", "mri": "This is a brain MRI scan.", "cxr": "This is a chest X-ray."}
_BODY = {"ct": "The chest and abdomen.", "mri": "The head.", "cxr": "The chest."}
_OUTSIDE = {
    "ct": ("skull", "brain", "knee", "left wrist"),
    "mri": ("liver", "lungs", "knee", "kidneys"),
    "cxr": ("brain", "knee", "pancreas", "left wrist"),
}
_CHANGE_WORDS = {"new": "new", "grown": "larger", "stable": "stable", "smaller": "smaller"}
_ORGANS = ("liver", "spleen", "right kidney", "left kidney", "pancreas", "heart")


class _Asker:
    """Collects questions of one case."""

    def __init__(self, case: Subject) -> None:
        self.case, self.rng = case, stream(case.seed, "questions", case.style.name)
        self.study = STUDY_WORDS[case.kind]
        self.found: list[dict[str, Any]] = []

    def add(
        self,
        type_: str,
        bank: str,
        reply: str,
        value: Any,
        rests_on: list[str],
        about: str = "",
        unit: str = "",
        choices: list[str] | None = None,
        **fields: object,
    ) -> None:
        """One question; `value` is what a parser should get from a right answer."""
        split = self.case.split
        words = say(self.rng, "question", bank, split, study=self.study, **fields)
        answer = say(self.rng, "answer", reply, split, study=self.study, **fields)
        text = words.text
        for vowel in "aeiou":
            text = text.replace(f" a {vowel}", f" an {vowel}")
        for many in ("pulmonary edema", "linear atelectasis", "consolidation"):  # these take no article
            text = text.replace(f" a {many}", f" {many}")
        answered = answer.text[0].upper() + answer.text[1:]
        self.found.append({
            "id": f"q{len(self.found) + 1}", "type": type_, "question": text, "answer": answered, "value": value,
            "unit": unit, "choices": choices or [],
            "about": about, "rests_on": rests_on, "wording": [words.source, answer.source], "reserved": words.reserved,
        })  # fmt: skip


def ask(
    case: Subject, visit: dict[str, Any], changes: list[dict[str, Any]], report: dict[str, Any]
) -> list[dict[str, Any]]:
    """All questions of a case, in a fixed order of types.

    Each has `id`, `type`, `question`, `answer`, `value`, `unit`, `choices`, `about`, `rests_on`, `wording`, `reserved`:
    `answer` is a sentence, `value` the bare yes/no, number, letter or place it holds (None where declining is right),
    `about` the finding kind or organ.
    """
    asker = _Asker(case)
    kinds = kinds_on(case.kind)
    records = visit["findings"]
    by_kind = {kind: [r for r in records if r["kind"] == kind] for kind in kinds}
    present = [k for k in kinds if by_kind[k]]
    absent = [str(k) for k in asker.rng.permutation([k for k in kinds if not by_kind[k]])[: max(1, len(present))]]
    impression = " ".join(s["text"] for s in report["impression"])
    asker.add(
        "open", "open", "plain", [r["kind"] for r in records], [r["id"] for r in records] or ["study"], text=impression
    )
    for kind in present:
        _about_present(asker, kind, by_kind[kind])
    for kind in absent:
        _about_absent(asker, kind)
    _choice(asker, present, absent, kinds)
    if case.kind == "ct":
        _organ(asker, visit)
    for change in changes:
        _compare(asker, change, alone=sum(c["kind"] == change["kind"] for c in changes) == 1)
    asker.add("modality", "modality", "plain", case.kind, ["study"], text=_MODALITY[case.kind])
    asker.add("body", "body", "plain", _BODY[case.kind].rstrip(".").lower(), ["study"], text=_BODY[case.kind])
    asker.add("unanswerable", "unanswerable", "unanswerable", None, [])
    outside = str(asker.rng.choice(_OUTSIDE[case.kind]))
    asker.add("unanswerable", "outside", "unanswerable", None, [], about=outside, outside=outside)
    return asker.found


def _fields(kind: str) -> dict[str, Any]:
    names = wording()["kind"][kind]
    return {"one": names["one"], "many": names["many"]}


def _about_present(asker: _Asker, kind: str, records: list[dict[str, Any]]) -> None:
    ids = [r["id"] for r in records]
    fields = _fields(kind)
    first = describe(records[0])
    a = article(first)
    asker.add("presence", "presence", "presence_yes", "yes", ids, kind, a=a, description=first, **fields)
    if kind not in ("edema", "cardiomegaly"):
        noun = fields["one"] if len(records) == 1 else fields["many"]
        asker.add(
            "count",
            "count",
            "count",
            len(records),
            ids,
            kind,
            are="is" if len(records) == 1 else "are",
            count=len(records),
            noun=noun,
            **fields,
        )
    if len(records) > 1:  # "the lesion" would be ambiguous
        return
    record = records[0]
    asker.add("describe", "describe", "describe", first, ids, kind, a=a, description=first, **fields)
    if kind != "cardiomegaly":
        asker.add("locate", "locate", "locate", place_words(record), ids, kind, where=place_words(record), **fields)
    size = size_of(record)
    if size is not None:
        asker.add("diameter", "diameter", "diameter", size, ids, kind, "mm", size=f"{size:.0f}", **fields)
    if asker.case.kind != "cxr" and kind not in ("cardiomegaly", "fracture", "edema"):
        volume = record["measurements"]["volume_ml"]
        asker.add("volume", "volume", "volume", volume, ids, kind, "mL", volume=f"{volume:.1f}", **fields)


def _about_absent(asker: _Asker, kind: str) -> None:
    fields = _fields(kind)
    asker.add("presence", "presence", "presence_no", "no", [f"no {kind}"], kind, **fields)
    asker.add("absent", "describe", "absent", None, [f"no {kind}"], kind, **fields)
    if kind not in ("edema", "cardiomegaly"):
        asker.add(
            "count", "count", "count", 0, [f"no {kind}"], kind, are="are", count="no", noun=fields["many"], **fields
        )


def _choice(asker: _Asker, present: list[str], absent: list[str], kinds: list[str]) -> None:
    """One that is present among three that are not; `none of these` is always offered, and right in a healthy case."""
    rng = asker.rng
    wrong = [k for k in kinds if k not in present]
    picked = [str(k) for k in rng.permutation(wrong)[:3]]
    right = str(rng.choice(present)) if present else "none of these"
    options = [str(o) for o in rng.permutation([*picked, right] if present else picked)]
    options.append("none of these")
    if asker.case.kind == "mri":  # one kind of finding: choose among places instead
        options, right = (
            ["brain tumor", "pleural effusion", "rib fracture", "none of these"],
            present[0] if present else "none of these",
        )
    letter = "ABCDE"[options.index(right)]
    named = [wording()["kind"].get(o, {"one": o})["one"] for o in options]
    asker.add("choice", "choice", "choice", letter, [right], right, choices=named, letter=letter)


def _organ(asker: _Asker, visit: dict[str, Any]) -> None:
    organs = {o["name"]: o for o in visit["organs"]}
    name = str(asker.rng.choice([o for o in _ORGANS if o in organs]))
    volume = organs[name]["volume_ml"]
    asker.add("organ volume", "organ_volume", "volume", volume, [name], name, "mL", organ=name, volume=f"{volume:.0f}")


def _compare(asker: _Asker, change: dict[str, Any], alone: bool) -> None:
    fields = _fields(change["kind"])
    if not alone:
        fields["one"] += f" in the {place_words(change)}"
    if change["change"] == "gone":
        asker.add("compare", "compare", "gone", "gone", [change["id"], "prior"], change["kind"], **fields)
        return
    sizes = (
        f" ({amount(change['before'])} before, {amount(change['now'])} now)"
        if change["before"] is not None
        else f" ({amount(change['now'])})"
    )
    word = _CHANGE_WORDS[change["change"]]
    asker.add(
        "compare",
        "compare",
        "compare",
        word,
        [change["id"], "prior"],
        change["kind"],
        change=word,
        sizes=sizes,
        **fields,
    )


def counts(questions: list[dict[str, Any]]) -> dict[str, int]:
    """Number of questions by type."""
    types = [q["type"] for q in questions]
    return {t: int(np.sum([t == q for q in types])) for t in TYPES if t in types}
