"""Plain text, names and values: what anyone may have written becomes safe to show, to name files by, and to store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attending.errors import printable

MAX_TEXT = 100_000
"""Characters of one text that are shown; `Answer.to_dict` keeps as many."""


def slug(text: object, limit: int = 40) -> str:
    """Lower-case letters, digits and single hyphens of `text`, for a file name; `unnamed` where it has none."""
    letters = "".join(char if char.isascii() and char.isalnum() else "-" for char in str(text)[: 4 * limit])
    words = "-".join(part for part in letters.lower().split("-") if part)
    return words[:limit].strip("-") or "unnamed"


def jsonable(value: Any) -> Any:
    """`value` as JSON has it: keys are text, numpy numbers are numbers, what is no finite number is null."""
    if isinstance(value, Mapping):
        return {printable(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in value]
    if hasattr(value, "tolist"):  # numpy
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else printable(value)
