"""Task: what is asked of which data and how the answers are judged, read strictly from a YAML file without code."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from attending.errors import InputError, NotAvailableError, printable

CONTROLS = ("blank", "shuffled", "text_only", "majority")
PROTOCOLS = ("attending", "reference")
_MAX_TASK = 200_000  # bytes
_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_PLACES = re.compile(r"\{([a-z][a-z ]{0,40})\}")


@dataclass(frozen=True)
class Part:
    """Questions of one kind within a task, judged alike. A sample belongs to the first part that takes it.

    Attributes:
        where: Per fact of the sample the values that belong here, in any case; `answer` is the reference answer. Empty
            takes all that is left.
        prompt: Instead of the task's.
        parser: `kind` and its options (`attending.evaluation.parse`).
        scorer: What one answer is worth (`attending.evaluation.metrics.SCORERS`).
        metrics: What is reported (`attending.evaluation.metrics.METRICS`); the first is the headline.
        unit: Of the answer, such as `mm`; empty for none.
    """

    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prompt: str = ""
    parser: Mapping[str, Any] = field(default_factory=lambda: {"kind": "text"})
    scorer: str = "exact_match"
    metrics: tuple[str, ...] = ("mean_score",)
    unit: str = ""

    def takes(self, facts: Mapping[str, str], answer: str) -> bool:
        """Whether a sample with these facts belongs here."""
        told = {**facts, "answer": answer}
        return all(told.get(name, "").strip().lower() in values for name, values in self.where.items())


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: What the user calls it by.
        version: Raised whenever a score may change.
        title: What it is, in a sentence.
        dataset: `phantom-benchmark`, `nano-benchmark`, or a reader of `attending.corpora`.
        parts: By name.
        protocol: `attending`, or `reference`: the published protocol, bug for bug.
        measure: Reference protocol: its function in `attending.evaluation.reference`.
        split: Of the dataset.
        options: Of the dataset's reader.
        prompt: Of each question; `{question}`, `{options}` and facts, such as `{question type}`, are filled in.
        expert_prompt: Instead of `prompt` when experts are on; adds `{findings}`.
        classes: Fact whose values are reported as classes; empty for none.
        modality: What the pictures were made with, where the files do not say.
        tokens: Most new tokens of an answer.
        temperature: Of sampling; 0 always takes the likeliest token.
        controls: Which of `CONTROLS` are run beside it.
        subgroups: Facts whose values are reported apart, with gaps.
        sets: Fact that joins samples into sets of which all must be right; empty for none.
        source: Whose protocol this is.
        path: File it was read from; empty for a shipped one.
        digest: SHA-256 of the file.
    """

    name: str
    version: int
    title: str
    dataset: str
    parts: Mapping[str, Part]
    protocol: str = "attending"
    measure: str = ""
    split: str = "test"
    options: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = "{question}"
    expert_prompt: str = ""
    classes: str = ""
    modality: str = ""
    tokens: int = 64
    temperature: float = 0.0
    controls: tuple[str, ...] = CONTROLS
    subgroups: tuple[str, ...] = ()
    sets: str = ""
    source: str = ""
    path: str = ""
    digest: str = ""

    def part_of(self, facts: Mapping[str, str], answer: str) -> str | None:
        """The name of the part that takes such a sample; None where none does."""
        return next((name for name, part in self.parts.items() if part.takes(facts, answer)), None)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be compared."""
        return {"task": self.name, "version": self.version, "protocol": self.protocol, "digest": self.digest}


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its places filled in, once: braces within the values stay text."""
    return _PLACES.sub(lambda found: values.get(found[1], found[0]), template)


def task_names() -> list[str]:
    """The shipped tasks."""
    return sorted(path.name.removesuffix(".yaml") for path in _shipped() if path.name.endswith(".yaml"))


def find_task(name: str) -> Task:
    """A shipped task by its name, or one from a YAML file by its path.

    Raises:
        InputError: There is none; or the file is no task, naming the key at fault and the nearest right one.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError("there is no such file", path=path)
        if path.stat().st_size > _MAX_TASK:
            raise InputError(f"is larger than {_MAX_TASK} bytes", path=path)
        return read_task(path.read_bytes(), str(path))
    for shipped in _shipped():
        if shipped.name == f"{name}.yaml":
            return read_task(shipped.read_bytes(), "")
    raise InputError(f"there is no such task{_nearest(name, task_names())}", field="task", value=name)


def read_task(data: bytes, path: str) -> Task:
    """The task that a YAML file holds.

    Args:
        data: Its bytes.
        path: For messages; empty for a shipped one.

    Raises:
        InputError: It is no task; says why.
        NotAvailableError: PyYAML is not installed.
    """
    table = _yaml(data, path)
    parts = table.pop("parts", {})
    if not isinstance(parts, dict):
        raise InputError("expected a table of parts", path=path or None, field="parts", value=parts)
    where = path or "task"
    read = {str(name): Part(**_checked(Part, part, where, f"parts.{name}")) for name, part in parts.items()}
    task = Task(
        **_checked(Task, {**table, "parts": read, "path": path, "digest": hashlib.sha256(data).hexdigest()}, where)
    )
    _check(task, where)
    return task


def _yaml(data: bytes, path: str) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise NotAvailableError("tasks need PyYAML; install it with: pip install 'attending[evaluation]'") from error
    try:
        table = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise InputError(f"is not valid YAML: {printable(error, 300)}", path=path or None) from error
    if not isinstance(table, dict):
        raise InputError("expected a table of names and values", path=path or None)
    return table


def _checked(kind: type[Any], table: object, path: str, within: str = "") -> dict[str, Any]:
    """The table's values as the fields of `kind`, each of its type.

    Raises:
        InputError: An unknown key, with the nearest right one; a missing one; a value of the wrong type.
    """
    if not isinstance(table, Mapping):
        raise InputError("expected a table of names and values", path=path, field=within or None, value=table)
    known = {one.name: one for one in fields(kind)}
    for key in table:
        if key not in known:
            raise InputError(
                f"there is no such key{_nearest(str(key), known)}", path=path, field=within or None, value=key
            )
    for name, one in known.items():
        if name not in table and one.default is MISSING and one.default_factory is MISSING:
            raise InputError("is missing", path=path, field=f"{within}.{name}".lstrip("."))
    return {
        name: _typed(value, str(known[name].type), path, f"{within}.{name}".lstrip("."))
        for name, value in table.items()
    }


def _typed(value: Any, kind: str, path: str, name: str) -> Any:
    """`value` as the annotation `kind` says, or an error that says what is expected."""
    if kind in ("str", "int", "float"):
        wanted, words = _PLAIN[kind]
        if isinstance(value, wanted) and not isinstance(value, bool):
            return value
        raise InputError(
            f"expected {words}",
            path=path,
            field=name,
            value=value,
        )
    if kind == "tuple[str, ...]":
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed):
            return tuple(listed)
        raise InputError("expected a list of texts", path=path, field=name, value=value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError("expected a table of names and values", path=path, field=name, value=value)
    if kind == "Mapping[str, tuple[str, ...]]":
        found = {key: _typed(one, "tuple[str, ...]", path, f"{name}.{key}") for key, one in value.items()}
        return {key: tuple(one.strip().lower() for one in values) for key, values in found.items()}
    if kind == "Mapping[str, str]":
        return {key: _typed(one, "str", path, f"{name}.{key}") for key, one in value.items()}
    return dict(value)


def _check(task: Task, path: str) -> None:
    """Refuse values that name nothing.

    Raises:
        InputError: Names the key, the value, and what is there.
    """
    from attending.corpora import names

    def one_of(value: str, allowed: Iterable[str], name: str) -> None:
        there = list(allowed)
        if value not in there:
            raise InputError(
                f"expected one of {', '.join(there)}{_nearest(value, there)}", path=path, field=name, value=value
            )

    if not _NAME.fullmatch(task.name):
        raise InputError("expected small letters, digits and -, at most 60", path=path, field="name", value=task.name)
    for name, least in (("version", 1), ("tokens", 1), ("temperature", 0)):
        if not least <= getattr(task, name) <= (2 if name == "temperature" else 1 << 20):
            wanted = "0 to 2" if name == "temperature" else "1 or more"
            raise InputError(f"expected {wanted}", path=path, field=name, value=getattr(task, name))
    one_of(task.protocol, PROTOCOLS, "protocol")
    if task.protocol == "reference":
        from attending.evaluation.reference import MEASURES

        one_of(task.measure, MEASURES, "measure")
    one_of(task.dataset, ["phantom-benchmark", "nano-benchmark", *names()], "dataset")
    for control in task.controls:
        one_of(control, CONTROLS, "controls")
    if not task.parts:
        raise InputError("expected at least one part", path=path, field="parts")
    _check_scoring(task, one_of)


def _check_scoring(task: Task, one_of: Any) -> None:
    from attending.evaluation.metrics import METRICS
    from attending.evaluation.parse import KINDS
    from attending.evaluation.scoring import SCORERS

    for name, part in task.parts.items():
        one_of(str(part.parser.get("kind")), KINDS, f"parts.{name}.parser.kind")
        one_of(part.scorer, SCORERS, f"parts.{name}.scorer")
        for metric in part.metrics:
            one_of(metric, METRICS, f"parts.{name}.metrics")


def _nearest(value: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(value, list(known), 1, 0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _shipped() -> list[Any]:
    return list(files("attending.evaluation").joinpath("tasks").iterdir())
