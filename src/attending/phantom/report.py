"""Report: the radiologist's sentences, each linked to what it rests on."""

from __future__ import annotations

from typing import Any

import numpy as np

from attending.phantom.finding import kinds_on
from attending.phantom.random import stream
from attending.phantom.study import Subject
from attending.phantom.wording import article, say, wording

STUDY_WORDS = {"ct": "CT", "mri": "MRI", "cxr": "chest radiograph"}
_TECHNIQUE = {
    "ct": {"none": "CT of chest and abdomen without contrast.",
           "arterial": "CT of chest and abdomen in the arterial phase.",
           "portal": "CT of chest and abdomen in the portal venous phase."},
    "mri": {"": "MRI of the brain: T1 before and after contrast, T2 and FLAIR."},
    "cxr": {"": "Frontal chest radiograph."},
}  # fmt: skip


def size_of(record: dict[str, Any]) -> float | None:
    """The diameter a report gives for a finding, mm; None for kinds that are told by amount."""
    if record["kind"] not in ("liver lesion", "lung nodule", "kidney lesion", "pancreas lesion", "brain tumor"):
        return None
    found = record["measurements"]
    return float(found.get("longest_axial_diameter_mm", found.get("longest_diameter_mm")))


def place_words(record: dict[str, Any]) -> str:
    """Where a finding lies, in words."""
    side, place, kind = record["side"], record["place"], record["kind"]
    table = {
        "liver lesion": f"liver, {place}",
        "kidney lesion": f"{place} of the {side} kidney",
        "pancreas lesion": f"{place} of the pancreas",
        "edema": "both lungs",
        "cardiomegaly": "heart",
    }
    return table.get(kind, " ".join(filter(None, (side, place))))


def describe(record: dict[str, Any]) -> str:
    """A finding as a noun phrase: `23 mm smooth hypodense liver lesion (segment V)`."""
    one = wording()["kind"][record["kind"]]["one"]
    size = size_of(record)
    words = [
        f"{size:.0f} mm" if size is not None else "",
        record["margin"] if size is not None and record["kind"] != "brain tumor" else "",
    ]
    if record["kind"] not in ("cardiomegaly", "atelectasis", "fracture"):
        words.append(record["density"])
    return " ".join(
        filter(None, [*words, one, f"in the {place_words(record)}" if record["kind"] != "cardiomegaly" else ""])
    )


def write_report(
    case: Subject, visit: dict[str, Any], changes: list[dict[str, Any]], prior: str = ""
) -> dict[str, Any]:
    """Technique, comparison with the study of date `prior`, findings with negatives, impression.

    Every sentence is `{"text", "rests_on", "negative", "certainty"}`; `rests_on` holds ids of findings, kinds for
    negatives, or names of facts.
    """
    rng = stream(case.seed, "report", case.style.name)
    findings: list[dict[str, Any]] = []
    by_change = {c["id"]: c for c in changes}
    for record in visit["findings"]:
        findings.append(_sentence(_tell(rng, case, record), [record["id"]]))
        if record["id"] in by_change:
            findings.append(_sentence(tell_change(rng, case, by_change[record["id"]]), [record["id"], "prior"]))
    for change in changes:
        if change["now"] is None:
            findings.append(_sentence(tell_change(rng, case, change), [change["id"], "prior"]))
    present = {r["kind"] for r in visit["findings"]}
    absent = [k for k in kinds_on(case.kind) if k not in present]
    for kind in sorted(rng.permutation(absent)[: max(3, len(absent) // 2)].tolist(), key=absent.index):
        findings.append(_sentence(say(rng, "negative", kind, case.split).text, [f"no {kind}"], negative=True))
    technique = _TECHNIQUE[case.kind].get(visit["facts"].get("phase", ""), "")
    return {
        "technique": [_sentence(technique, ["study"])],
        "comparison": [
            _sentence(f"Compared with {prior}." if prior else "No prior study.", ["prior"] if prior else ["study"])
        ],
        "findings": findings,
        "impression": _impression(rng, case, visit),
    }


def _sentence(text: str, rests_on: list[str], negative: bool = False, certainty: str = "definite") -> dict[str, Any]:
    return {"text": text[0].upper() + text[1:], "rests_on": rests_on, "negative": negative, "certainty": certainty}


def _tell(rng: np.random.Generator, case: Subject, record: dict[str, Any]) -> str:
    size = size_of(record)
    fields = {k: record[k] for k in ("place", "side", "density", "margin")}
    text = say(
        rng,
        "report",
        record["kind"],
        case.split,
        size=f"{size:.0f}" if size is not None else "",
        Density=record["density"].capitalize(),
        **fields,
    ).text
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return (
        text.replace("There is a 8", "There is an 8")
        .replace("There is a 11 ", "There is an 11 ")
        .replace("There is a 18 ", "There is an 18 ")
    )


def tell_change(rng: np.random.Generator, case: Subject, change: dict[str, Any]) -> str:
    """One sentence on what became of a finding."""
    one, before = wording()["kind"][change["kind"]]["one"], amount(change["before"])
    return say(rng, "change", change["change"], case.split, before=before, one=one, where=place_words(change)).text


def amount(record: dict[str, Any] | None) -> str:
    """A finding's diameter, or its volume where that is what counts."""
    if record is None:
        return ""
    size = size_of(record)
    return f"{size:.0f} mm" if size is not None else f"{record['measurements']['volume_ml']:.0f} mL"


def _impression(rng: np.random.Generator, case: Subject, visit: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings again, most telling first, with what they may mean and how sure that is."""
    if not visit["findings"]:
        kinds = [f"no {k}" for k in kinds_on(case.kind)]
        return [_sentence(say(rng, "impression", "none", case.split).text, kinds, negative=True)]
    told = []
    for record in visit["findings"]:
        summary = describe(record)
        if record["kind"] != "edema":
            summary = f"{article(summary)} {summary}"
        certainty, meaning = wording()["meaning"].get(record["kind"], {}).get(record["density"], ("definite", ""))
        text = say(
            rng,
            "impression",
            certainty,
            case.split,
            summary=summary,
            Summary=summary[0].upper() + summary[1:],
            meaning=meaning,
        ).text
        told.append(_sentence(text, [record["id"]], certainty=certainty))
    return told
