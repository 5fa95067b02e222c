"""Agreement of two reports on findings, places, grades and changes; contradictions within one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from attending.evaluation.labels.chexpert import positives
from attending.evaluation.labels.facts import Fact, facts
from attending.evaluation.labels.lexicon import lexicon
from attending.evaluation.parse import Parsed


class Contradiction(NamedTuple):
    """Two sentences of one report that cannot both be true, and about what."""

    finding: str
    stated: str
    denied: str


def contradictions(report: str) -> list[Contradiction]:
    """Where a report states what it denies elsewhere.

    A denial holds for all places, or for those it names; to deny a parent ("the lungs are clear") denies its kinds.
    """
    said = facts(report)
    stated = [fact for fact in said if fact.status == "present" and fact.change != "resolved"]
    denied = [fact for fact in said if fact.status == "absent" and fact.change != "resolved"]
    known = lexicon()
    found = []
    for yes in stated:
        names = {yes.finding, *known.ancestors(yes.finding)}
        for no in denied:
            if no.finding in names and (not no.places or no.places & yes.places):
                found.append(Contradiction(yes.finding, yes.sentence, no.sentence))
    return list(dict.fromkeys(found))


def consistency(parsed: Parsed, reference: Any = None) -> float:
    """1 when the report does not contradict itself; 0 when it does or is empty. The reference does not matter."""
    return float(parsed.valid and not contradictions(str(parsed.value)))


def _f1(mine: set[Any], theirs: set[Any]) -> float:
    return 2 * len(mine & theirs) / (len(mine) + len(theirs)) if mine or theirs else 1.0


def _scorer(pick: Callable[[Iterable[Fact]], set[Any]]) -> Callable[[Parsed, Any], float]:
    """F1 of what `pick` takes from both reports; 1 when both have none, 0 for an empty answer."""

    def score(parsed: Parsed, reference: Any) -> float:
        if not parsed.valid:
            return 0.0
        return _f1(pick(facts(str(parsed.value))), pick(facts(str(reference))))

    return score


def _present(said: Iterable[Fact]) -> list[Fact]:
    return [fact for fact in said if fact.status == "present"]


def chexpert_f1(parsed: Parsed, reference: Any) -> float:
    """F1 of the positive CheXpert labels of one pair of reports."""
    return _f1(set(positives(str(parsed.value))), set(positives(str(reference)))) if parsed.valid else 0.0


LABEL_SCORERS: dict[str, Callable[[Parsed, Any], float]] = {
    "chexpert_f1": chexpert_f1,
    "finding_f1": _scorer(lambda said: {fact.finding for fact in _present(said)}),
    "location_f1": _scorer(lambda said: {(fact.finding, place) for fact in _present(said) for place in fact.places}),
    "severity_agreement": _scorer(lambda said: {(fact.finding, fact.grade) for fact in _present(said) if fact.grade}),
    "temporal_f1": _scorer(lambda said: {(fact.finding, fact.change) for fact in said if fact.change}),
    "consistency": consistency,
}
"""Scorers of reports by name."""
