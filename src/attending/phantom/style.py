"""Styles: named hospitals, whose scanners leave their mark on the pixels but never on the truth."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

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


def between(names: Sequence[str], draw: np.random.Generator) -> Style:
    """A hospital that is none of these but lies between them.

    Each number lies between the least and the greatest of theirs, each choice is one of theirs, and each contrast phase
    that one of them takes is as likely.

    Args:
        names: Of the hospitals.
        draw: All that is drawn.

    Raises:
        InputError: No such hospital.
    """
    told = [get_style(name) for name in names]
    kinds = [_between([getattr(one, kind) for one in told], draw) for kind in ("ct", "mri", "cxr")]
    return Style("-".join(names), f"a hospital between {', '.join(names)}", *kinds)


def _between(settings: Sequence[dict[str, Any]], draw: np.random.Generator) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for field in settings[0]:
        values = [one[field] for one in settings]
        if isinstance(values[0], dict):
            taken = [name for name in values[0] if any(value[name] for value in values)]
            drawn[field] = dict.fromkeys(taken, 1 / len(taken))
        elif isinstance(values[0], str):
            drawn[field] = values[int(draw.integers(len(values)))]
        else:
            drawn[field] = float(draw.uniform(min(values), max(values)))
    return drawn
