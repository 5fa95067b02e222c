"""The call parser: which experts a model's text asks for, by either grammar, and what is only talk of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attending.consult.terms import canonical
from attending.consult.transcript import Call
from attending.errors import printable
from attending.experts import ExpertCard

_MAX_TEXT = 100_000
_NAMED = re.compile(r"<\s*([A-Za-z][A-Za-z0-9_-]{0,39})\s*(?=[(>])")
_TAG = re.compile(r"<([^<>\n]{1,200})>")
_JSON = re.compile(r"<tool_call>\s*")
_JSON_END = re.compile(r"\s*</tool_call>")
# Code, and quotations that begin and end as words do. Single quotes are not among them: arguments carry them.
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|(?<![\w)])\"[^\"\n]+\"(?!\w)|“[^”\n]+”|«[^»\n]+»|„[^“\n]+“", re.DOTALL
)


class Found(NamedTuple):
    """A call and where it stands in the text."""

    call: Call
    start: int
    end: int


def tag_calls(text: str, cards: Sequence[ExpertCard]) -> list[Found]:
    """Calls in VILA-M3's grammar, `<NAME(args)>`, in order.

    An argument may hold brackets; `<NAME>` and `<NAME()>` take the defaults. What is quoted or in code is talk of a
    call. Markup that names no expert is no call. A call that is cut off, or of an expert that is not there, comes with
    its `problem`, so that the model can be told.
    """
    text = text[:_MAX_TEXT]
    known = {card.name.lower(): card for card in cards}
    found: list[Found] = []
    quoted = _spans(text)
    for match in _NAMED.finditer(text):
        if _within(match.start(), quoted) or (found and match.start() < found[-1].end):
            continue
        card = known.get(match[1].lower())
        inside, end = _argument(text, match.end())
        if text[match.end()] == ">":
            if card is not None:
                found.append(Found(_call(card, ""), match.start(), end))
        elif inside is None:
            name = card.name if card else match[1]
            found.append(Found(Call(name, problem="the call is not closed; expected <NAME(args)>"), match.start(), end))
        elif card is None:
            found.append(Found(_unknown(match[1], cards), match.start(), end))
        else:
            found.append(Found(_call(card, inside), match.start(), end))
    for match in _TAG.finditer(text):  # a tag that speaks of an expert without calling it properly
        taken = any(one.start < match.end() and match.start() < one.end for one in found)
        named = next((card for card in cards if re.search(rf"\b{re.escape(card.name)}\b", match[1])), None)
        if named and not taken and not _within(match.start(), quoted):
            problem = f"expected <{named.name}(args)>, found {printable(match[0], 80)}"
            found.append(Found(Call(named.name, problem=problem), match.start(), match.end()))
    return sorted(found, key=lambda one: one.start)


def json_calls(text: str, cards: Sequence[ExpertCard]) -> list[Found]:
    """Calls in the JSON grammar, `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`; see `tag_calls`."""
    text = text[:_MAX_TEXT]
    known = {card.name.lower(): card for card in cards}
    found = []
    quoted = _spans(text, code_only=True)
    for match in _JSON.finditer(text):
        if _within(match.start(), quoted):
            continue
        try:
            asked, end = json.JSONDecoder().raw_decode(text, match.end())
        except (json.JSONDecodeError, RecursionError):
            closing = text.find("</tool_call>", match.end())
            end = len(text) if closing < 0 else closing + len("</tool_call>")
            problem = 'expected {"name": NAME, "arguments": {...}} between <tool_call> and </tool_call>'
            found.append(Found(Call("", problem=problem), match.start(), end))
            continue
        closed = _JSON_END.match(text, end)
        found.append(Found(_from_json(asked, known, cards), match.start(), closed.end() if closed else end))
    return found


def written_out(text: str, found: Sequence[Found]) -> str:
    """The text with each call in it replaced by `NAME(values)`, for people."""
    parts, last = [], 0
    for call, start, end in found:
        parts += [text[last:start], str(call)]
        last = end
    return "".join([*parts, text[last:]]).strip()


def unique(found: Sequence[Found]) -> list[Call]:
    """The calls without those that ask again for the same thing, in order."""
    first: dict[object, Call] = {}
    for one in found:
        first.setdefault(one.call.key, one.call)
    return list(first.values())


def _argument(text: str, start: int) -> tuple[str | None, int]:
    """What stands in the brackets that open at `start`, None when they or the tag never close, and where it ends."""
    depth = 0
    for at in range(start, min(len(text), start + 500)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            close = re.compile(r"\s*>").match(text, at + 1) if text[at] == ")" else None
            if text[at] == ">":
                return "", at + 1
            return (text[start + 1 : at], close.end()) if close else (None, at + 1)
        if text[at] == "\n":
            return None, at
    return None, min(len(text), start + 500)


def _call(card: ExpertCard, inside: str) -> Call:
    """A call with what stands in its brackets: the values in the card's order, or `name=value`."""
    inside = inside.strip()
    if not inside or inside.lower() == "none":
        return Call(card.name)
    names = list(card.arguments)
    if not names:
        return Call(card.name)  # the reference lets an expert without arguments ignore what it is given
    values = [inside] if len(names) == 1 else inside.split(",")
    arguments: dict[str, str] = {}
    for place, value in enumerate(values):
        name, equals, rest = value.partition("=")
        if equals and name.strip() in names:
            arguments[name.strip()] = _listed(card, name.strip(), _bare(rest))
        elif place < len(names):
            arguments[names[place]] = _listed(card, names[place], _bare(value))
        else:
            return Call(card.name, problem=f"{card.name} takes {len(names)} arguments: {', '.join(names)}")
    return Call(card.name, arguments)


def _from_json(asked: Any, known: Mapping[str, ExpertCard], cards: Sequence[ExpertCard]) -> Call:
    name = asked.get("name") if isinstance(asked, dict) else None
    if not isinstance(name, str) or not name.strip():
        return Call("", problem='a call needs "name", the expert to ask')
    card = known.get(name.strip().lower())
    if card is None:
        return _unknown(name, cards)
    arguments = asked.get("arguments") or {}
    if not isinstance(arguments, dict) or not all(isinstance(one, str | int | float) for one in arguments.values()):
        return Call(card.name, problem='"arguments" must be an object of names and texts')
    return Call(card.name, {str(key): _listed(card, str(key), str(value)) for key, value in arguments.items()})


def _unknown(name: str, cards: Sequence[ExpertCard]) -> Call:
    there = ", ".join(card.name for card in cards) or "none"
    return Call(printable(name, 40), problem=f"there is no expert of this name; there are: {there}")


def _listed(card: ExpertCard, name: str, value: str) -> str:
    """The first value on the card that means the same; else the value as it is, for the expert to refuse."""
    listed = card.arguments.get(name, ())
    return value if value in listed else next((one for one in listed if canonical(one) == canonical(value)), value)


def _bare(value: str) -> str:
    return value.strip().strip("'\"\u2018\u2019\u201c\u201d").strip()


def _spans(text: str, code_only: bool = False) -> list[tuple[int, int]]:
    return [match.span() for match in _QUOTED.finditer(text) if not code_only or match[0].startswith("`")]


def _within(at: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start < at < end for start, end in spans)
