"""Our own codec: experts as JSON tools in the chat template, results as JSON with measurements and probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attending.consult.calls import Found, json_calls
from attending.consult.plain import PLACE, plain
from attending.consult.published import OTHER_NAMES
from attending.consult.show import focus, series_of
from attending.consult.transcript import Call, Turn
from attending.experts import ExpertCard, Finding
from attending.imaging import Picture, Study, overlay_picture

_CUT = 300
_TOLD = (
    "volume_ml", "longest_axial_diameter_mm", "perpendicular_diameter_mm", "components", "side", "inside", "mean",
)  # fmt: skip
"""Measurements that the model is told of each label; the rest stay in the finding."""
_MANY = 40
"""Labels whose measurements are told one by one; of more only the volumes."""

HOW = (
    "You answer questions about medical images. Experts can examine the whole study and measure. Ask one when the "
    "answer needs what it finds, by writing\n"
    '<tool_call>{"name": NAME, "arguments": {...}}</tool_call>\n'
    "and answer from what comes back. An expert that failed or refused has found nothing. Experts:\n"
)
PLAIN = "You answer questions about medical images."


class Tools:
    """The codec of models that call tools: Qwen, SmolLM2 and others that were trained on `<tool_call>`."""

    name = "tools"
    slices = 3
    """Axial slices of a volume shown first."""
    together = True
    """Whether a study of several modalities is shown with pictures of each."""

    def calls(self, text: str, cards: Sequence[ExpertCard]) -> list[Found]:
        """The calls in a model's text; see `json_calls`."""
        return json_calls(text, cards)

    def tell(self, call: Call | None, finding: Finding, study: Study) -> Turn:
        """The expert's turn: what the model is told and shown of a finding."""
        told: dict[str, Any] = {"name": finding.record.expert, "status": finding.status}
        if call is not None and call.arguments:
            told["arguments"] = {plain(name, 40): plain(value, 40) for name, value in call.arguments.items()}
        pictures: tuple[Picture, ...] = ()
        if finding.status == "done":
            told |= _facts(finding)
            series = series_of(finding, study)
            if finding.segmentation is not None and series is not None and finding.segmentation.present:
                labels, names = finding.segmentation.labels, finding.segmentation.names
                pictures = (overlay_picture(series.volume, labels, "axial", index=focus(finding), names=names),)
        else:
            told["reason"] = plain(finding.text, _CUT)
        text = plain(json.dumps(told, ensure_ascii=False))
        return Turn(
            "expert",
            f"<tool_response>{text}</tool_response>" + PLACE * len(pictures),
            pictures,
            None,
            (),
            call,
            finding,
        )

    def goes_on(self, text: str, findings: Sequence[Finding]) -> bool:
        """Whether the model is to speak again after these findings: always."""
        return bool(findings)

    def closing(self, findings: Sequence[Finding]) -> str | None:
        """Never: these models are told of failures, and say so."""
        return None

    def unasked(self, question: str, answer: str) -> str | None:
        """Nothing: what these models read themselves is marked as such."""
        return None

    def messages(self, turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], list[Picture]]:
        """The conversation as back ends take it, to be continued by the assistant."""
        return in_turns(turns, _system(turns))


def in_turns(turns: Sequence[Turn], system: str) -> tuple[list[dict[str, Any]], list[Picture]]:
    """Messages and pictures of a conversation in a chat template's roles; experts speak in the user's place.

    Args:
        turns: The conversation.
        system: What it begins with.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for turn in turns:
        role = "user" if turn.role == "expert" else turn.role
        if turn.role == "expert":
            content = turn.text
        elif turn.role == "assistant":
            content = turn.text.strip()
        else:
            content = _shown(turn) + plain(turn.text)
        if turn.role == "system":
            messages[0]["content"] += f"\n{content}"
        elif turn.role != "assistant" and messages[-1]["role"] == "user":  # templates want roles in turn
            messages[-1]["content"] += f"\n{content}"
        else:
            messages.append({"role": role, "content": content})
    return messages, [picture for turn in turns for picture in turn.pictures]


def cards_text(cards: Sequence[ExpertCard]) -> str:
    """The experts on offer, a JSON object a line."""
    lines = [
        {
            "name": card.name,
            "about": f"{'/'.join(card.modality)} {card.task}: {card.overview}"[:200],
            "arguments": {name: [v for v in values if v not in OTHER_NAMES] for name, values in card.arguments.items()},
        }
        for card in cards
    ]
    return "\n".join(plain(json.dumps(line, ensure_ascii=False)) for line in lines)


def _system(turns: Sequence[Turn]) -> str:
    cards = {card.name: card for turn in turns for card in turn.cards}
    return HOW + cards_text(list(cards.values())) if cards else PLAIN


def _shown(turn: Turn) -> str:
    """Places for the pictures of a question and what they are."""
    if not turn.pictures:
        return ""
    what = f"{turn.modality} " if turn.modality else ""
    planes = {picture.plane for picture in turn.pictures}
    kind = f"{planes.pop()} slices" if len(turn.pictures) > 1 and len(planes) == 1 and None not in planes else "image"
    return f"{PLACE * len(turn.pictures)}\n{what}{kind}.\n"


def _facts(finding: Finding) -> dict[str, Any]:
    """What was found, for the model: few digits, and the labels that were looked for in vain."""
    told: dict[str, Any] = {}
    few = len(finding.measurements) <= _MANY
    if finding.scores:
        told["probabilities"] = {name: round(score, 2) for name, score in finding.scores.items()}
    else:
        told["found"] = {name: _few(facts, _TOLD if few else _TOLD[:1]) for name, facts in finding.measurements.items()}
    if finding.segmentation is not None:
        present = finding.segmentation.present
        told["not_found"] = [name for label, name in finding.segmentation.names.items() if label not in present][:_MANY]
    if not finding.scores and not finding.measurements:
        told["text"] = plain(finding.text, 2000)
    return told


def _few(facts: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    found = {key: facts[key] for key in keys if facts.get(key) is not None}
    return {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in found.items()}
