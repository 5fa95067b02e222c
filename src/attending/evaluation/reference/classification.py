"""Chest X-ray classification: binary F1 of ChestX-ray14 and CheXpert, with the reference's way of reading an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attending.errors import InputError
from attending.evaluation.reference.files import Answered

CHESTXRAY14 = ("fracture", "pneumothorax", "lung_opacity")
CHEXPERT = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "pleural_effusion")
_LETTERS = {"a": 0, "b": 1, "c": 2, "d": 3, "yes": 1, "no": 0}
_CHEXPERT_LETTERS = {**_LETTERS, "e": 4, "f": 5}


def extract_answer(text: str, letters: Mapping[str, int]) -> int | None:
    """The number that an answer stands for; None where nothing is recognised.

    Kept: what is in brackets stands for the whole; then the first "yes", "no" or letter a to d anywhere in it, so
    "normal" and "unknown" are no, "mild" is d and "consolidated" c.
    """
    text = text.strip().lower()
    if "answer: " in text:
        text = text.replace("answer:", "").strip()
    if "a: " in text:
        text = text.replace("a: ", "").strip()
    bracketed = re.search(r"\(.*\)", text)
    if bracketed:
        text = bracketed[0][1:-1]
    first = re.search(r"yes|no|a|b|c|d", text)
    return letters.get(first[0] if first else text)


def chestxray14(rows: Sequence[Answered]) -> Mapping[str, float]:
    """`f1`: mean over the three classes of the binary F1; a reference with "YES" in it is positive.

    Kept: an answer that is not recognised is no; one answer worth 2 or more makes its class' F1 0.
    """
    return _mean_f1(rows, CHESTXRAY14, lambda reference: "YES" in reference, _LETTERS)


def chexpert(rows: Sequence[Answered]) -> Mapping[str, float]:
    """`f1`: mean over the five classes; a reference with "1" in it is positive, so "-1.0" and "0.1" are.

    Kept: one answer worth 2 or more makes its class' F1 0; one that is not recognised stops everything.

    Raises:
        InputError: An answer without yes, no or a letter, where the reference raises an error or stops in its debugger.
    """
    return _mean_f1(rows, CHEXPERT, lambda reference: "1" in reference, _CHEXPERT_LETTERS)


def _mean_f1(
    rows: Sequence[Answered], classes: Sequence[str], positive: Callable[[str], bool], letters: Mapping[str, int]
) -> Mapping[str, float]:
    results = {}
    for name in classes:
        asked = [row for row in rows if row.facts.get("class", "").lower() == name.lower()]
        answers = [_number(row, letters) for row in asked]
        results[name] = _f1(answers, [positive(row.reference) for row in asked])
    return {"f1": sum(results.values()) / len(classes), **results}


def _number(row: Answered, letters: Mapping[str, int]) -> int:
    text = (row.text or "").replace(",", ".").replace("\n", ". ")  # as it is written to the reference's table
    number = extract_answer(text, letters)
    if number is None and letters is _CHEXPERT_LETTERS:
        raise InputError(
            f"the reference's CheXpert metric stops at this answer (question {row.id}): it has no yes, no or letter",
            field="text",
            value=row.text,
        )
    return number or 0


def _f1(answers: Sequence[int], truth: Sequence[bool]) -> float:
    """scikit-learn's binary F1; 0 where it refuses because there are other values than two."""
    values = {*answers, *(int(true) for true in truth)}
    if len(values) > 2 or (len(values) == 2 and 1 not in values):
        return 0.0
    hits = sum(answer == 1 and true for answer, true in zip(answers, truth, strict=True))
    size = sum(answer == 1 for answer in answers) + sum(truth)
    return 2 * hits / size if size else 0.0
