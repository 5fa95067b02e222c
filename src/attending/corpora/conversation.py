"""Conversation: the training record, in the common `messages` form, with the checks every record must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attending.errors import InputError
from attending.imaging import Picture

ROLES = ("system", "user", "assistant")
PLACE = "<image>"
"""Where a picture stands in a message's content."""


@dataclass(frozen=True)
class Message:
    """One message: `role` is one of `ROLES`; `content` has `<image>` where a picture stands."""

    role: str
    content: str


@dataclass(frozen=True, eq=False)
class Conversation:
    """One training record.

    Attributes:
        id: Unique within its dataset.
        messages: An optional system message, then user and assistant in turn, ending with assistant.
        images: Files, or pictures made in memory, in the order of their places in the messages.
        patient: Who it is about, as the dataset names them; empty when it does not. Splits are by patient.
        source: Name of the dataset.
        split: The official split it belongs to: `train`, `validate` or `test`.
        facts: What else the dataset says of it: question type, answer type, organ ...

    Raises:
        InputError: Roles out of order, an empty message, or other than one image for each place; names the record.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Path | Picture, ...] = ()
    patient: str = ""
    source: str = ""
    split: str = "train"
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spoken = [message.role for message in self.messages]
        told = spoken[1:] if spoken[:1] == ["system"] else spoken
        if not told or len(told) % 2 or told != ["user", "assistant"] * (len(told) // 2):
            raise self._wrong("expected user and assistant in turn, ending with assistant", "messages", spoken)
        for message in self.messages:
            if message.role != "system" and not message.content.strip():
                raise self._wrong("is empty", f"{message.role} message", message.content)
        places = sum(message.content.count(PLACE) for message in self.messages)
        if places != len(self.images):
            raise self._wrong(f"{places} places {PLACE}, {len(self.images)} images", "images", len(self.images))

    def _wrong(self, problem: str, where: str, value: object) -> InputError:
        name = f"conversation {self.id!r} of {self.source or 'no source'}"
        return InputError(f"{name}: {problem}", field=where, value=value)


def turns(*contents: str, system: str | None = None) -> tuple[Message, ...]:
    """Messages from texts, user first and then in turn."""
    first: Sequence[Message] = [Message("system", system)] if system is not None else []
    return (*first, *(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(contents)))
