"""The messages of a request: a conversation in turns, with the files of its pictures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from attending.errors import InputError
from attending.serving.settings import Settings

_DATA = re.compile(r"data:image/[\w.+-]{1,40}(?:;[\w.+=-]{1,80}){0,4};base64,", re.IGNORECASE)
_ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """What a user asked or an assistant answered.

    Attributes:
        text: As typed.
        images: Which of the conversation's pictures stand in it.
    """

    text: str
    images: tuple[int, ...] = ()


def read_messages(held: Any, settings: Settings) -> tuple[str, tuple[Message, ...], tuple[bytes, ...]]:
    """Read OpenAI's messages.

    Args:
        held: The request's `messages`.
        settings: The server's, for their limits.

    Returns:
        What the system says; user and assistant in turn, the user first and last, messages of one party in a row
        joined; and the files of the pictures.

    Raises:
        InputError: They are none, go beyond a limit, or hold what is not taken; names the part.
    """
    if not isinstance(held, list) or not 1 <= len(held) <= settings.messages:
        raise InputError(f"expected a list of 1 to {settings.messages} messages", field="messages")
    images: list[bytes] = []
    said: list[tuple[str, Message]] = []
    for number, one in enumerate(held):
        where = f"messages[{number}]"
        role = _role(one, where)
        message = _message(one, role, where, images, settings.images)
        if role == "system" and said and said[-1][0] != "system":
            raise InputError("system messages come before all others", field=where)
        if role == "assistant" and not message.text.strip():
            raise InputError("an answer without text cannot be taken up; leave the exchange out", field=where)
        said.append((role, message))
    turns = [
        (role, _joined([message for _, message in group])) for role, group in groupby(said, key=lambda one: one[0])
    ]
    for role, message in turns:
        if len(message.text) > settings.text:
            problem = f"{role} messages in a row may have {settings.text:,} characters together"
            raise InputError(problem, field="messages", value=f"{len(message.text):,} characters")
    system = turns.pop(0)[1].text if turns[0][0] == "system" else ""
    if not turns or turns[0][0] != "user":
        raise InputError("after the system's the first message must be the user's", field="messages")
    if turns[-1][0] != "user" or not turns[-1][1].text.strip():
        raise InputError("the last message must be the user's question, in words", field="messages")
    return system, tuple(message for _, message in turns), tuple(images)


def _role(one: Any, where: str) -> str:
    if not isinstance(one, dict):
        raise InputError("expected an object with role and content", field=where)
    role = one.get("role")
    if role not in _ROLES:
        raise InputError(f"expected one of {', '.join(_ROLES)}", field=f"{where}.role", value=role)
    for key, value in one.items():
        if key not in ("role", "content", "name") and value not in (None, [], ""):
            raise InputError("is not taken by this server; leave it out", field=f"{where}.{key}")
    return "system" if role == "developer" else str(role)


def _joined(messages: Sequence[Message]) -> Message:
    return Message(
        "\n".join(message.text for message in messages),
        tuple(image for message in messages for image in message.images),
    )


def _message(one: dict[str, Any], role: str, where: str, images: list[bytes], most: int) -> Message:
    """One message; adds its pictures' files to `images`."""
    content = one.get("content")
    if isinstance(content, str):
        return Message(content)
    if not isinstance(content, list) or not content:
        raise InputError("expected a text or a list of parts", field=f"{where}.content")
    texts: list[str | None] = []  # None where a picture stands
    mine: list[int] = []
    for number, part in enumerate(content):
        here = f"{where}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and role == "user":
            if len(images) == most:
                raise InputError(f"a conversation may hold {most} pictures", field=here)
            mine.append(len(images))
            images.append(_file(part.get("image_url"), f"{here}.image_url"))
            texts.append(None)
        else:
            taken = "text or image_url" if role == "user" else "text"
            raise InputError(f"expected a part of type {taken}", field=f"{here}.type", value=kind)
    return Message("\n".join(_marked(texts)), tuple(mine))


def _marked(texts: Sequence[str | None]) -> Iterator[str]:
    """The texts. A model is shown pictures before words, so where words lie between pictures each gets its mark."""
    mark = sum(is_picture for is_picture, _ in groupby(texts, key=lambda text: text is None)) > 1
    number = 0
    for text in texts:
        if text is not None:
            yield text
        elif mark:
            number += 1
            yield f"(image {number})"


def _file(held: Any, where: str) -> bytes:
    """The bytes of a `data:` URL; no other is looked at."""
    url = held.get("url") if isinstance(held, dict) else None
    if not isinstance(url, str):
        raise InputError('expected {"url": "data:image/png;base64,..."}', field=where)
    if isinstance(held, dict) and not set(held) <= {"url", "detail"}:
        raise InputError("expected url and detail only", field=where)
    head = _DATA.match(url[:400])
    if head is None:
        problem = "only data:image/png;base64,... and jpeg are taken; this server fetches no address"
        raise InputError(problem, field=f"{where}.url", value=url[:60])
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except ValueError as error:
        raise InputError(f"is no base64 ({error})", field=f"{where}.url") from None
    if not data:
        raise InputError("holds no picture", field=f"{where}.url")
    return data
