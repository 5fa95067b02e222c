"""Transcript: the turns of a consultation, whoever spoke and whatever the model's own wire format is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from attending.errors import printable_lines
from attending.experts import ExpertCard, Finding
from attending.imaging import Picture

ROLES = ("system", "user", "assistant", "expert")


@dataclass(frozen=True)
class Call:
    """A model's request that an expert examine the study.

    Attributes:
        expert: The expert's name as its card has it; as the model wrote it where there is no such expert.
        arguments: By name. Taken as hostile until the expert's card has checked them.
        problem: Why it cannot be carried out as written; empty when it can.
    """

    expert: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for calls that ask for the same thing."""
        return (self.expert, tuple(sorted(self.arguments.items())), self.problem)

    def __str__(self) -> str:
        return f"{self.expert}({', '.join(self.arguments.values())})"


@dataclass(frozen=True, eq=False)
class Turn:
    """What one party said.

    Attributes:
        role: One of `ROLES`.
        text: User: the question, as typed. Assistant: as generated. Expert: as the model is told it, with `<image>`
            where a picture stands.
        pictures: What is shown with it, in order.
        modality: User: what the pictures were made with, such as `CT`, `MRI` or `CXR`; None when unknown.
        cards: User: the experts on offer.
        call: Expert: what was asked for; None where no model asked (see `attending.consult.Options.route`).
        finding: Expert: what came back.
    """

    role: str
    text: str
    pictures: tuple[Picture, ...] = ()
    modality: str | None = None
    cards: tuple[ExpertCard, ...] = ()
    call: Call | None = None
    finding: Finding | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role is {self.role!r}; expected one of {', '.join(ROLES)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; pictures by where they came from, the finding by what was asked."""
        told: dict[str, Any] = {"role": self.role, "text": printable_lines(self.text)}
        if self.pictures:
            told["pictures"] = [
                {"series": p.series, "plane": p.plane, "index": p.index, "sha256": p.digest} for p in self.pictures
            ]
        if self.modality is not None:
            told["modality"] = self.modality
        if self.cards:
            told["experts"] = [card.name for card in self.cards]
        if self.finding is not None:
            told["call"] = {
                "expert": self.finding.record.expert,
                "arguments": dict(self.finding.record.arguments),
                "by": "model" if self.call is not None else "router",
            }
            told["status"] = self.finding.status
        return told


@dataclass(frozen=True, eq=False)
class Transcript:
    """The turns so far, in order. Adding one gives a new transcript."""

    turns: tuple[Turn, ...] = ()

    def __add__(self, turn: Turn) -> Transcript:
        return replace(self, turns=(*self.turns, turn))

    @property
    def findings(self) -> list[Finding]:
        """What experts found since the last question, in order."""
        return [turn.finding for turn in self.since_question if turn.finding is not None]

    @property
    def since_question(self) -> tuple[Turn, ...]:
        """The last user turn and what followed."""
        last = max((i for i, turn in enumerate(self.turns) if turn.role == "user"), default=0)
        return self.turns[last:]

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain JSON values, a turn each."""
        return [turn.to_dict() for turn in self.turns]
