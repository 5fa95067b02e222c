"""Strict tables: a table becomes dataclasses, and what does not fit is refused by the name of its key."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from attending.errors import InputError

T = TypeVar("T")
_NAMES = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


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
            values[name] = _converted(hints[name], table[name], _join(where, name))
        elif one.default is MISSING and one.default_factory is MISSING:
            raise InputError("is missing", field=_join(where, name))
    return kind(**values)


def _converted(wanted: Any, value: Any, where: str) -> Any:
    """A value as its annotation wants it; whole numbers become numbers, lists tuples, tables dataclasses."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _one_of(wanted, value, where)
    if is_dataclass(wanted):
        return build(wanted, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _tuple(get_args(wanted), value, where)
    if origin is dict:
        return _dict(get_args(wanted), value, where)
    if origin is Literal:
        return _literal(get_args(wanted), value, where)
    if not _fits(wanted, value):
        raise InputError(f"expected {_NAMES.get(wanted, wanted)}", field=where, value=value)
    return float(value) if wanted is float else value


def _one_of(wanted: Any, value: Any, where: str) -> Any:
    """The first of several kinds that a value fits; with only one beside None, that one's own complaint."""
    kinds = [one for one in get_args(wanted) if one is not type(None)]
    if value is None and len(kinds) < len(get_args(wanted)):
        return None
    for kind in kinds:
        if len(kinds) == 1 or _fits(kind, value):
            return _converted(kind, value, where)
    told = " or ".join(_NAMES.get(get_origin(one) or one, "a table") for one in kinds)
    raise InputError(f"expected {told}", field=where, value=value)


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError("expected a list", field=where, value=value)
    if inner[1:] != (Ellipsis,) and len(inner) != len(value):
        raise InputError(f"expected {len(inner)} values", field=where, value=value)
    return tuple(_converted(inner[0], one, _join(where, number)) for number, one in enumerate(value))


def _dict(inner: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError("expected a table of names and values", field=where, value=value)
    return {
        _converted(inner[0], key, _join(where, key)): _converted(inner[1], one, _join(where, key))
        for key, one in value.items()
    }


def _literal(inner: tuple[Any, ...], value: Any, where: str) -> Any:
    if value in inner:
        return value
    near = get_close_matches(str(value), [str(one) for one in inner], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"expected one of {', '.join(map(str, inner))}{hint}", field=where, value=value)


def _fits(wanted: Any, value: Any) -> bool:
    if wanted is Any:
        return True
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if wanted is int:
        return type(value) is int
    return isinstance(value, get_origin(wanted) or wanted)


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
