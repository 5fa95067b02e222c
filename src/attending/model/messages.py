"""Conversations as every back end takes them: a list of role and content, with places for pictures."""

from collections.abc import Sequence
from typing import Any

from attending.errors import InputError

Messages = Sequence[dict[str, Any]]
"""Each has `role` and `content`: a string in which `<image>` stands for a picture, or a list of parts
`{"type": "text", "text": ...}` and `{"type": "image"}`."""

_PLACE = "<image>"


def as_parts(messages: Messages, pictures: Sequence[Any] | None) -> list[dict[str, Any]]:
    """Bring all content into parts; with `pictures`, each image part gets its picture under `image`."""
    remaining = iter(pictures) if pictures is not None else None
    found = []
    for message in messages:
        parts = []
        for part in _parts(message):
            if part["type"] == "image" and remaining is not None:
                part = {"type": "image", "image": next(remaining)}
            parts.append(part)
        found.append({**message, "content": parts})
    return found


def count_pictures(messages: Messages) -> int:
    """How many pictures the messages have places for."""
    return sum(part["type"] == "image" for message in messages for part in _parts(message))


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of a message as parts."""
    if message.get("role") not in ("system", "user", "assistant"):
        raise InputError("expected system, user or assistant", field="role", value=message.get("role"))
    content = message.get("content") or []
    given = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    parts: list[dict[str, Any]] = []
    for part in given:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image":
            parts.append({"type": "image"})
        elif kind == "text" and isinstance(part.get("text"), str):
            for number, text in enumerate(part["text"].split(_PLACE)):
                parts += [{"type": "image"}] if number else []
                parts += [{"type": "text", "text": text}] if text else []
        else:
            raise InputError("expected parts of type text or image", field="content", value=part)
    return parts
