"""ExpertCard: what the model and the user are told of an expert, and which studies and arguments it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attending.errors import InputError


class ExpertError(Exception):
    """Why an expert has no result, in words that the model may read and act on."""


class RefusedError(ExpertError):
    """The expert does not fit the study or the arguments, so it was not run."""


@dataclass(frozen=True)
class ExpertCard:
    """An expert's card.

    Attributes:
        name: What the model calls it by, such as `VISTA3D`.
        modality: DICOM modalities it takes, such as `("CT",)`.
        body_part: DICOM Body Part Examined values it takes, as prefixes in capitals; empty takes any.
        task: `segmentation` or `classification`.
        overview: What it is, in a sentence.
        accuracy: What its makers report.
        arguments: Per argument name the closed list of values; the first is the default. Empty: it takes none.
        licence: Of code and weights.
        version: Of the weights it was written for.
        sequences: Roles that must all be there (`t1ce` ...), for brain-tumour MRI; in the order the expert takes them.
        any_sequences: One or more of `sequences` are enough.
    """

    name: str
    modality: tuple[str, ...]
    body_part: tuple[str, ...]
    task: str
    overview: str
    accuracy: str
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licence: str = "not stated"
    version: str = ""
    sequences: tuple[str, ...] = ()
    any_sequences: bool = False

    def choose(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The arguments with defaults filled in.

        Raises:
            RefusedError: An argument that is not on the card, or a value that is not on its list.
        """
        for name, value in arguments.items():
            if name not in self.arguments:
                there = ", ".join(self.arguments) or "none"
                raise RefusedError(f"{self.name} takes no argument {name!r}; its arguments are: {there}")
            if value not in self.arguments[name]:
                raise RefusedError(f"{self.name} takes as {name}: {', '.join(self.arguments[name])}; not {value!r}")
        return {name: str(arguments.get(name, values[0])) for name, values in self.arguments.items()}


def text_of(table: Mapping[str, Any], key: str, path: object, default: str | None = None) -> str:
    """A text field of a card read from a file.

    Raises:
        InputError: It is missing, or not text of at most 1000 characters.
    """
    value = table.get(key, default)
    if not isinstance(value, str) or len(value) > 1000:
        raise InputError("expected a text of at most 1000 characters", path=str(path), field=key, value=value)
    return value


def card_of(table: Mapping[str, Any], path: object) -> ExpertCard:
    """The card that a YAML file holds.

    Raises:
        InputError: A field is missing or of the wrong kind; names it.
    """

    def several(key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InputError("expected a list of texts", path=str(path), field=key, value=value)
        return tuple(value)

    arguments = table.get("arguments") or {}
    listed = isinstance(arguments, dict) and all(
        isinstance(name, str) and isinstance(values, list) and values and all(isinstance(v, str) for v in values)
        for name, values in arguments.items()
    )
    if not listed:
        raise InputError("expected names, each with a list of allowed texts", path=str(path), field="arguments")
    name = text_of(table, "name", path)
    if not (name.replace("_", "").isalnum() and name.isascii() and len(name) <= 40):
        raise InputError("expected letters, digits and _, at most 40", path=str(path), field="name", value=name)
    modality = several("modality")
    if not modality:
        raise InputError("expected DICOM modalities such as [CT]", path=str(path), field="modality")
    return ExpertCard(
        name=name,
        modality=modality,
        body_part=tuple(part.upper() for part in several("body_part")),
        task=text_of(table, "task", path, "segmentation"),
        overview=text_of(table, "overview", path),
        accuracy=text_of(table, "accuracy", path, "not stated"),
        arguments={key: tuple(values) for key, values in arguments.items()},
        licence=text_of(table, "licence", path, "not stated"),
        version=text_of(table, "version", path, ""),
        sequences=several("sequences"),
        any_sequences=flag_of(table, "any_sequences", path),
    )


def flag_of(table: Mapping[str, Any], key: str, path: object) -> bool:
    """A yes or no of a card read from a file; no where it does not say.

    Raises:
        InputError: It is something else.
    """
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InputError("expected true or false", path=str(path), field=key, value=value)
    return value


def labels_of(table: Mapping[str, Any], path: object) -> dict[int, str] | None:
    """The names by label id of a card read from a file; None where it has none.

    Raises:
        InputError: They are something else.
    """
    labels = table.get("labels")
    if labels is None:
        return None
    if not (isinstance(labels, dict) and all(isinstance(k, int) and isinstance(v, str) for k, v in labels.items())):
        raise InputError("expected names by channel number", path=str(path), field="labels")
    return labels
