"""Which experts there are: built in, from the user's YAML cards, from other packages, and embedded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from attending.errors import InputError, printable
from attending.experts.embedded import embedded
from attending.experts.expert import Expert

GROUP = "attending.experts"
"""Entry-point group: each entry is called without arguments and returns an `Expert`."""

_BUILT_IN = ("vista3d:Vista3D", "brats:Brats", "cxr:Cxr")
_KINDS = {
    "monai-bundle": "monai_bundle:bundle_expert",
    "monai-classifier": "classifier:classifier_expert",
    "command": "command:command_expert",
}
_MAX_CARD = 1_000_000  # bytes


def experts(folder: Path | None = None) -> tuple[dict[str, Expert], list[str]]:
    """All experts but the embedded ones by name, available or not, and what is wrong with those that cannot be read.

    Args:
        folder: Of YAML cards; by default `ATTENDING_EXPERTS`, else `~/.config/attending/experts`.

    Returns:
        Experts: built in first, then cards, then other packages; a later one with a taken name is left out, so that
        nothing installed can stand in for an expert unnoticed. The names of `embedded()` are taken too.
    """
    found: dict[str, Expert] = {}
    problems: list[str] = []
    reserved = {expert.card.name for expert in embedded()}

    def add(expert: Expert, source: str) -> None:
        name = expert.card.name
        if name in found or name in reserved:
            problems.append(f"{source}: there is an expert {name} already; this one is left out")
        else:
            found[name] = expert

    for target in _BUILT_IN:
        add(_target(target)(), target)
    cards = folder or Path(os.environ.get("ATTENDING_EXPERTS") or Path.home() / ".config" / "attending" / "experts")
    for path in sorted(cards.glob("*.y*ml")) if cards.is_dir() else []:
        try:
            add(read_card(path), path.name)
        except InputError as error:
            problems.append(str(error))
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            add(entry.load()(), entry.name)
        except Exception as error:  # another package's fault must not hide our experts
            problems.append(printable(f"{entry.name} ({entry.value}): {type(error).__name__}: {error}"))
    return found, problems


def find_expert(name: str, folder: Path | None = None) -> Expert:
    """The expert of that name, embedded ones too; in any case, where none is written exactly so.

    Raises:
        InputError: There is none; says which there are.
    """
    there = experts(folder)[0] | {expert.card.name: expert for expert in embedded()}
    if name in there:
        return there[name]
    for known, expert in there.items():
        if known.lower() == name.lower():
            return expert
    raise InputError(f"expected one of {', '.join(there)}", field="expert", value=name)


def read_card(path: Path) -> Expert:
    """The expert that a YAML card describes.

    Raises:
        InputError: It is no YAML table, or a field is missing or of the wrong kind.
    """
    import yaml

    if path.stat().st_size > _MAX_CARD:
        raise InputError(f"is larger than {_MAX_CARD} bytes", path=path)
    try:
        table: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise InputError(f"is not valid YAML: {printable(error)}", path=path) from error
    if not isinstance(table, dict):
        raise InputError("expected a table of names and values", path=path)
    kind = table.get("kind")
    if kind not in _KINDS:
        raise InputError(f"expected one of {', '.join(_KINDS)}", path=path, field="kind", value=kind)
    make = cast(Callable[[Mapping[str, Any], Path], Expert], _target(_KINDS[kind]))
    return make(table, path)


def _target(target: str) -> Callable[..., Expert]:
    module, _, name = target.partition(":")
    return cast(Callable[..., Expert], getattr(import_module(f"attending.experts.{module}"), name))
