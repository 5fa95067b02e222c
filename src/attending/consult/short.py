"""The codec of small models: experts in a line each, calls in VILA-M3's grammar, results in plain words with numbers.

A small model pays for every token, so the experts take under 80 tokens in all, where the published list takes 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attending.consult.calls import Found, tag_calls
from attending.consult.checks import check
from attending.consult.plain import plain
from attending.consult.tools import PLAIN, in_turns
from attending.consult.transcript import Call, Turn
from attending.experts import ExpertCard, Finding
from attending.imaging import Study

_CUT = 200
"""Characters of a reason that an expert gives for having no result."""
_MANY = 12
"""Structures of which a result is told."""
_SPOKEN = {"MR": "MRI", "DX": "X-ray", "CR": "X-ray"}


class Short:
    """The codec of `attending-nano`."""

    name = "short"
    slices = 1
    """Axial slices of a volume shown first."""
    together = True
    """Whether a study of several modalities is shown with a picture of each."""

    def calls(self, text: str, cards: Sequence[ExpertCard]) -> list[Found]:
        """The calls in a model's text; see `tag_calls`."""
        return tag_calls(text, cards)

    def tell(self, call: Call | None, finding: Finding, study: Study) -> Turn:
        """The expert's turn: the numbers; pictures are for people, this model reads none back."""
        return Turn("expert", result_text(finding), call=call, finding=finding)

    def goes_on(self, text: str, findings: Sequence[Finding]) -> bool:
        """Whether the model is to speak again after these findings: always."""
        return bool(findings)

    def closing(self, findings: Sequence[Finding]) -> str | None:
        """What is said where an expert has no result: a model this small cannot be trusted not to invent one."""
        if all(finding.status == "done" for finding in findings):
            return None
        done = [result_text(finding) for finding in findings if finding.status == "done"]
        return " ".join([*done, *(no_result(finding) for finding in findings if finding.status != "done")])

    def unasked(self, question: str, answer: str) -> str | None:
        """That nobody looked, where the answer denies a finding: a model this small sees none by itself."""
        denied = [one.subject for one in check(answer, question, (), ()) if one.kind == "absence"]
        return f"No expert was asked about {' and '.join(denied)}, so I cannot say." if denied else None

    def messages(self, turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], list[Any]]:
        """The conversation as back ends take it, to be continued by the assistant."""
        cards = {card.name: card for turn in turns for card in turn.cards}
        return in_turns(turns, cards_text(list(cards.values())) if cards else PLAIN)


def cards_text(cards: Sequence[ExpertCard]) -> str:
    """The experts on offer: how each is called, and what it examines."""
    return "Experts: " + "; ".join(map(_card, cards)) + "."


def _card(card: ExpertCard) -> str:
    takes = "/".join(dict.fromkeys(_SPOKEN.get(one, one) for one in card.modality))
    values = ", ".join(next(iter(card.arguments.values()), ()))
    return plain(f"<{card.name}({values})> {takes}", 400)


def no_result(finding: Finding) -> str:
    """The answer to a question that rests on an expert without a result."""
    name = plain(finding.record.expert, 40)
    return f"{name} gave no result, so I cannot say ({_reason(finding, name)})."


def _reason(finding: Finding, name: str) -> str:
    return plain(finding.text, _CUT).replace("\n", " ").removeprefix(f"{name}: ").rstrip(". ")


def result_text(finding: Finding) -> str:
    """What a model is told of a finding, in a line.

    Segmentations: volume of each structure; of lesions also the number of parts, the extent of the largest and where
    it lies; and what was looked for in vain. Classifications: the probability of each finding in percent.
    """
    name = plain(finding.record.expert, 40)
    if finding.status != "done":
        return f"{name} gave no result: {_reason(finding, name)}."
    if finding.scores:
        told = [f"{spoken(one)} {100 * score:.0f}%" for one, score in finding.scores.items()]
    elif finding.measurements or finding.segmentation:
        told = _structures(finding)
    else:
        told = [plain(finding.text, 1000)]
    return f"{name}: {', '.join(told) if finding.scores else '; '.join(told)}."


def spoken(name: str) -> str:
    """A label or finding as it is said."""
    return plain(name.lower().replace("_", " "), 60)


def _structures(finding: Finding) -> list[str]:
    found = {name: facts for name, facts in finding.measurements.items() if facts.get("volume_ml")}
    told = [f"{spoken(name)} {_facts(facts)}" for name, facts in list(found.items())[:_MANY]]
    looked = finding.segmentation.names.values() if finding.segmentation else ()
    missing = [spoken(name) for name in dict.fromkeys((*finding.measurements, *looked)) if name not in found]
    return [*told, *(f"no {name}" for name in missing[:_MANY])]


def _facts(facts: Mapping[str, Any]) -> str:
    said = f"{few(facts['volume_ml'])} mL"
    if "side" not in facts:
        return said
    across = [few(facts[key]) for key in ("longest_axial_diameter_mm", "perpendicular_diameter_mm")]
    parts = f"{facts['components']} parts, " if facts.get("components", 1) > 1 else ""
    return f"{parts}{said}, {across[0]} x {across[1]} mm, {facts['side']}"


def few(value: float) -> str:
    """A number in two or three digits: 0.42, 3.1, 34, 1310."""
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}" if value < 999.5 else f"{10 * round(value / 10)}"
