"""What attending-nano says of findings: the answers of its training conversations, made from what experts found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def _if_found(name: str, otherwise: str, text: Callable[[Mapping[str, Any]], str]) -> Answer:
    """An answer about one structure: made of its measurements, or `EXPERT found no NAME` with what follows."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        facts = _facts(findings, name)
        if facts is None:
            return otherwise.format(expert=findings[-1].record.expert, name=name)
        return text(facts)

    return answer


_NOTHING = "{expert} found no {name} to measure."


def present(name: str) -> Answer:
    """Is there one in the CT?"""
    return _if_found(
        name,
        "No. {expert} found no {name}.",
        lambda facts: f"Yes. TORSO found {name}: {few(facts['volume_ml'])} mL, {_across(facts)} mm.",
    )


def found(name: str) -> Answer:
    """What was found, without a yes or no."""
    return _if_found(
        name,
        "{expert} found no {name}.",
        lambda facts: f"{_looked(name)} found {name}: {few(facts['volume_ml'])} mL, {_across(facts)} mm.",
    )


def _looked(name: str) -> str:
    return "BRAIN" if name == "whole tumor" else "TORSO"


def free(name: str) -> Answer:
    """Is it free of that? Yes where nothing was found."""
    return _if_found(
        name,
        "Yes. {expert} found no {name}.",
        lambda facts: f"No. TORSO found {name}: {few(facts['volume_ml'])} mL, {_across(facts)} mm.",
    )


def free_of(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """Is the brain free of tumor?"""
    text = tumor(findings, told)
    return f"Yes.{text.removeprefix('No.')}" if text.startswith("No.") else f"No.{text.removeprefix('Yes.')}"


def _across(facts: Mapping[str, Any]) -> str:
    return few(facts["longest_axial_diameter_mm"])


def _expert(findings: Sequence[Finding]) -> str:
    return findings[-1].record.expert


def count(name: str) -> Answer:
    """How many?"""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        facts = _facts(findings, name)
        count = int(facts["components"]) if facts else 0
        return f"TORSO found {count} {name}{'' if count == 1 else 's'}."

    return answer


def diameter(name: str) -> Answer:
    """How large, in mm?"""
    return _if_found(name, _NOTHING, lambda facts: f"The longest diameter of the {name} is {_across(facts)} mm.")


def volume(name: str) -> Answer:
    """How large, in mL?"""
    return _if_found(name, _NOTHING, lambda facts: f"The volume of the {name} is {few(facts['volume_ml'])} mL.")


def volumes(*names: str) -> Answer:
    """Of several, in mL."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        return f"{'; '.join(_volume_of(findings, name) for name in names)}."

    return answer


def _volume_of(findings: Sequence[Finding], name: str) -> str:
    facts = _facts(findings, name)
    return f"no {name}" if facts is None else f"{name}: {few(facts['volume_ml'])} mL"


def side(name: str) -> Answer:
    """Right or left?"""
    return _if_found(name, "{expert} found no {name}.", lambda facts: f"The {name} is on the {facts['side']}.")


def outlined(name: str) -> Answer:
    """What was segmented."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        facts = _facts(findings, name)
        if facts is None:
            return f"{_expert(findings)} found no {name} to outline."
        return f"{_expert(findings)} outlined the {name}: {few(facts['volume_ml'])} mL."

    return answer


def abnormal(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a CT."""
    there = {name: facts for name in (*LESIONS, *CHEST) if (facts := _facts(findings, name))}
    if not there:
        return "TORSO found no lesion, effusion, pneumothorax or consolidation."
    listed = ", ".join(f"{name} ({few(facts['volume_ml'])} mL)" for name, facts in there.items())
    return f"TORSO found {listed}."


def altogether(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a CT and a radiograph."""
    return f"{abnormal(findings, told)} {likeliest(findings, told)}"


def measured(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """The organs of a CT."""
    there = {name: facts for name in ORGANS if (facts := _facts(findings, name))}
    listed = ", ".join(f"{name} {few(facts['volume_ml'])} mL" for name, facts in there.items())
    return f"TORSO measured {listed}."


def each(*names: str) -> Answer:
    """Yes or no for each of several structures."""
    return lambda findings, told: (
        f"{'; '.join(f'{name}: {yes(_facts(findings, name) is not None)}' for name in names)}."
    )


def one_each(lesion: str, name: str) -> Answer:
    """Yes or no for a lesion on CT and a finding on a radiograph."""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        lesions = yes(_facts(findings, lesion) is not None)
        return f"{lesion}: {lesions}; {spoken(name)}: {yes(_score(findings, name) >= _YES)}."

    return answer


def _score(findings: Sequence[Finding], name: str) -> float:
    return next(finding.scores[name] for finding in reversed(findings) if finding.scores)


def tumor(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """Is there a brain tumor?"""
    facts = _facts(findings, "whole tumor")
    if facts is None:
        return "No. BRAIN found no tumor."
    return f"Yes. BRAIN found a tumor: {few(facts['volume_ml'])} mL, {_across(facts)} mm, {facts['side']}."


def says(name: str) -> Answer:
    """Does the radiograph show it?"""

    def answer(findings: Sequence[Finding], told: Sequence[str]) -> str:
        score = _score(findings, name)
        return f"{'Yes' if score >= _YES else 'No'}. CHEST gives {spoken(name)} {100 * score:.0f}%."

    return answer


def likely(name: str) -> Answer:
    """How likely is it?"""
    return lambda findings, told: f"CHEST gives {spoken(name)} {100 * _score(findings, name):.0f}%."


def likeliest(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """A report of a radiograph."""
    scores = next(finding.scores for finding in reversed(findings) if finding.scores)
    there = [f"{spoken(name)} ({100 * score:.0f}%)" for name, score in scores.items() if score >= _YES]
    return f"CHEST finds {', '.join(there)}." if there else "CHEST finds nothing likely."
