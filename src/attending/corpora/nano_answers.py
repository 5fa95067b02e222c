"""What attending-nano says of findings: the answers of its training conversations, made from what experts found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attending.consult.short import few, spoken
from attending.corpora.constructions import Answer
from attending.experts import Finding

LESIONS = ("liver lesion", "lung nodule", "kidney lesion", "pancreatic lesion")
CHEST = ("pleural effusion", "pneumothorax", "consolidation")
ORGANS = ("liver", "spleen", "pancreas", "right kidney", "left kidney", "heart", "lungs")
_YES = 0.5


def yes(there: bool) -> str:
    """`yes` or `no`."""
    return "yes" if there else "no"


def _facts(findings: Sequence[Finding], name: str) -> Mapping[str, Any] | None:
    """Measurements of a structure, from the last finding that looked for it; None where it found none."""
    for finding in reversed(findings):
        facts = finding.measurements.get(name)
        if facts and facts.get("volume_ml"):
            return facts
    return None


def _expert(findings: Sequence[Finding], scored: bool = False) -> str:
    """Who found it: the last that gave measurements, or scores."""
    return next(finding.record.expert for finding in reversed(findings) if bool(finding.scores) == scored)


def _if_found(name: str, there: str, otherwise: str) -> Answer:
    """One of two sentences about a structure; both may name {expert} and {name}, the first {mL}, {mm} and {side}."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        facts, words = _facts(findings, name), {"expert": _expert(findings), "name": name}
        if facts is None:
            return otherwise.format(**words)
        across = few(facts.get("longest_axial_diameter_mm", 0))
        return there.format(**words, mL=few(facts["volume_ml"]), mm=across, side=facts.get("side", ""))

    return answer


_FOUND = "{expert} found {name}: {mL} mL, {mm} mm."
_NONE = "{expert} found no {name}."
_NOTHING = "{expert} found no {name} to measure."


def present(name: str) -> Answer:
    """Is there one in the CT?"""
    return _if_found(name, f"Yes. {_FOUND}", f"No. {_NONE}")


def found(name: str) -> Answer:
    """What was found, without a yes or no: which of them is right depends on how it was asked."""
    return _if_found(name, _FOUND, _NONE)


_TUMOR = "{expert} found a tumor: {mL} mL, {mm} mm, {side}."
_NO_TUMOR = "{expert} found no tumor."
tumor = _if_found("whole tumor", f"Yes. {_TUMOR}", f"No. {_NO_TUMOR}")
"""Is there a brain tumor?"""
tumor_found = _if_found("whole tumor", _TUMOR, _NO_TUMOR)
"""The same of a brain tumor."""


def count(name: str) -> Answer:
    """How many?"""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        facts = _facts(findings, name)
        count = int(facts["components"]) if facts else 0
        return f"{_expert(findings)} found {count} {name}{'' if count == 1 else 's'}."

    return answer


def diameter(name: str) -> Answer:
    """How large, in mm?"""
    return _if_found(name, "The longest diameter of the {name} is {mm} mm.", _NOTHING)


def volume(name: str) -> Answer:
    """How large, in mL?"""
    return _if_found(name, "The volume of the {name} is {mL} mL.", _NOTHING)


def side(name: str) -> Answer:
    """Right or left?"""
    return _if_found(name, "The {name} is on the {side}.", _NONE)


def outlined(name: str) -> Answer:
    """What was segmented."""
    return _if_found(name, "{expert} outlined the {name}: {mL} mL.", "{expert} found no {name} to outline.")


def volumes(*names: str) -> Answer:
    """Of several, in mL."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        return f"{'; '.join(_volume_of(findings, name) for name in names)}."

    return answer


def _volume_of(findings: Sequence[Finding], name: str) -> str:
    facts = _facts(findings, name)
    return f"no {name}" if facts is None else f"{name}: {few(facts['volume_ml'])} mL"


def abnormal(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a CT."""
    there = {name: facts for name in (*LESIONS, *CHEST) if (facts := _facts(findings, name))}
    if not there:
        return f"{_expert(findings)} found no lesion, effusion, pneumothorax or consolidation."
    listed = ", ".join(f"{name} ({few(facts['volume_ml'])} mL)" for name, facts in there.items())
    return f"{_expert(findings)} found {listed}."


def altogether(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a CT and a radiograph."""
    return f"{abnormal(findings, told)} {likeliest(findings, told)}"


def measured(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """The organs of a CT."""
    there = {name: facts for name in ORGANS if (facts := _facts(findings, name))}
    listed = ", ".join(f"{name} {few(facts['volume_ml'])} mL" for name, facts in there.items())
    return f"{_expert(findings)} measured {listed}."


def each(*names: str) -> Answer:
    """What was found of each of several structures."""
    return lambda findings, told: " ".join(found(name)(findings, told) for name in names)


def one_each(lesion: str, name: str) -> Answer:
    """Both of a lesion on CT and a finding on a radiograph, the number before the verdict."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        return f"{found(lesion)(findings, told)} {says(name)(findings, told)}"

    return answer


def _score(findings: Sequence[Finding], name: str) -> float:
    return next(finding.scores[name] for finding in reversed(findings) if finding.scores)


def says(name: str) -> Answer:
    """Does the radiograph show it?"""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        score = _score(findings, name)
        return f"{_expert(findings, True)} gives {spoken(name)} {100 * score:.0f}%, so {yes(score >= _YES)}."

    return answer


def likely(name: str) -> Answer:
    """How likely is it?"""
    return lambda findings, told: f"{_expert(findings, True)} gives {spoken(name)} {100 * _score(findings, name):.0f}%."


def likeliest(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a radiograph."""
    scores = next(finding.scores for finding in reversed(findings) if finding.scores)
    there = [f"{spoken(name)} ({100 * score:.0f}%)" for name, score in scores.items() if score >= _YES]
    return f"{_expert(findings, True)} finds {', '.join(there) or 'nothing likely'}."
