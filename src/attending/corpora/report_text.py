"""Report text: sections and sentences of a radiology report, and a form of them that one picture can answer for."""

from __future__ import annotations

import re

_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /&()\-,]{2,60}?)[ \t]*:", re.MULTILINE)
_SPOKEN = {
    "FINDING": "FINDINGS",
    "REPORT": "FINDINGS",
    "CHEST": "FINDINGS",
    "IMPRESSIONS": "IMPRESSION",
    "CONCLUSION": "IMPRESSION",
    "SUMMARY": "IMPRESSION",
}
_END = re.compile(r"(?<=[.!?])(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bvs\.)(?<!\bNo\.)\s+(?=[A-Z\"(_\d])")
_LISTED = re.compile(r"^\s*\d+[.)]\s+")
_HIDDEN = "___"
"""What stands in MIMIC-CXR where a name or date was taken out."""
_TALK = re.compile(
    r"\b(?:discussed|telephon\w*|notified|communicat\w*|paged|called|reviewed with|dictat\w*|Dr|physician|attending"
    r"|radiologist|recommend\w*|advised|follow[- ]?up|clinical(?:ly)? correlat\w*|correlat\w* clinically"
    r"|please (?:see|refer))\b",
    re.IGNORECASE,
)
_EARLIER = (
    r"(?:the |a |an |her |his )?(?:most recent |immediate |last )*(?:prior|previous|earlier|preceding)"
    r"(?: chest)?(?: (?:exam\w*|stud(?:y|ies)|radiographs?|films?|x-rays?|CT|scans?|images?))?"
    r"(?: (?:of|from|dated|on|performed)[^,.;]*(?=[,.;]))?"
)
_PRIOR = re.compile(
    r",? ?\b(?:as |when )?(?:in comparison|compared|relative|similar) (?:to|with) " + _EARLIER + r",?"
    r"|,? ?\bsince " + _EARLIER + r",?",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"^Again (?:seen|noted|demonstrated) (is|are)\b", re.IGNORECASE)
_CHANGE = re.compile(
    r"\b(?:(?:relatively |essentially |largely )?(?:unchanged|stable)(?: in \w+)?(?= \w)"
    r"|again (?:seen|noted|demonstrated|visualized|present)|(?<=is )again|(?<=are )again|re-?demonstrated"
    r"|persistent|continued|interval)\s*",
    re.IGNORECASE,
)
_ONLY_CHANGE = re.compile(
    r"\b(?:unchanged|no (?:significant |relevant |interval |appreciable )*change|(?:has|have) (?:\w+ )?(?:resolved"
    r"|improved|worsened|increased|decreased|progressed|cleared|been (?:removed|placed|advanced|retracted|extubated))"
    r"|improv(?:ed|ing|ement)|worsen(?:ed|ing)|increas(?:ed|ing) (?:since|from|compared)|new(?:ly)?(?= (?:since|from))"
    r"|prior|previous(?:ly)?|compar(?:ed|ison)|since the)\b",
    re.IGNORECASE,
)


def sections(report: str) -> dict[str, str]:
    """The text under each heading (`FINDINGS`, `IMPRESSION`, ...), on one line.

    Headings with other names for these are brought to them; what stands under several of one name is joined.
    """
    found: dict[str, str] = {}
    places = list(_HEADING.finditer(report))
    ends = [place.start() for place in places[1:]] + [len(report)]
    for place, end in zip(places, ends, strict=False):  # no heading, one end
        name = " ".join(place[1].split())
        name = _SPOKEN.get(name, name)
        text = " ".join(report[place.end() : end].split())
        if text:
            found[name] = f"{found[name]} {text}" if name in found else text
    return found


def sentences(text: str) -> list[str]:
    """The sentences, numbers of a list taken off; a decimal point ends none."""
    found = []
    for piece in _END.split(" ".join(text.split())):
        piece = _LISTED.sub("", piece).strip()
        if re.fullmatch(r"\d+[.)]?", piece) or not re.search(r"[A-Za-z]", piece):
            continue
        found.append(piece if piece[-1] in ".!?" else f"{piece}.")
    return found


def from_this_picture(sentence: str) -> str:
    """The sentence as far as the picture itself can answer for it; empty when nothing is left.

    Comparison with earlier studies is cut from it (`unchanged`, `compared to the prior`); a sentence about change,
    about a conversation, or with something taken out (`___`) is dropped. Sizes, sides and doubt stay as they are.
    """
    text = _AGAIN.sub(r"There \1", _PRIOR.sub("", sentence).strip())
    text = _CHANGE.sub("", text)
    if _HIDDEN in text or _TALK.search(text) or _ONLY_CHANGE.search(text):
        return ""
    text = re.sub(r"\s+([,.;])", r"\1", " ".join(text.split())).lstrip(",; ")
    text = re.sub(r"^(\w)", lambda first: first[0].upper(), text)
    return text if re.search(r"[A-Za-z]{4}", text) else ""


def rule_based(text: str) -> str:
    """A section as a text that one picture can answer for: see `from_this_picture`; repeated sentences go."""
    kept = [from_this_picture(sentence) for sentence in sentences(text)]
    return " ".join(dict.fromkeys(sentence for sentence in kept if sentence))
