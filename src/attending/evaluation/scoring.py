"""Scoring: what an answer says, what the reference says, and what the one is worth beside the other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from attending.consult.claims import claims
from attending.evaluation.metrics import SCORERS as _SCORERS
from attending.evaluation.metrics import Row, Scorer
from attending.evaluation.parse import Parsed, clean, parse
from attending.evaluation.parse_words import REFUSAL
from attending.evaluation.sources import LETTERS, Sample
from attending.evaluation.task import Part

_PERCENT = re.compile(r"(?<![\d.,])(100|\d{1,2})(?:\.\d+)?\s*(?:%|percent\b)")
_OF_A_FINDING = re.compile(r"\bgives\b[^.%]*\d\s?%|%,? so (?:yes|no)\b", re.IGNORECASE)
"""The probability of what is asked, as an expert gives it (`CXR gives effusion 3%, so no`): not sureness."""
_DECLINES = re.compile(
    r"\b(?:cannot|can't|can not|do(?:es)? not|don't|doesn't|alone|unable|impossible|not possible)\b[^.]{0,60}"
    r"\b(?:answer\w*|tell|show\w*|know\w*|say|determin\w*|seen|see|visible|contain\w*)\b"
    r"|\bnot (?:shown|imaged|included|on th)"
)


def declines(parsed: Parsed, reference: Any) -> float:
    """1 when the answer says that the images cannot tell."""
    text = str(parsed.value).lower() if parsed.valid else ""
    return float(REFUSAL.search(text) is not None or _DECLINES.search(text) is not None)


def verbatim(parsed: Parsed, reference: Any) -> float:
    """1 when both are the same in small letters, spaces around them aside; punctuation counts, as in the reference."""
    return float(parsed.valid and str(parsed.value).strip().lower() == str(reference).strip().lower())


def same_findings(parsed: Parsed, reference: Any) -> float:
    """1 when all that the reference says is there, or not, the answer says too, in whatever words the checks read."""
    told, wanted = (_stated(str(text)) for text in (parsed.value if parsed.valid else "", reference))
    return float(bool(wanted) and all(told.get(subject) == verdicts for subject, verdicts in wanted.items()))


def _stated(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for claim in claims(text, "", frozenset(), frozenset()):
        if claim.kind in ("presence", "absence"):
            found.setdefault(claim.subject, set()).add(claim.kind)
    return found


SCORERS: dict[str, Scorer] = {**_SCORERS, "declines": declines, "same_findings": same_findings, "verbatim": verbatim}
"""What a task's `scorer` may be."""


def row_of(part: Part, sample: Sample, text: str, error: str = "") -> Row:
    """One answer judged. What cannot be judged is invalid and scores 0; it stays in the denominator.

    Args:
        part: Of the task.
        sample: What was asked.
        text: What the model wrote.
        error: Why it was not asked.
    """
    reference = reference_of(part, sample)
    cluster = sample.patient or sample.place
    if error or reference is None:
        parsed = Parsed(None, False, "could not be asked" if error else "reference cannot be read")
        return Row(parsed, reference, 0.0, math.nan, cluster, sample.group)
    parsed = read_answer(part, sample, text)
    score = float(SCORERS[part.scorer](parsed, reference)) if parsed.valid else 0.0
    if not math.isfinite(score):
        return Row(Parsed(None, False, "score is no number"), reference, 0.0, math.nan, cluster, sample.group)
    return Row(parsed, reference, score, _probability(parsed, text), cluster, sample.group)


def read_answer(part: Part, sample: Sample, text: str) -> Parsed:
    """What the part's parser reads from a text."""
    return parse(**_parser(part, sample), text=text)


def reference_of(part: Part, sample: Sample) -> Any:
    """The reference answer as a value of the parser's type; None when it cannot be read as one."""
    kind = part.parser["kind"]
    if kind == "text":
        return sample.answer or None
    if kind == "option":
        labels = dict(zip(LETTERS, sample.options, strict=False))
        if sample.answer in labels:
            return sample.answer
        wanted = sample.answer.strip().lower()
        return next((label for label, option in labels.items() if option.strip().lower() == wanted), None)
    if kind == "number":
        try:
            return float(sample.answer)
        except ValueError:
            pass
    parsed = read_answer(part, sample, sample.answer)
    return parsed.value if parsed.valid else None


def shown(value: Any) -> str:
    """A parsed value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def categories(part: Part, rows: Sequence[Row]) -> list[str]:
    """The classes of a part whose answers are classes, in order; empty for any other."""
    if part.parser["kind"] == "yes_no":
        return ["yes", "no"]
    if part.parser["kind"] == "option":
        return sorted({str(row.reference) for row in rows if row.reference is not None})
    return []


def _parser(part: Part, sample: Sample) -> dict[str, Any]:
    told = dict(part.parser)
    if told["kind"] == "option" and "options" not in told:
        told["options"] = sample.options
    return told


def _probability(parsed: Parsed, text: str) -> float:
    """What the answer says of its own sureness, as the probability of yes for yes or no; NaN where it says nothing."""
    said = _PERCENT.findall(clean(text))
    if not parsed.valid or len(said) != 1:
        return math.nan
    sure = float(said[0]) / 100
    return 1 - sure if parsed.value is False and not _OF_A_FINDING.search(text) else sure
