"""Clauses of a report, and whether a clause states, denies or doubts what it mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Sections that tell what was asked or compared, not what was found.
_ASIDE = re.compile(
    r"\b(?:indication|history|clinical (?:history|information|indication)|reason for (?:exam\w*|study)|comparison"
    r"|technique|exam(?:ination)?|procedure|recommendations?)\s*:.*?"
    r"(?=\b(?:findings?|impression|conclusion|report|comparison|technique|recommendations?)\s*:|\n\s*\n|\Z)",
    re.DOTALL,
)
_HEADING = re.compile(r"\b(?:findings?|impression|conclusion|report)\s*:")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?!\d+\s*(?:mm|cm|ml)\b)")
_VERB = r"\b(?:is|are|was|were|has|have|had|seen|noted|present|there|remains?|appears?|shows?|demonstrates?)\b"
_SUBJECT = r"(?:the|there|heart|cardiac|lungs?|bones?|osseous|mediastin\w+|it|these|this)\b"
_TURN = re.compile(
    rf",?\s+(?:but|however|although|though|whereas|while|yet)\s+|;\s*|\s+and\s+(?={_SUBJECT}[^,]*?{_VERB})"
)
_STATES = re.compile(_VERB)
_OPENS = re.compile(rf"\s*(?:and\s+)?{_SUBJECT}")
_CONTINUES = re.compile(r"\s*(?:or|nor|and)\b")

_SMALL = (
    "small|mild|moderate|trace|minimal|tiny|slight|persistent|stable|unchanged|new|bibasilar|bibasal|severe|increased"
)
_DENIES = re.compile(
    r"\b(?:no|not|without|negative for|free of|absence of|absent|denies|neither|nor|never|rather than|lack of"
    r"|resolution of|exclud(?:es|ed|ing)|rules? out|ruled out|clear of|unlikely to be)\b|n't\b"
)
_ENDS_DENIAL = re.compile(
    r"\b(?:with|causing|due to|secondary to|which|showing|demonstrating|other than|except|apart from|besides"
    r"|aside from)\b"
    rf"|(?:,|\band|\bthere (?:is|are))\s+(?:an?\s+|there (?:is|are)\s+(?:an?\s+)?)?(?:{_SMALL})\b"
)
_NO_DENIAL = re.compile(
    r"\b(?:no|not|without)(?:\s+\w+){0,2}\s+"
    r"(?:change|increase|decrease|improvement|progression|difference)s?\s+(?:in|of|to)\b"
    r"|\bnot only\b|\bno change\b|\bnot (?:significantly )?changed\b"
)
_DENIED_AFTER = re.compile(
    r"^(?:\W+\w+){0,3}?\W+(?:(?:is|are|was|were|has|have|had|can|could)\W+(?:been\W+)?)?"
    r"(?:(?:now|also|again|completely|fully)\W+)?"
    r"(?:not(?!\W+(?:be\W+)?(?:excluded|ruled|changed|significantly changed))|no longer|absent|resolved|cleared"
    r"|excluded|ruled out|unlikely|removed|n't|negative)\b|^\s*:\s*(?:none|no|absent|negative)\b"
)
_DOUBTS = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|likely|may|might|could|suspected|suspicious for|suspicion (?:of|for)"
    r"|concern(?:ing)? for|question(?:able)?(?: of)?|cannot (?:be )?exclude|can ?not exclude|can't exclude|not exclude"
    r"|versus|vs|suggest\w*|equivocal|differential|evaluate for|perhaps|potential(?:ly)?|presumed|favou?red?"
    r"|rule out)\b"
)
_DOUBTED_AFTER = re.compile(
    r"^\W+(?:versus|vs)\b|^[^.]{0,60}?\b(?:(?:can ?not|can't|could not|not) be (?:\w+ )?(?:excluded|ruled out)"
    r"|(?:is|are|not) (?:not )?(?:excluded|possible|suspected|suggested|questioned|likely|considered|of concern)"
    r"|may be present|would be possible)\b"
)
_MORE = re.compile(
    r"\b(?:new|other|additional|further|large|larger|significant|sizable|sizeable|gross|residual|recurrent|increasing"
    r"|increased|worsening)(?: \w+){0,2} $"
)


def clauses(report: str) -> Iterator[tuple[str, str]]:
    """Each sentence (as written, on one line) with one of its clauses (lower case)."""
    text = _HEADING.sub(". ", _ASIDE.sub(" ", report.lower()))
    for sentence in _SENTENCE.split(re.sub(r"\s+", " ", text)):
        for part in _TURN.split(sentence):
            for clause in _commas(part):
                if clause.strip(" .,!?:-"):
                    yield sentence.strip(), f" {clause.strip()}"


def _commas(part: str) -> list[str]:
    """Split where what follows a comma is a statement of its own, not the next item of a list."""
    pieces = part.split(",")
    joined = [pieces[0]]
    for piece in pieces[1:]:
        own = _STATES.search(piece) is not None
        new = _OPENS.match(piece) or (_STATES.search(joined[-1]) and not _CONTINUES.match(piece))
        if own and new:
            joined.append(piece)
        else:
            joined[-1] += "," + piece
    return joined


def status(clause: str, start: int, end: int) -> str:
    """What a clause says of the mention at [start, end): `present`, `absent`, `uncertain` or `no more`.

    `no more` denies only something about it ("no new effusion", "no large effusion"), so it may be there.
    """
    before, inside, after = clause[:start], clause[start:end], clause[end:]
    if _DOUBTED_AFTER.search(after) or _DOUBTS.search(before):
        return "uncertain"
    if re.search(r"\bnot\b|n't\b|\bno\b", inside) or _DENIED_AFTER.search(after):
        return "absent"
    for cue in reversed(list(_DENIES.finditer(before))):
        if _NO_DENIAL.match(clause, cue.start()):
            continue
        if _ENDS_DENIAL.search(before, cue.end()) is None:
            return "no more" if _MORE.search(before, cue.end()) else "absent"
        break
    return "present"
