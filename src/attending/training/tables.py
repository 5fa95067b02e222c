"""YAML tables: read from a file, and changed by `a.b=value` settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from attending.errors import InputError

MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's safe loader; a key that occurs twice in one table is refused, and `1e-3` is a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.YAMLError(f"{key} occurs twice in one table")
        return dict(super().construct_mapping(node, deep))


# YAML 1.1 wants a point in a number with an exponent; people write none.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a table.

    Raises:
        InputError: It is missing, too large, not YAML, no table, or has a key twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES} bytes", path=path)
        table = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (yaml.YAMLError, UnicodeError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"is not valid YAML: {error}", path=path) from error
    if not isinstance(table, dict):
        raise InputError("expected a table of names and values", path=path)
    return table


def override(table: dict[str, Any], settings: Sequence[str]) -> None:
    """Apply `a.b=value` settings, in place; values are YAML, entries of lists go by number or by their `name`.

    Raises:
        InputError: A setting without `=`, or a path that leads nowhere.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise InputError("expected a.b=value", field="--set", value=setting)
        try:
            value = _parsed(text)
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise InputError("is not valid YAML", field=f"--set {path}", value=text) from error
        at: Any = table
        *parents, last = path.split(".")
        for name in parents:
            if isinstance(at, dict) and at.get(name) is None:
                at[name] = {}
            at = at[_key(at, name, setting)]
        at[_key(at, last, setting)] = value


def _key(at: Any, name: str, setting: str) -> Any:
    """What leads from a table or list to what a setting calls `name`."""
    if isinstance(at, dict):
        return int(name) if name.isdigit() else name  # label numbers are keys too
    if not isinstance(at, list):
        raise InputError("leads through what is no table", field="--set", value=setting)
    names = [one.get("name") if isinstance(one, dict) else None for one in at]
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(at):
        return int(name)
    known = ", ".join(str(number if one is None else one) for number, one in enumerate(names))
    raise InputError(f"there is no entry {name}; there are: {known}", field="--set", value=setting)
