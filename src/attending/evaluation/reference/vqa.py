"""Question answering: exact match of VQA-RAD, SLAKE and PathVQA; closed and open questions of MIMIC-VQA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from attending.errors import InputError
from attending.evaluation.reference.files import Answered
from attending.evaluation.reference.words import normalize_word

QUESTION_TYPES = ("abnormality", "presence", "view", "location", "level", "type")


def exact_match(rows: Sequence[Answered]) -> Mapping[str, float]:
    """VQA-RAD and SLAKE: `accuracy` of stripped lower-case strings.

    Kept: punctuation counts ("yes." is wrong); an id that comes twice is one question, with its last answer and last
    reference; a missing answer is wrong.
    """
    truth = {row.id: row.reference.strip().lower() for row in rows}
    given = {row.id: row.text.strip().lower() for row in rows if row.text is not None}
    right = sum(given.get(id_) == answer for id_, answer in truth.items())
    return {"accuracy": right / len(truth) if truth else 0.0}


def pathvqa(rows: Sequence[Answered]) -> Mapping[str, float]:
    """PathVQA: `accuracy` on rows whose fact `answer_type` is `yes/no`.

    Kept: answers are lower-cased, not stripped; a question that comes twice counts twice, with its last answer; a
    missing answer is wrong.
    """
    given = {row.id: row.text.lower() for row in rows if row.text is not None}
    asked = [row for row in rows if row.facts.get("answer_type") == "yes/no"]
    right = sum(given.get(row.id) == row.reference.lower() for row in asked)
    return {"accuracy": right / len(asked) if asked else 0.0}


def mimic_vqa(rows: Sequence[Answered]) -> Mapping[str, float]:
    """MIMIC-VQA: `wavg_closed` is reported; also averages over open questions and both by question type.

    Kept: what follows the last "Assistant: " is scored; any answer type but exactly `closed` is open; a type without
    closed questions reports 0 but leaves the average; recall counts how often the *answer* has a shared word, so
    repeating it pays.

    Raises:
        InputError: A row without an answer: the reference stops there too.
    """
    results: dict[str, float] = {}
    closed: list[tuple[float, int]] = []
    open_: list[tuple[float, int]] = []
    answers = {(row.facts.get("question_type"), row.id): row.text for row in rows}
    for kind in QUESTION_TYPES:
        right: list[float] = []
        recalls: list[float] = []
        for row in rows:
            if row.facts.get("question_type") != kind:
                continue
            text = answers[kind, row.id]
            if text is None:
                raise InputError(
                    "there is no prediction for this question; the reference protocol needs one for each",
                    field="question_id",
                    value=row.id,
                )
            mine = normalize_word(text.split("Assistant: ")[-1].lower().strip())
            theirs = normalize_word(row.reference.lower())
            if row.facts.get("answer_type") == "closed":
                right.append(float(mine == theirs))
            else:
                recalls.append(bag_of_words(mine, theirs)[2])
        for values, averages, name in ((right, closed, "closed"), (recalls, open_, "open")):
            mean = sum(values) / len(values) if values else 0.0
            results[f"{kind}_{name}"] = mean
            if values:
                averages.append((mean, len(values)))
    summary = {"wavg_closed": _weighted(closed), "wavg_open": _weighted(open_)}
    summary |= {"avg_closed": _plain(closed), "avg_open": _plain(open_)}
    counts = {"total_closed": float(sum(n for _, n in closed)), "total_open": float(sum(n for _, n in open_))}
    return {**summary, **counts, "total_qas": sum(counts.values()), **results}


def bag_of_words(candidate: str, reference: str) -> tuple[float, float, float]:
    """F1, precision and recall of the reference's word bags; both sides are normalised once more, as there."""
    mine = Counter(normalize_word(candidate).lower().split())
    theirs = Counter(normalize_word(reference).lower().split())
    shared = sum(count for word, count in mine.items() if word in theirs)
    if not shared:
        return 0.0, 0.0, 0.0
    surplus = sum(count for word, count in mine.items() if word not in theirs)
    missed = sum(count for word, count in theirs.items() if word not in mine)
    precision, recall = shared / (shared + surplus), shared / (shared + missed)
    return 2 * precision * recall / (precision + recall), precision, recall


def _weighted(parts: Sequence[tuple[float, int]]) -> float:
    total = sum(count for _, count in parts)
    return sum(value * count for value, count in parts) / total if total else float("nan")


def _plain(parts: Sequence[tuple[float, int]]) -> float:
    return sum(value for value, _ in parts) / len(parts) if parts else float("nan")
