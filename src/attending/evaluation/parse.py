"""Parse: what a model's text answers, or why it answers nothing. Never the nearest choice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MAX_READ = 20_000
"""Characters of an answer that are read; what follows is ignored."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read from one text.

    Attributes:
        value: By kind: `bool`; an option's label; a `float` in the asked unit; a tuple of boxes or strings; `str`.
            None where nothing valid was read.
        valid: Whether there is a value. An invalid answer stays in every denominator.
        why: Invalid: the reason, such as `refusal`, `both` or `several numbers`. Valid: empty, or how it was read
            (`middle of a range`).
    """

    value: Any
    valid: bool
    why: str = ""


def found(value: Any, how: str = "") -> Parsed:
    """A valid answer."""
    return Parsed(value, True, how)


def invalid(why: str) -> Parsed:
    """No valid answer, and why."""
    return Parsed(None, False, why)


def parse(kind: str, text: str, **options: Any) -> Parsed:
    """Read `text` as an answer of `kind`.

    Args:
        kind: One of `KINDS`.
        text: As the model wrote it; hostile. Its first 20,000 characters are read.
        options: `option`: `options`, a sequence of texts (labelled A, B, ...) or a mapping of label to text.
            `number`: `unit`, one of `mm`, `mL`, `%`, `HU`, `count` (the default).
            `boxes`: `scale`, one of `unit` (the default), `thousand`, `pixel`; `size`, the picture's (width, height)
            for `pixel`; `order`, one of `xyxy` (the default), `yxyx`, `xywh`. Values are (x0, y0, x1, y1) as fractions
            of the picture, from its upper left.
            `list`: `vocabulary`, the names that count; without it every item does.

    Raises:
        ValueError: An unknown kind or option: a fault of the task, not of the answer.
    """
    if kind not in KINDS:
        raise ValueError(f"parser is {kind!r}; expected one of {', '.join(KINDS)}")
    return KINDS[kind](clean(text), **options)


_PLAIN = dict.fromkeys((8216, 8217, 96, 180), "'")
_PLAIN |= dict.fromkeys((8220, 8221), '"')
_PLAIN |= dict.fromkeys((*range(8208, 8214), 8722), "-")
_PLAIN |= dict.fromkeys((160, 8201, 8239), " ")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)


def clean(text: str) -> str:
    """`text` without a reasoning block and markdown emphasis, with plain quotes, dashes and spaces."""
    plain = _THOUGHT.sub(" ", text[:_MAX_READ])
    plain = plain.translate(_PLAIN)
    return plain.replace("**", "").replace("__", "").strip()


_MARK = re.compile(
    r"(?:\b(?:final |correct |best |my )?(?:answer|choice)\s*(?:is\s*:?|:|=|would be)|\\boxed\{)\s*(?=\S)",
    re.IGNORECASE,
)


def final_answer(text: str) -> str:
    """What follows the last "answer:" or "the answer is"; all of it where there is no such mark."""
    parts = _MARK.split(text)
    return parts[-1] if len(parts) > 1 and len(parts[-1].strip(" .}")) > 0 else text


def parse_text(text: str) -> Parsed:
    """The text itself; invalid when there is none."""
    return found(text) if text else invalid("empty")


def _yes_no(text: str) -> Parsed:
    from attending.evaluation.parse_yes_no import yes_no

    return yes_no(text)


def _option(text: str, *, options: Any) -> Parsed:
    from attending.evaluation.parse_option import option

    return option(text, options)


def _number(text: str, *, unit: str = "count") -> Parsed:
    from attending.evaluation.parse_number import number

    return number(text, unit)


def _boxes(text: str, **options: Any) -> Parsed:
    from attending.evaluation.parse_boxes import boxes

    return boxes(text, **options)


def _list(text: str, *, vocabulary: Any = None) -> Parsed:
    from attending.evaluation.parse_list import items

    return items(text, vocabulary)


KINDS: dict[str, Callable[..., Parsed]] = {
    "yes_no": _yes_no,
    "option": _option,
    "number": _number,
    "boxes": _boxes,
    "list": _list,
    "text": parse_text,
}
"""The kinds of answer, each with what reads it."""
