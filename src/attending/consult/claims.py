"""What an answer claims: sentence by sentence, what is there or not, how large, how many, on which side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from attending.consult.terms import LESION, canonical, pathologies, simple

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"“(A-Z0-9])|\n+")
_CLAUSE = re.compile(r";|,? but |,? however,? |,? although |,? while |, with (?=no )|(?<=\w)\. ")
_NEGATION = re.compile(
    r"\b(?:no|not|without|absence of|absent|free of|negative for|neither|nor|ruled out|excluded|denies|isn't|aren't"
    r"|doesn't|don't|none)\b"
)
_NOT_ONLY = re.compile(r"\bnot (?:only|necessarily|just)\b|\bno (?:change|longer)\b")
_DOUBT = re.compile(
    r"\b(?:may|might|could be|cannot|can't|can not|could not|couldn't|unable|unclear|uncertain|possible|possibly"
    r"|probable|suspected|not (?:be )?(?:assessed|examined|evaluated|determined|excluded)|if|whether|unknown)\b"
)
_FAILURE = re.compile(
    r"\b(?:fail\w*|could not|couldn't|unable|cannot|can't|refus\w*|not (?:available|run|examine\w*|assess\w*|able)"
    r"|did not|didn't|gave no|no result|without a result|error)\b"
)
_NUMBER = r"(\d+(?:[.,]\d+)?)"
_SIZE = re.compile(
    rf"{_NUMBER}(?:\s*(?:mm|cm)?\s*(?:x|\u00d7|by|and|to)\s*{_NUMBER})?"
    rf"(?:\s*(?:mm|cm)?\s*(?:x|\u00d7|by)\s*{_NUMBER})?\s*(mm|cm3|cm³|cm|ml|milliliters?|millimeters?|centimeters?|cc)\b",
    re.IGNORECASE,
)
_TO_MM = {"mm": 1.0, "cm": 10.0, "millimeter": 1.0, "centimeter": 10.0}
_COUNTS = {
    "a single": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
}  # fmt: skip
_COUNT = re.compile(
    rf"\b({'|'.join(_COUNTS)}|\d{{1,2}})\s+(?:\w+\s+){{0,3}}?(?:tumor|lesion|mass|nodule|cyst|metastasis)\b"
)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s?%")
_CHANCE = re.compile(r"\b(?:probab\w*|chance|likel\w*|confiden\w*)\b")
_DENIED_AFTER = re.compile(r"^[\w ]*:\s*(?:no|none|negative|absent)\b|\b(?:is|are|was|were) (?:absent|not)\b")
_DENIED_BEFORE = re.compile(r"\b(?:0|zero) (?:\w+ )?$")
_SO = re.compile(r"%,? so (yes|no)\b")
"""A verdict after its number, as attending-nano gives it."""
_FOUND = re.compile(r"\b(?:finds?|found|shows?|sees?|reveals?|detects?|identifies|there (?:is|are))\b")
_NOTHING = re.compile(r"\b(\w+) (?:finds?|found|sees?|shows?|detects?) nothing\b(?! (?:else|more|new|other))")
_SIDE = re.compile(r"\b(left|right|bilateral|both sides)\b")
_SAID = re.compile(r"^\W*(yes|no)(?=\s*(?:[,.;:!]|$)|(?<=yes)\s)", re.IGNORECASE)
"""A bare yes or no; `No effusion` is none."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        sentence: Where it is made, as written.
        kind: See `Check.kind`.
        subject: Canonical name; `lesion` for one that is not named; an expert's own name where it is said to have found
            nothing; empty where a size is of something not named.
        number: Of a size (mm or mL), a count, or a probability (0 to 1).
        unit: `mm` or `mL` of a size.
        side: `left`, `right` or `both`.
    """

    sentence: str
    kind: str
    subject: str
    number: float = 0.0
    unit: str = ""
    side: str = ""


def claims(answer: str, question: str, names: frozenset[str], experts: frozenset[str]) -> Iterator[Claim]:
    """The claims of an answer, read by rules.

    Rules miss much; they are made to miss rather than to invent: what is hedged, asked or conditional is no claim.

    Args:
        answer: The text.
        question: A bare yes or no is about its subjects.
        names: What experts named, in canonical form, organs included.
        experts: Names of experts.
    """
    before = pathologies(question) or _some_lesion(question)
    for sentence in filter(str.strip, _SENTENCE.split(answer)):
        sentence = sentence.strip()
        yield from _results(sentence, experts)
        if sentence.endswith("?"):
            continue
        if not _DOUBT.search(simple(sentence)):
            yield from (Claim(sentence, "absence", name) for name in _NOTHING.findall(sentence) if name in experts)
        said = _SAID.match(sentence)
        if said:
            kind = "presence" if said[1].lower() == "yes" else "absence"
            if not _DOUBT.search(simple(sentence)):
                yield from (Claim(sentence, kind, subject) for subject in before)
            rest = sentence[said.end() :]
        else:
            rest = sentence
        for clause in _CLAUSE.split(rest):
            organs = _organs(clause, names)
            subjects = pathologies(clause) or _lesion_of(clause, organs)
            subject = _resolved(subjects or organs or _some_lesion(clause), before)
            about = subjects or ([] if organs or not subject else [subject])
            for claim in (*_of_clause(clause, about), *_numbers(clause, subject, names)):
                yield replace(claim, sentence=sentence)
            before = subjects or before


def _lesion_of(clause: str, organs: list[str]) -> list[str]:
    """The pathology of a clause that names an organ and, apart from it, some lesion."""
    return pathologies(f"{organs[0]} lesion") if organs and _some_lesion(clause) else []


def _some_lesion(text: str) -> list[str]:
    return ["lesion"] if LESION.search(canonical(text)) else []


def _resolved(about: list[str], before: list[str]) -> str:
    """What a clause is about: what it names, else what was spoken of last."""
    if about and about != ["lesion"]:
        return about[0]
    return before[0] if len(before) == 1 else (about[0] if about else "")


def _of_clause(clause: str, subjects: list[str]) -> Iterator[Claim]:
    """Presence, absence and side."""
    text = canonical(clause)
    if _DOUBT.search(text):
        return
    spoken = bool(LESION.search(text)) or bool(pathologies(clause))
    for subject in subjects if spoken else ():
        word = (
            LESION.search(text) if subject == "lesion" or subject not in text else re.search(re.escape(subject), text)
        )
        at = word.start() if word else len(text)
        ahead = _NOT_ONLY.sub("", text[:at])
        after = text[at:]
        denied = any(
            pattern.search(part)
            for pattern, part in ((_NEGATION, ahead), (_DENIED_BEFORE, ahead), (_DENIED_AFTER, after))
        )
        percent = _PERCENT.search(after)
        if percent and (_CHANCE.search(text) or len(after[: percent.start()].split()) <= len(subject.split()) + 1):
            yield Claim("", "probability", subject, float(percent[1]) / 100)
            if so := _SO.search(after):
                yield Claim("", "presence" if so[1] == "yes" else "absence", subject)
            elif _FOUND.search(ahead) and not _CHANCE.search(text):
                yield Claim("", "absence" if denied else "presence", subject)
            continue
        yield Claim("", "absence" if denied else "presence", subject)
        sides = {found[1] for found in _SIDE.finditer(text)}
        if not denied and sides:
            both = len(sides) > 1 or not sides <= {"left", "right"}
            yield Claim("", "side", subject, side="both" if both else sides.pop())


def _numbers(clause: str, subject: str, names: frozenset[str]) -> Iterator[Claim]:
    """Sizes and counts; in a list of things with their sizes each size is of what is named before it."""
    text, whole = canonical(clause), subject
    listed = _places(text, names)
    for found in _SIZE.finditer(text):
        unit = found[4].lower().rstrip("s")
        subject = next((name for at, name in reversed(listed) if at < found.start()), whole) if listed[1:] else whole
        for number in filter(None, found.groups()[:3]):
            value = float(number.replace(",", "."))
            if unit in _TO_MM:
                yield Claim("", "size", subject, value * _TO_MM[unit], "mm")
            else:
                yield Claim("", "size", subject, value, "mL")
    if not _DOUBT.search(text):
        for found in _COUNT.finditer(text):
            yield Claim("", "count", whole, float(_COUNTS.get(found[1]) or found[1]))


def _results(sentence: str, experts: frozenset[str]) -> Iterator[Claim]:
    """That an expert found something: its name, or that something was segmented."""
    text = simple(sentence)
    if _FAILURE.search(text):
        return
    # As written: BRAIN is an expert, the brain is not.
    named = [name for name in experts if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence)]
    yield from (Claim(sentence, "result", name) for name in named)
    if not named and re.search(r"\bsegmented\b|\bsegmentation (?:shows|found|reveals|identified)\b", text):
        yield Claim(sentence, "result", "segmentation")


def _organs(clause: str, names: frozenset[str]) -> list[str]:
    text = simple(clause)
    return [name for name in sorted(names, key=len, reverse=True) if re.search(rf"\b{re.escape(name)}\b", text)][:1]


def _places(text: str, names: frozenset[str]) -> list[tuple[int, str]]:
    """Where a canonical text names organs and pathologies, from left to right; of names within names the longest."""
    known = sorted({*map(canonical, names), *pathologies(text)}, key=len, reverse=True)
    if not known:
        return []
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, known))})\b")
    return [(found.start(), found[0]) for found in pattern.finditer(text)]
