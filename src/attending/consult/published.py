"""The prompts of published VILA-M3 checkpoints, byte for byte, from a transcript; and what their texts mean.

arXiv 2411.12915 and the demonstration published with it. Where the demonstration cannot say something (a failed expert,
one of two results), the words are ours; docs/consult.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from attending.consult.calls import Found, tag_calls
from attending.consult.plain import PLACE, plain
from attending.consult.show import focus, series_of
from attending.consult.transcript import Call, Turn
from attending.experts import ExpertCard, Finding
from attending.imaging import Picture, Study, overlay_picture, reference_overlay
from attending.imaging.sequences import SEQUENCES

HEAD = "Here is a list of available expert models:\n"
FOOT = "Give the model <NAME(args)> when selecting a suitable expert model.\n"

_VISTA2D = ExpertCard(
    name="VISTA2D",
    modality=("cell imaging",),
    body_part=(),
    task="segmentation",
    overview="model for cell segmentation, which was trained on a variety of cell imaging outputs, including "
    "brightfield, phase-contrast, fluorescence, confocal, or electron microscopy",
    accuracy="Good accuracy across several cell imaging datasets",
)
"""Advertised to the published checkpoints in training, but never built: a call of it is answered with that."""

_TRAINED_WITH = ("BRATS", "VISTA3D", "CXR")
OTHER_NAMES = ("hepatoma",)
"""Values that are accepted and not told: second names of others."""
_SPOKEN = {"MR": "MRI", "DX": "X-ray", "CR": "X-ray"}
_CUT = 300
"""Characters of a reason that an expert gives for having no result."""


class Published:
    """The codec of published checkpoints: cards and a picture in the user's turn, results in another user's turn."""

    name = "vila-m3"
    slices = 1
    """Axial slices of a volume shown first."""
    together = False
    """Whether a study of several modalities is shown with pictures of each."""

    def calls(self, text: str, cards: Sequence[ExpertCard]) -> list[Found]:
        """The calls in a model's text; see `tag_calls`."""
        return tag_calls(text, offered(cards))

    def tell(self, call: Call | None, finding: Finding, study: Study) -> Turn:
        """The expert's turn: what the model is told and shown of a finding."""
        text, pictures = _result(finding, study)
        return Turn("expert", text, pictures, call=call, finding=finding)

    def goes_on(self, text: str, findings: Sequence[Finding]) -> bool:
        """Whether the model is to speak again after these findings.

        It is not when it said that it "segmented" what it asked for: the overlay is the answer. After a failure it
        always is, or the user would be left with a claim that is not true.
        """
        done = all(one.status == "done" and one.segmentation is not None for one in findings)
        return not (findings and done and "segmented" in text)

    def closing(self, findings: Sequence[Finding]) -> str | None:
        """Never: these models are told of failures, and say so."""
        return None

    def unasked(self, question: str, answer: str) -> str | None:
        """Nothing: what these models read themselves is marked as such."""
        return None

    def messages(self, turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], list[Picture]]:
        """The conversation as back ends take it, to be continued by the assistant."""
        messages: list[dict[str, Any]] = []
        question = ""
        groups = [(role, list(group)) for role, group in groupby(turns, key=lambda turn: turn.role)]
        followed = [role for role, _ in groups[1:]] + ["assistant"]
        for (role, group), follows in zip(groups, followed, strict=True):
            if role == "expert":
                told = "".join(turn.text for turn in group)
                told += _instruction(question, group) if follows == "assistant" else ""
                if messages and messages[-1]["role"] == "user":  # nobody asked for them: they come with the question
                    told = messages.pop()["content"].removesuffix(question) + told
                messages.append({"role": "user", "content": told})
                continue
            for turn in group:
                content = turn.text.strip() if role == "assistant" else plain(turn.text)
                if role == "user":
                    count = len(turn.pictures)
                    content = _with_place(content) if count == 1 else content
                    question = content.replace(PLACE, "").strip()
                    four = turn.modality == "MRI" and count == len(SEQUENCES)
                    content = first_turn(content, turn.cards, turn.modality, count, four)
                messages.append({"role": role, "content": content})
        return messages, [picture for turn in turns for picture in turn.pictures]


def offered(cards: Sequence[ExpertCard]) -> tuple[ExpertCard, ...]:
    """The cards as told: where all three experts of the published checkpoints are there, VISTA2D's too, third."""
    by_name = {card.name: card for card in cards}
    if not all(name in by_name for name in _TRAINED_WITH):
        return tuple(cards)
    rest = [card for card in cards if card.name not in _TRAINED_WITH]
    return (by_name["BRATS"], by_name["VISTA3D"], _VISTA2D, by_name["CXR"], *rest)


def cards_text(cards: Sequence[ExpertCard]) -> str:
    """The list of experts that begins a first question; empty for none."""
    if not cards:
        return ""
    return HEAD + "".join(map(_card_line, offered(cards))) + FOOT


def first_turn(question: str, cards: Sequence[ExpertCard], modality: str | None, pictures: int, four: bool) -> str:
    """The user's first message: cards, places for pictures, what they are, and the question.

    Args:
        question: Made `plain`.
        cards: Of the experts on offer; not told without a picture.
        modality: `CT`, `MRI`, `CXR` ...; None says nothing of it.
        pictures: How many are shown.
        four: They are t1ce, t1, t2 and flair.
    """
    if not pictures:
        return question
    if four:
        names = "T1(contrast enhanced): <image>, T1: <image>, T2: <image>, FLAIR: <image>"
        return f"{cards_text(cards)}{names} These are different {modality or 'Unknown'} modalities.\n{question}"
    places = "" if PLACE in question else PLACE * pictures
    said = f"This is a {modality} image.\n" if modality else ""
    return f"{cards_text(cards)}{places}{said}{question}"


def segmentation_text(colors: Mapping[int, str], names: Mapping[int, str]) -> str:
    """What a segmentation expert's overlay shows: `colors` by label id on the slice, in rising order."""
    told = ", ".join(f"{color}: {names[label]}" for label, color in colors.items() if label in names)
    return f"The results are {PLACE}. The colors in this image describe {told}. "


def brats_text(colors: Mapping[int, str]) -> str:
    """What the overlay of BRATS shows: labels 1 necrotic core, 2 oedema, 4 enhancing tumour."""
    told = f"The results are {PLACE}. The colors in this image describe\n"
    if 1 in colors and 4 in colors:
        told += f"{colors[1]} and {colors[4]}: tumor core, "
    if 4 in colors:
        told += f"only {colors[4]}: enhancing tumor, "
    return told + ("all colors: whole tumor\n" if colors else "")


def scores_text(scores: Mapping[str, float]) -> str:
    """What a classifier predicts: a line each, by name, yes from a probability of 0.5."""
    lines = {name.lower().replace("_", " "): "yes" if score >= 0.5 else "no" for name, score in scores.items()}
    return "The resulting predictions are:\n" + "".join(f"{name}: {lines[name]}\n" for name in sorted(lines)) + "."


def instruction(question: str) -> str:
    """What follows the results."""
    return f"Use this result to respond to this prompt:\n{question}"


def failure_text(finding: Finding) -> str:
    """What is told of an expert that has no result."""
    name = finding.record.expert
    reason = plain(finding.text, _CUT).replace("\n", " ").removeprefix(f"{name}: ")
    return f"The expert {name} gave no result: {reason.rstrip('.')}. "


def _card_line(card: ExpertCard) -> str:
    return (
        f"<{card.name}(args)> Modality: {_modality(card)}, Task: {card.task}, Overview: {card.overview}, "
        f"Accuracy: {card.accuracy}, Valid args are: {_valid(card)}\n"
    )


def _modality(card: ExpertCard) -> str:
    if set(card.modality) <= {"DX", "CR"} and "CHEST" in card.body_part:
        return "chest x-ray (CXR)"
    return " or ".join(dict.fromkeys(_SPOKEN.get(one, one) for one in card.modality))


def _valid(card: ExpertCard) -> str:
    lists = {}
    for name, values in card.arguments.items():
        told = [f"'{value}'" for value in values if value not in OTHER_NAMES]
        lists[name] = ", ".join([*told[:-1], f"or {told[-1]}"]) if len(told) > 1 else "".join(told)
    if len(lists) == 1:
        return next(iter(lists.values()))
    return "; ".join(f"{name}={values}" for name, values in lists.items()) or "None"


def _instruction(question: str, results: Sequence[Turn]) -> str:
    if any(turn.finding is not None and turn.finding.status == "done" for turn in results):
        return instruction(question)
    return f"Without a result, say that this could not be examined, and respond to this prompt:\n{question}"


def _with_place(question: str) -> str:
    """The question with the user's own `<image>`, which `plain` broke, where there is one."""
    return question.replace("< image>", PLACE) if question.count("< image>") == 1 else question


def _result(finding: Finding, study: Study) -> tuple[str, tuple[Picture, ...]]:
    if finding.status != "done":
        return failure_text(finding), ()
    series = series_of(finding, study)
    segmentation = finding.segmentation
    if segmentation is None or series is None:
        return (scores_text(finding.scores) if finding.scores else f"The result is: {plain(finding.text, 2000)} "), ()
    if series.volume.modality not in ("CT", "MR"):  # no checkpoint has seen one; the colours then have no given names
        picture = overlay_picture(series.volume, segmentation.labels, "axial", names=segmentation.names)
        return f"The results are {PLACE}. {plain(finding.text, 2000)} ", (picture,)
    picture, colors = reference_overlay(series.volume, segmentation.labels, focus(finding))
    told = brats_text(colors) if finding.record.expert == "BRATS" else segmentation_text(colors, segmentation.names)
    return told, (picture,)
