"""LLaVA-style JSON and JSON lines, and the common `messages` form that `attending data convert` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from attending.corpora.conversation import PLACE, Conversation, Message
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.tables import inside, json_rows
from attending.errors import InputError

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_OWN = ("id", "image", "images", "conversations", "messages", "patient", "split", "facts")


class _Row(NamedTuple):
    id: str
    messages: tuple[Message, ...]
    images: tuple[Path, ...]
    patient: str
    source: str
    facts: dict[str, str]


def read(folder: Path, split: str, *, progress: Progress, images: str = "") -> Dataset:
    """Read it.

    A picture without a place is put before the first message, as LLaVA does; a first message that is not the user's is
    passed over, as LLaVA does, and counted.

    Args:
        folder: The file; see `READER`.
        split: Rows that name another split are passed over; rows that name none are of any.
        progress: See `read`.
        images: Where the pictures lie; by default beside the file.
    """
    if not folder.is_file():
        raise InputError("expected a .json or .jsonl file, not a folder", path=folder)
    root = Path(images) if images else folder.parent

    def make(row: _Row) -> Conversation:
        return Conversation(row.id, row.messages, row.images, row.patient, row.source, split, row.facts)

    gather: Gather[_Row] = Gather(folder.stem, split, make, progress)
    for where, row in json_rows(folder, gather.refuse):
        if row.get("split") not in (None, split):
            continue
        gather.look()
        try:
            gather.add(_row(row, folder, where, root, gather), "question type")
        except InputError as error:
            gather.refuse(error)
    return gather.dataset()


def _row(row: dict[str, Any], path: Path, where: str, root: Path, gather: Gather[_Row]) -> _Row:
    messages = _messages(row, path, where)
    if messages and messages[0].role == "assistant":
        gather.pass_over("first message, an answer to nothing")
        messages = messages[1:]
    named = row.get("images", row.get("image")) or []
    names = named if isinstance(named, list) else [named]
    pictures = tuple(inside(root, name, path, f"{where}, image") for name in names)
    if pictures and messages and not any(PLACE in message.content for message in messages):
        first = next((i for i, message in enumerate(messages) if message.role == "user"), 0)
        head = f"{PLACE}\n" * len(pictures)
        messages[first] = Message(messages[first].role, head + messages[first].content)
    facts = {key: str(value) for key, value in row.items() if key not in _OWN and isinstance(value, str | int | float)}
    told = row.get("facts")
    facts |= {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}
    original = str(row["id"]) if isinstance(row.get("id"), str | int) else where.partition(" ")[2]
    source = facts.pop("source", path.stem)
    patient = row.get("patient")
    return _Row(
        gather.unique(original),
        tuple(messages),
        pictures,
        str(patient) if isinstance(patient, str | int) else "",
        source,
        facts | {"original id": facts.get("original id", original)},
    )


def _messages(row: dict[str, Any], path: Path, where: str) -> list[Message]:
    turns = row.get("conversations", row.get("messages"))
    if not isinstance(turns, list) or not turns:
        raise InputError("expected a list conversations or messages", path=path, field=where, value=turns)
    found = []
    for number, turn in enumerate(turns, 1):
        field = f"{where}, message {number}"
        if not isinstance(turn, dict):
            raise InputError("expected an object", path=path, field=field, value=turn)
        said, role = turn.get("value", turn.get("content")), turn.get("from", turn.get("role"))
        if role not in _ROLES:
            raise InputError(f"expected one of {', '.join(_ROLES)}", path=path, field=f"{field}, role", value=role)
        if isinstance(said, list):
            said = "".join(_part(part, path, field) for part in said)
        if not isinstance(said, str):
            raise InputError("expected a text", path=path, field=field, value=said)
        found.append(Message(_ROLES[role], said))
    return found


def _part(part: Any, path: Path, field: str) -> str:
    """Text of a part, as OpenAI and TRL write them."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "image":
        return PLACE
    raise InputError("expected parts of type text or image", path=path, field=field, value=part)


READER = Reader(
    name="llava",
    title="LLaVA-style JSON or JSON lines, or the messages form: your own, or what `attending data convert` wrote",
    expects=(
        "a .json or .jsonl file of objects with id, image (or images), and conversations of "
        '{"from": "human" | "gpt", "value"} or messages of {"role", "content"}',
    ),
    source="your own",
    citation="Liu et al., Visual instruction tuning, NeurIPS 2023, arXiv:2304.08485 (the form)",
    licence="that of the data",
    splits=("train", "validate", "test"),
    read=read,
)
