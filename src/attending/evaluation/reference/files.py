"""The reference's prediction and question files, read without running anything in them."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attending.errors import InputError

_LARGEST = 1 << 30
"""Bytes of one file."""


@dataclass(frozen=True)
class Answered:
    """One question with its answer.

    Attributes:
        id: Of the question.
        text: The raw answer; None where there is no prediction.
        reference: The true answer, label or report, raw.
        facts: What the protocol needs besides: `question_type`, `answer_type`, `class`.
    """

    id: str
    text: str | None
    reference: str
    facts: Mapping[str, str] = field(default_factory=dict)


def read_vqa(questions: Path, answers: Path) -> list[Answered]:
    """VQA-RAD and SLAKE: conversations (JSON) and predictions (JSON lines with `question_id` and `text`).

    Conversations without an assistant turn are left out, as the reference does; of several turns the last counts.
    """
    given = _predictions(answers)
    rows = []
    for item in _conversations(questions):
        spoken = [turn["value"] for turn in item["conversations"] if turn["from"] == "gpt"]
        if spoken:
            rows.append(Answered(str(item["id"]), given.get(str(item["id"])), spoken[-1]))
    return rows


def read_pathvqa(questions: Path, answers: Path) -> list[Answered]:
    """PathVQA: `test_vqa.pkl` (or the same as JSON) and predictions.

    The pickle is read with everything but plain values refused, so it can run nothing.
    """
    given = _predictions(answers)
    items = _plain_pickle(questions) if questions.suffix == ".pkl" else _json(questions)
    rows = []
    for number, item in enumerate(_items(items, questions)):
        label = item.get("label")
        if not isinstance(label, dict) or "question_id" not in item:
            raise InputError("expected question_id and a label table", path=questions, field=f"entry {number}")
        answer = next(iter(label), "")  # the reference takes the first key
        facts = {"answer_type": str(item.get("answer_type"))}
        rows.append(Answered(str(item["question_id"]), given.get(str(item["question_id"])), str(answer), facts))
    return rows


def read_mimic_vqa(questions: Path, answers: Path, question_type: str) -> list[Answered]:
    """MIMIC-VQA: one question type's conversations, with `answer_type`, and its predictions."""
    given = _predictions(answers)
    rows = []
    for number, item in enumerate(_conversations(questions)):
        if len(item["conversations"]) < 2:
            raise InputError("expected a question and an answer", path=questions, field=f"entry {number}")
        facts = {"question_type": question_type, "answer_type": str(item.get("answer_type"))}
        reference = item["conversations"][1]["value"]
        rows.append(Answered(str(item["id"]), given.get(str(item["id"])), reference, facts))
    return rows


def read_class_csv(answers: Path, class_name: str, column: int) -> list[Answered]:
    """ChestX-ray14 and CheXpert: the table of one class, `index,file,answer,labels...` without quotes or header.

    Args:
        answers: The table.
        class_name: The class asked about.
        column: Where its label stands, from the right: fracture -5, pneumothorax -4, lung_opacity -3; Atelectasis -6,
            Cardiomegaly -12, Consolidation -8, Edema -9, pleural_effusion -4.
    """
    rows = []
    for number, line in enumerate(_text(answers).splitlines(), 1):
        cells = line.split(",")
        if len(cells) < max(3, -column):
            raise InputError(
                f"has {len(cells)} cells; expected index, file, answer and labels", path=answers, field=f"line {number}"
            )
        rows.append(Answered(cells[1], cells[2], cells[column], {"class": class_name}))
    return rows


def read_reports(references: Path, predictions: Path) -> list[Answered]:
    """Reports: two folders of .txt files of the same names."""
    rows = []
    for path in sorted(references.glob("*.txt")):
        other = predictions / path.name
        rows.append(Answered(path.name, _text(other) if other.is_file() else None, _text(path)))
    if not rows:
        raise InputError("expected .txt files", path=references)
    return rows


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"is larger than {_LARGEST} bytes", path=path)
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", path=path) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError("is not valid JSON", path=path) from error


def _items(items: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    if not isinstance(items, list):
        raise InputError("expected a list", path=path)
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError("expected a table", path=path, field=f"entry {number}", value=item)
        yield item


def _conversations(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, item in enumerate(_items(_json(path), path)):
        turns = item.get("conversations")
        good = isinstance(turns, list) and all(
            isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
            for turn in turns
        )
        if not good or "id" not in item:
            raise InputError("expected id and conversations of from and value", path=path, field=f"entry {number}")
        yield item


def _predictions(path: Path) -> dict[str, str]:
    """Texts by question; of two the last counts. A blank line is an error, as in the reference."""
    given = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError("is not a JSON object (blank lines count)", path=path, field=f"line {number}") from error
        if not isinstance(item, dict) or "question_id" not in item or not isinstance(item.get("text"), str):
            raise InputError("expected question_id and text", path=path, field=f"line {number}")
        given[str(item["question_id"])] = item["text"]
    return given


class _Plain(pickle.Unpickler):
    """Reads numbers, strings, lists and tables; refuses to look up anything else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _plain_pickle(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"is larger than {_LARGEST} bytes", path=path)
        return _Plain(io.BytesIO(path.read_bytes())).load()
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except Exception as error:  # a hostile pickle can fail in any way
        raise InputError(f"is not a pickle of plain values: {error}", path=path) from error
