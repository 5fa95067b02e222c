"""Boxes: the conventions that models write them in, brought to fractions of the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from attending.evaluation.parse import Parsed, final_answer, found, invalid
from attending.evaluation.parse_words import REFUSAL

Box = tuple[float, float, float, float]

_VALUE = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d{1,3})?"
_SEP = r"\s*,?\s+|\s*,\s*"
_FOUR = re.compile(
    rf"[\[(]\s*({_VALUE})(?:{_SEP})({_VALUE})(?:{_SEP})({_VALUE})(?:{_SEP})({_VALUE})\s*[\])]", re.IGNORECASE
)
_CORNERS = re.compile(
    rf"\(\s*({_VALUE})\s*,\s*({_VALUE})\s*\)\s*(?:,|-|to|and)?\s*\(\s*({_VALUE})\s*,\s*({_VALUE})\s*\)", re.IGNORECASE
)
_TOKENS = re.compile(r"<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>")
_NAMED = re.compile(
    rf"\"?(?:x_?min|x1|left)\"?\s*[:=]\s*({_VALUE})\D{{1,20}}?\"?(?:y_?min|y1|top)\"?\s*[:=]\s*({_VALUE})\D{{1,20}}?"
    rf"\"?(?:x_?max|x2|right)\"?\s*[:=]\s*({_VALUE})\D{{1,20}}?\"?(?:y_?max|y2|bottom)\"?\s*[:=]\s*({_VALUE})",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"^\W*(?:none|nothing|no (?:box|boxes|lesions?|findings?|abnormalit\w+|regions?)\b|\[\s*\]|there (?:is|are) no)",
    re.IGNORECASE,
)
_LOC_STEPS = 1024
_MAX_BOXES = 1000
_SLACK = 0.005
"""How far beyond the picture's edge a box may reach, as a fraction; rounding does that."""


def boxes(text: str, scale: str = "unit", size: Sequence[int] | None = None, order: str = "xyxy") -> Parsed:
    """Boxes as (x0, y0, x1, y1) fractions of the picture from its upper left, in the order written.

    Read are `[a, b, c, d]` (JSON, `<box>`, nested), `(a, b), (c, d)` (also in `<|box_start|>`), named corners
    (`x1=..., y1=...`) and PaliGemma's `<loc0000>` tokens (always y, x of 1024). "No box" and `[]` are an empty tuple.
    Invalid: `empty`, `refusal`, `no box`, `outside the picture`, `no area`, `too many boxes`.

    Args:
        text: The answer.
        scale: `unit`: fractions; `thousand`: of 1000; `pixel`: of `size`.
        size: The picture's (width, height), for `pixel`.
        order: `xyxy`, `yxyx` or `xywh` of four numbers in brackets.

    Raises:
        ValueError: An unknown scale or order, or `pixel` without a size.
    """
    if scale not in ("unit", "thousand", "pixel") or order not in ("xyxy", "yxyx", "xywh"):
        raise ValueError(f"scale, order are {scale!r}, {order!r}; expected unit, thousand or pixel; xyxy, yxyx or xywh")
    if scale == "pixel" and (size is None or len(size) != 2 or min(size) <= 0):
        raise ValueError(f"size is {size!r}; expected the picture's (width, height) for scale pixel")
    whole = {"unit": (1.0, 1.0), "thousand": (1000.0, 1000.0)}.get(scale) or (float(size[0]), float(size[1]))  # type: ignore[index]
    answer = final_answer(text)
    if not answer:
        return invalid("empty")
    written = _written(answer, whole, order)
    if not written:
        if _NOTHING.match(answer):
            return found(())
        return invalid("refusal" if REFUSAL.search(answer.lower()) else "no box")
    if len(written) > _MAX_BOXES:
        return invalid("too many boxes")
    for box in written:
        if not all(math.isfinite(edge) and -_SLACK <= edge <= 1 + _SLACK for edge in box):
            return invalid("outside the picture")
        if box[2] <= box[0] or box[3] <= box[1]:
            return invalid("no area")
    return found(tuple(tuple(min(max(edge, 0.0), 1.0) for edge in box) for box in written))


def _written(answer: str, whole: tuple[float, float], order: str) -> list[Box]:
    tokens = _TOKENS.findall(answer)
    if tokens:
        steps = (float(_LOC_STEPS), float(_LOC_STEPS))
        return [_fractions([float(v) for v in four], steps, "yxyx") for four in tokens]
    for pattern, way in ((_CORNERS, "xyxy"), (_NAMED, "xyxy"), (_FOUR, order)):
        hits = pattern.findall(answer)
        if hits:
            return [_fractions([float(v) for v in four], whole, way) for four in hits]
    return []


def _fractions(four: list[float], whole: tuple[float, float], order: str) -> Box:
    a, b, c, d = four
    if order == "yxyx":
        a, b, c, d = b, a, d, c
    if order == "xywh":
        c, d = a + c, b + d
    return a / whole[0], b / whole[1], c / whole[0], d / whole[1]
