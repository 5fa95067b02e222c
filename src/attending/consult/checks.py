"""The answer held against the findings: no claim may contradict one, or speak of a result that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attending.consult.answer import Check
from attending.consult.claims import Claim, claims
from attending.consult.terms import canonical, is_pathology, on_film, simple
from attending.experts import Finding

_LIKELY = 0.5
"""From this probability a classifier counts as saying that something is there."""
_ROUNDED = 0.011
"""How far a probability may be from the one that was given."""
_LENGTH = (0.1, 1.0)
_VOLUME = (0.1, 0.5)
"""How far a size may be from the measured one: a share of it, or so many mm or mL."""
_LENGTHS = ("longest_axial_diameter_mm", "perpendicular_diameter_mm")


class _Fact(NamedTuple):
    """What one finding says of one name."""

    finding: Finding
    name: str
    there: bool
    said: str
    facts: dict[str, Any]
    score: float | None = None


def check(answer: str, question: str, findings: Sequence[Finding], experts: Sequence[str]) -> tuple[Check, ...]:
    """Every claim of an answer that a finding speaks of, or should.

    Args:
        answer: The text.
        question: What was asked.
        findings: Of all experts, done, failed and refused.
        experts: Names of experts that were on offer.
    """
    facts = [fact for finding in findings if finding.status == "done" for fact in _facts(finding)]
    names = frozenset(simple(fact.name) for fact in facts if not is_pathology(fact.name))
    asked = frozenset({*experts, *(finding.record.expert for finding in findings)})
    found = [_judged(claim, facts, findings) for claim in claims(answer, question, names, asked)]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _facts(finding: Finding) -> list[_Fact]:
    told = []
    segmentation = finding.segmentation
    if segmentation is not None:
        present = {segmentation.names.get(label, "") for label in segmentation.present}
        for name in dict.fromkeys([*segmentation.names.values(), *finding.measurements]):
            facts = dict(finding.measurements.get(name, {}))
            there = name in present or float(facts.get("volume_ml", 0.0)) > 0
            said = f"found {facts['volume_ml']:.1f} mL of {name}" if "volume_ml" in facts else f"found {name}"
            told.append(_Fact(finding, name, there, said if there else f"found no {name}", facts))
    for name, score in finding.scores.items():
        said = f"gives {simple(name)} a probability of {score:.2f}"
        told.append(_Fact(finding, name, score >= _LIKELY, said, {}, score))
    return told


def _judged(claim: Claim, facts: Sequence[_Fact], findings: Sequence[Finding]) -> Check | None:
    if claim.kind == "result":
        return _result(claim, findings)
    about = _about(claim, facts)
    if claim.kind in ("presence", "absence"):
        return _presence(claim, about, findings)
    if claim.kind == "size":
        return _size(claim, about, facts, findings)
    if claim.kind == "count":
        return _count(claim, about)
    if claim.kind == "probability":
        return _probability(claim, about, findings)
    return _side(claim, about)


def _about(claim: Claim, facts: Sequence[_Fact]) -> list[_Fact]:
    """The facts on a claim's subject; of a lesion without a name those on any, of an expert its own on lesions."""
    lesions = [fact for fact in facts if is_pathology(fact.name)]
    if claim.subject == "lesion":
        return lesions
    if any(fact.finding.record.expert == claim.subject for fact in facts):
        return [fact for fact in lesions if fact.finding.record.expert == claim.subject]
    return [
        fact
        for fact in facts
        if claim.subject in (canonical(fact.name), simple(fact.name), fact.score is not None and on_film(fact.name))
        or (claim.subject and canonical(fact.name).endswith(f" {claim.subject}"))
    ]


def _presence(claim: Claim, about: Sequence[_Fact], findings: Sequence[Finding]) -> Check | None:
    wanted = claim.kind == "presence"
    if not about:
        return _made(claim, "unsupported", _nobody(claim.subject, findings))
    if any(fact.there for fact in about) == wanted:
        # Of several facts on one subject (left and right, core and whole) one that is there is enough.
        fact = next((fact for fact in about if fact.there == wanted), about[0])
        return _made(claim, "supported", f"{fact.finding.record.expert} {fact.said}", fact)
    fact = next(fact for fact in about if fact.there != wanted)
    return _made(claim, "contradicted", f"{fact.finding.record.expert} {fact.said}", fact)


def _size(claim: Claim, about: Sequence[_Fact], facts: Sequence[_Fact], findings: Sequence[Finding]) -> Check:
    compared = [fact for fact in about or facts if fact.facts]
    values = [(fact, value) for fact in compared for value in _sizes(fact, claim.unit)]
    said = f"{claim.number:g} {claim.unit}"
    if not values:
        return _made(claim, "unsupported", f"{said} was not measured. {_nobody(claim.subject, findings)}")
    share, least = _LENGTH if claim.unit == "mm" else _VOLUME
    for fact, value in values:
        if abs(claim.number - value) <= max(share * value, least):
            return _made(claim, "supported", f"{fact.finding.record.expert} measured {value:.1f} {claim.unit}", fact)
    told = dict.fromkeys(f"{fact.name} {value:.1f} {claim.unit}" for fact, value in values)
    measured = ", ".join(list(told)[:4])
    detail = f"{values[0][0].finding.record.expert} measured {measured}; not {said}"
    return _made(claim, "contradicted" if about else "unsupported", detail, values[0][0])


def _sizes(fact: _Fact, unit: str) -> list[float]:
    if unit == "mm":
        each = [fact.facts, *fact.facts.get("largest_components", ())]
        return [float(one[key]) for one in each for key in _LENGTHS if one.get(key) is not None]
    parts = fact.facts.get("components_ml") or ()
    return [float(value) for value in (fact.facts.get("volume_ml"), *parts) if value is not None]


def _count(claim: Claim, about: Sequence[_Fact]) -> Check | None:
    counted = [fact for fact in about if "components" in fact.facts]
    if not counted:
        return None  # that it is there at all has been judged
    total = sum(int(fact.facts["components"]) for fact in counted)
    single = next((fact for fact in counted if int(fact.facts["components"]) == claim.number), None)
    detail = f"{counted[0].finding.record.expert} found {total} separate part{'s' if total != 1 else ''}"
    agrees = single is not None or total == claim.number
    return _made(claim, "supported" if agrees else "contradicted", detail, counted[0])


def _probability(claim: Claim, about: Sequence[_Fact], findings: Sequence[Finding]) -> Check:
    given = [(fact, fact.score) for fact in about if fact.score is not None]
    if not given:
        return _made(claim, "unsupported", _nobody(claim.subject, findings))
    fact, score = min(given, key=lambda one: abs(one[1] - claim.number))
    agrees = abs(score - claim.number) <= _ROUNDED
    detail = f"{fact.finding.record.expert} {fact.said}"
    return _made(claim, "supported" if agrees else "contradicted", detail, fact)


def _side(claim: Claim, about: Sequence[_Fact]) -> Check | None:
    sides = {
        str(one["side"]): fact
        for fact in about
        for one in fact.facts.get("largest_components") or [fact.facts]
        if one.get("side") in ("left", "right")
    }
    if not sides:
        return None
    fact = next(iter(sides.values()))
    wanted = {"left", "right"} if claim.side == "both" else {claim.side}
    detail = f"{fact.finding.record.expert} found {fact.name} on the {' and '.join(sorted(sides))}"
    return _made(claim, "supported" if wanted <= set(sides) else "contradicted", detail, fact)


def _result(claim: Claim, findings: Sequence[Finding]) -> Check:
    """A sentence that speaks of an expert's result needs one that is there."""
    if claim.subject == "segmentation":
        done = next((one for one in findings if one.status == "done" and one.segmentation is not None), None)
    else:
        done = next((one for one in findings if one.status == "done" and one.record.expert == claim.subject), None)
    if done is not None:
        return _made(claim, "supported", "the result is there", expert=done.record.expert)
    return _made(claim, "unsupported", _nobody(claim.subject, findings))


def _nobody(subject: str, findings: Sequence[Finding]) -> str:
    """Why no finding speaks of something."""
    missing = [one for one in findings if one.status != "done"]
    if missing:
        told = "; ".join(f"{one.record.expert} {one.status}" for one in missing)
        return f"No result speaks of it ({told})."
    return "No expert's result speaks of it; it is the model's own reading."


def _made(claim: Claim, verdict: str, detail: str, fact: _Fact | None = None, expert: str = "") -> Check:
    name = fact.name if fact is not None else claim.subject
    expert = fact.finding.record.expert if fact is not None else expert
    return Check(claim.sentence, claim.kind, name, verdict, detail, expert)
