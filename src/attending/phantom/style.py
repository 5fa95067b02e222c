"""Styles: named hospitals, whose scanners leave their mark on the pixels but never on the truth."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from attending.errors import InputError


class Style(NamedTuple):
    """One hospital: its letter, what it is, and its settings for CT, MRI and radiographs (see `data/styles.toml`)."""

    name: str
    title: str
    ct: dict[str, Any]
    mri: dict[str, Any]
    cxr: dict[str, Any]


@cache
def styles() -> dict[str, Style]:
    """All hospitals by name."""
    text = files("attending.phantom").joinpath("data/styles.toml").read_text(encoding="utf-8")
    return {name: Style(name, **fields) for name, fields in tomllib.loads(text).items()}


def get_style(name: str) -> Style:
    """The hospital of that name.

    Raises:
        InputError: No such hospital; the message lists those there are.
    """
    known = styles()
    if name not in known:
        raise InputError(f"expected one of {', '.join(known)}", field="style", value=name)
    return known[name]
