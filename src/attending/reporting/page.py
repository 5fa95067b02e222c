"""The report: one HTML page that a clinician reads, with nothing in it that runs or reaches out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from attending.consult import NOTICE, Answer, Check
from attending.errors import printable_lines
from attending.experts import Finding
from attending.imaging import Series
from attending.reporting.album import Shot
from attending.reporting.plain import MAX_TEXT
from attending.reporting.tables import measurement_table, score_rows

_FEW_ROWS = 15
_FEW_CHECKS = 200
_LONG = 500  # characters of a finding that its table tells as well
STATUS = {
    "rounds": "The model still wanted to ask experts when its rounds were spent: this answer may be incomplete.",
    "seconds": "The model still wanted to ask experts when its time was spent: this answer may be incomplete.",
    "length": "The model's text was cut at its greatest length: this answer may be incomplete.",
    "cancelled": "The run was cancelled: this answer is incomplete.",
}
"""What a reader must know of an answer that is not `answered`."""


@dataclass(frozen=True)
class Plate:
    """One place shown: the structure it is about (or empty), its overlay, and the same slice plain."""

    about: str
    overlay: Shot
    plain: Shot | None


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A finding with its plates and the names of its files."""

    finding: Finding
    plates: tuple[Plate, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Passage:
    """A piece of the answer, and the flagged checks of it; together the passages are the text."""

    text: str
    flags: tuple[Check, ...] = ()


def render(answer: Answer, exhibits: Sequence[Exhibit], shown: Sequence[Shot], media: str) -> str:
    """The page.

    Every value is made harmless by `lines` and escaped by the template, whoever wrote it.

    Args:
        answer: What it tells.
        exhibits: The findings, in the answer's order.
        shown: The pictures that the question was asked with.
        media: Name of the folder of pictures and masks.
    """
    style = files("attending.reporting").joinpath("data/report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    passages, astray = passages_of(answer.said[:MAX_TEXT], answer.flags)
    findings = [_told(number, exhibit, answer) for number, exhibit in enumerate(exhibits, 1)]
    return _template().render(
        answer=answer,
        notice=NOTICE,
        policy=Markup(policy),  # made here, of nothing that anyone else wrote
        style=Markup(style),
        passages=passages,
        astray=astray,
        cut=max(0, len(answer.said) - MAX_TEXT),
        incomplete=STATUS.get(answer.status, ""),
        verdicts=Counter(check.verdict for check in answer.checks),
        done=[told for told in findings if told["finding"].status == "done"],
        without=[told for told in findings if told["finding"].status != "done"],
        shown=shown,
        series=_series(answer),
        rejected=_rejected(answer),
        not_asked=_not_asked(answer),
        media=media,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


@cache
def _template() -> Template:
    def shown(value: Any) -> Any:
        return value if isinstance(value, Markup) else printable_lines(value, MAX_TEXT)

    environment = Environment(
        autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("attending.reporting").joinpath("data/report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def passages_of(text: str, flags: Sequence[Check]) -> tuple[list[Passage], list[Check]]:
    """The text cut at the sentences that are flagged, and the flagged checks whose sentence is not in it.

    White space may differ between sentence and text. Of sentences that overlap, the first found is marked and the
    others are told apart.
    """
    by_sentence: dict[str, list[Check]] = {}
    for check in flags:
        by_sentence.setdefault(" ".join(check.sentence.split()), []).append(check)
    spans: list[tuple[int, int, list[Check]]] = []
    astray: list[Check] = []
    for sentence, checks in by_sentence.items():
        words = r"\s+".join(map(re.escape, sentence.split()))
        found = re.search(words, text) if words and len(spans) < _FEW_CHECKS else None
        if found is None or any(found.start() < end and start < found.end() for start, end, _ in spans):
            astray += checks
        else:
            spans.append((found.start(), found.end(), checks))
    passages, at = [], 0
    for start, end, checks in sorted(spans, key=lambda span: span[0]):
        passages += [Passage(text[at:start]), Passage(text[start:end], tuple(checks))]
        at = end
    return [*passages, Passage(text[at:])], astray


def _told(number: int, exhibit: Exhibit, answer: Answer) -> dict[str, Any]:
    """One finding as the template takes it."""
    finding = exhibit.finding
    table = measurement_table(finding, answer.study)
    rows = table.rows if table else ()
    scores = score_rows(finding)
    found = finding.segmentation
    missing = [] if found is None else [found.names[label] for label in sorted(set(found.names) - set(found.present))]
    legend = {entry: None for plate in exhibit.plates for entry in plate.overlay.legend}
    return {
        "number": number,
        "finding": finding,
        "plates": exhibit.plates,
        "legend": list(legend),
        "long": len(finding.text) > _LONG and table is not None,
        "head": table.head if table else (),
        "rows": rows[:_FEW_ROWS],
        "more_rows": rows[_FEW_ROWS:],
        "scores": scores,
        "spread": any(score.spread for score in scores),
        "missing": missing,
        "masks": [name for name in exhibit.files if name.endswith(".nii.gz")],
    }


def _series(answer: Answer) -> list[dict[str, Any]]:
    """Every series with its geometry, and what looked at it."""
    if answer.study is None:
        return []
    turns = answer.transcript.since_question
    pictures = Counter(picture.series for turn in turns for picture in turn.pictures if turn.role == "user")
    rows = []
    for series in answer.study.series:
        experts = [f.record.expert for f in answer.findings if f.status == "done" and series.id in f.record.inputs]
        count = pictures[series.id]
        looked = [f"{count} picture{'s' * (count > 1)} shown to the model"] if count else []
        looked += [f"examined by {name}" for name in dict.fromkeys(experts)]
        about = [series.body_part, series.sequence or "", _date(series.date)]
        rows.append({"series": series, "about": about, "facts": _facts(series), "looked": looked})
    return rows


def _facts(series: Series) -> list[str]:
    *_, frames = series.shape
    shape, what = (series.shape[:2], "pixels") if series.kind == "image" else (series.shape, "voxels")
    told = [" x ".join(map(str, shape)) + f" {what}"]
    if series.kind == "image" and frames > 1:
        told.append(f"{frames} frames")
    if series.channels > 1:
        told.append(f"{series.channels} channels")
    told.append(" x ".join(f"{mm:.3g}" for mm in series.spacing) + " mm" if series.spacing else "spacing unknown")
    return [*told, f"axes {series.orientation}"] if series.orientation else told


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if re.fullmatch(r"\d{8}", text) else text


def _rejected(answer: Answer) -> list[str]:
    """Why files could not be read, without their paths, which may name the patient."""
    if answer.study is None:
        return []
    reasons = Counter(": ".join(filter(None, (error.field, error.problem))) for error in answer.study.rejected)
    told = [f"{count} x {reason}" for reason, count in reasons.items()]
    return told + [f"{count} x {reason}" for reason, count in answer.study.skipped.items()]


def _not_asked(answer: Answer) -> list[str]:
    asked = {finding.record.expert for finding in answer.findings}
    turns = answer.transcript.since_question
    return [card.name for turn in turns for card in turn.cards if card.name not in asked]
