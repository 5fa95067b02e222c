"""Strict tables: a YAML table becomes dataclasses, and what does not fit is refused by the name of its key."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from attending.errors import InputError

T = TypeVar("T")
MAX_BYTES = 1_000_000


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a table; a key that occurs twice is refused.

    Raises:
        InputError: It is missing, too large, or no such file.
    """
    import yaml

    class Unique(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    raise InputError("occurs twice", path=path, field=str(key))
            return dict(super().construct_mapping(node, deep))

    # YAML 1.1 reads 1e-3 as text: a number needs a point there. People write it without.
    Unique.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES} bytes", path=path)
        table = yaml.load(path.read_text(encoding="utf-8"), Loader=Unique)  # a SafeLoader: nothing in it is run
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (yaml.YAMLError, UnicodeError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"is not valid YAML: {error}", path=path) from error
    if not isinstance(table, dict):
        raise InputError("expected a table of names and values", path=path)
    return table


def build(kind: type[T], table: Any, where: str = "") -> T:
    """A dataclass from a table, field by field, each checked against its annotation.

    Raises:
        InputError: A key that there is not (with the nearest that there is), one that is missing, or a value of
            another kind; `field` is the whole path to it, such as `stages.2.rates`.
    """
    if not isinstance(table, Mapping):
        raise InputError("expected a table of names and values", field=where or "recipe", value=table)
    known = {one.name: one for one in fields(kind) if one.init}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            near = get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"there is no such option; {hint}", field=_join(where, key))
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, one in known.items():
        if name in table:
            values[name] = convert(hints[name], table[name], _join(where, name))
        elif one.default is MISSING and one.default_factory is MISSING:
            raise InputError("is missing", field=_join(where, name))
    return kind(**values)


def convert(wanted: Any, value: Any, where: str) -> Any:
    """A value as its annotation wants it: see `build`."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        for one in inner:
            if one is not type(None) and (_fits(one, value) or len(inner) == 2):
                return convert(one, value, where)
        raise InputError(f"expected {_name(wanted)}", field=where, value=value)
    if is_dataclass(wanted):
        return build(wanted, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError("expected a list", field=where, value=value)
        if inner[1:] != (Ellipsis,) and len(inner) != len(value):
            raise InputError(f"expected {len(inner)} values", field=where, value=value)
        return tuple(convert(inner[0], one, _join(where, number)) for number, one in enumerate(value))
    if origin is dict or wanted is dict:
        if not isinstance(value, Mapping):
            raise InputError("expected a table of names and values", field=where, value=value)
        if not inner:
            return dict(value)
        keys = {key: convert(inner[0], key, _join(where, key)) for key in value}
        return {keys[key]: convert(inner[1], one, _join(where, key)) for key, one in value.items()}
    if origin is typing.Literal:
        if value not in inner:
            near = get_close_matches(str(value), [str(one) for one in inner], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"expected one of {', '.join(map(str, inner))}{hint}", field=where, value=value)
        return value
    if wanted is Any or _fits(wanted, value):
        return float(value) if wanted is float else value
    raise InputError(f"expected {_name(wanted)}", field=where, value=value)


def _fits(wanted: Any, value: Any) -> bool:
    if wanted is float:
        finite = isinstance(value, int | float) and not isinstance(value, bool)
        return finite and abs(value) < float("inf")
    if wanted is int:
        return type(value) is int
    origin = get_origin(wanted) or wanted
    if origin is dict or is_dataclass(wanted):
        return isinstance(value, Mapping)
    return isinstance(value, origin) if isinstance(origin, type) else True


def _name(wanted: Any) -> str:
    inner = get_args(wanted)
    if inner and get_origin(wanted) in (Union, types.UnionType):
        return " or ".join(_name(one) for one in inner if one is not type(None))
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", dict: "a table"}
    return names.get(get_origin(wanted) or wanted, str(wanted))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def override(table: dict[str, Any], settings: typing.Sequence[str]) -> None:
    """Apply `a.b=value` settings to a table, in place; values are YAML, and lists are entered by number.

    Raises:
        InputError: A setting without `=`, or a path that leads through what is no table or list.
    """
    import yaml

    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise InputError("expected a.b=value", field="--set", value=setting)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError("is not valid YAML", field=f"--set {path}", value=text) from error
        if isinstance(value, str):
            try:
                value = float(value) if any(one.isdigit() for one in value) else value
            except ValueError:
                pass
        at: Any = table
        *parents, last = path.split(".")
        for name in parents:
            at = _entered(at, name, setting)
        if isinstance(at, list):
            at[_number(at, last, setting)] = value
        elif isinstance(at, dict):
            at[last] = value
        else:
            raise InputError("leads through what is no table", field="--set", value=setting)


def _entered(at: Any, name: str, setting: str) -> Any:
    if isinstance(at, list):
        named = [one for one in at if isinstance(one, dict) and one.get("name") == name]
        return named[0] if named else at[_number(at, name, setting)]
    if not isinstance(at, dict):
        raise InputError("leads through what is no table", field="--set", value=setting)
    if at.get(name) is None:
        at[name] = {}
    return at[name]


def _number(at: list[Any], name: str, setting: str) -> int:
    if not name.isdigit() or int(name) >= len(at):
        names = ", ".join(str(one.get("name", number)) for number, one in enumerate(at) if isinstance(one, dict))
        raise InputError(f"there is no entry {name}; there are {names or len(at)}", field="--set", value=setting)
    return int(name)
