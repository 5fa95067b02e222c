"""Facts: what a report says of each finding: there or not, where, how severe, how changed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attending.evaluation.labels.clauses import clauses, status
from attending.evaluation.labels.lexicon import lexicon

GRADES = ("minimal", "mild", "moderate", "severe")
_MAX_READ = 20_000
_JOINT = re.compile(r",|\b(?:and|with|or|as well as|plus)\b")


@dataclass(frozen=True)
class Fact:
    """One mention of a finding.

    Attributes:
        finding: Its name in the lexicon.
        status: `present`, `absent`, `uncertain`, or `no more`: only more, new or large of it is denied.
        places: Sides and zones, such as `left` and `lower`; `both` stands as left and right.
        grade: One of `GRADES`, the higher of "mild to moderate"; empty when not graded.
        change: `new`, `worse`, `better`, `stable`, `resolved`; empty when not said.
        sentence: Where it is said, in lower case.
    """

    finding: str
    status: str
    places: frozenset[str]
    grade: str
    change: str
    sentence: str


def facts(report: str) -> list[Fact]:
    """All facts of a report, in order; its first 20,000 characters are read."""
    found: list[Fact] = []
    for sentence, clause in clauses(report[:_MAX_READ]):
        found += _mentions(sentence, clause)
        found += _normal(sentence, clause)
    return found


def _mentions(sentence: str, clause: str) -> list[Fact]:
    known = lexicon()
    spans = [match.span() for match in known.mention.finditer(clause)]
    listed = []
    for i, (start, end) in enumerate(spans):
        words = _own_words(clause, spans, i)
        said = status(clause, start, end)
        change = _last_group(known.change.search(words))
        grades = [_last_group(match) for match in known.severity.finditer(words)]
        grade = max(grades, key=GRADES.index, default="")
        if said == "absent":
            grade = ""
        listed += [
            Fact(name, said, _places(words), grade, change, sentence) for name in known.findings_of(clause[start:end])
        ]
    return listed


def _own_words(clause: str, spans: list[tuple[int, int]], i: int) -> str:
    """The words about one mention: up to the joints with its neighbours."""
    start, end = spans[i]
    before = clause[spans[i - 1][1] if i else 0 : start]
    after = clause[end : spans[i + 1][0] if i + 1 < len(spans) else len(clause)]
    if i:
        joint = _JOINT.search(before)
        before = before[joint.end() :] if joint else ""
    if i + 1 < len(spans):
        joint = _JOINT.search(after)
        after = after[: joint.start()] if joint else after
    return f"{before}{clause[start:end]}{after}"


def _places(words: str) -> frozenset[str]:
    names = {name for name, pattern in lexicon().place.items() if pattern.search(words)}
    return frozenset(names - {"both"} | ({"left", "right"} if "both" in names else set()))


def _last_group(match: re.Match[str] | None) -> str:
    return match.lastgroup.rsplit("_", 1)[0] if match and match.lastgroup else ""


def _normal(sentence: str, clause: str) -> list[Fact]:
    """What a normal heart, clear lungs and the like deny; "otherwise clear" denies nothing."""
    denied = []
    for pattern, findings in lexicon().normal:
        match = pattern.search(clause)
        if match and not re.search(
            r"\b(?:otherwise|no longer|not)\b", clause[: match.end()].replace("not enlarged", "")
        ):
            denied += [Fact(finding, "absent", frozenset(), "", "", sentence) for finding in findings]
    return denied
