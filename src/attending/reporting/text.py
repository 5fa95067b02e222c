"""tell: an answer as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attending.consult import NOTICE, Answer
from attending.errors import printable, printable_lines
from attending.experts import Finding
from attending.reporting.page import STATUS
from attending.reporting.tables import measurement_table, score_rows

_FEW = 20
_BAR = 20


def tell(answer: Answer) -> str:
    """The answer, then the claims that need care, the findings, the experts without a result, and the notice.

    Control characters, also bidirectional ones, are written out, so that no terminal obeys them.
    """
    parts = [printable_lines(answer.text).strip() or "(no text)"]
    if answer.status in STATUS:
        parts.append(STATUS[answer.status])
    flagged = [f'! {one.verdict}: "{printable(one.sentence)}" ({printable(one.detail)})' for one in answer.flags]
    if flagged:
        parts.append("\n".join(["Claims that need care:", *flagged]))
    for finding in answer.findings:
        parts.append("\n".join(_finding(finding, answer)))
    if answer.warnings:
        parts.append("\n".join(f"warning: {printable(text, 1000)}" for text in answer.warnings))
    return "\n\n".join([*parts, NOTICE])


def _finding(finding: Finding, answer: Answer) -> Iterator[str]:
    asked = ", ".join(f"{name}: {value}" for name, value in finding.record.arguments.items())
    name = printable(f"{finding.record.expert} ({asked})" if asked else finding.record.expert)
    if finding.status != "done":
        yield f"{name} {printable(finding.status)}, no result: {printable(finding.text, 1000)}"
        return
    yield name
    scores = score_rows(finding)
    table = measurement_table(finding, answer.study)
    if scores:
        rows = [(score.name, f"{score.value:.2f}", _bar(score.value), score.spread) for score in scores]
        yield from _aligned(rows)
    if table:
        yield from _aligned([table.head, *table.rows])
    if not scores and not table:
        yield f"  {printable(finding.text, 1000)}"
    yield from (f"  warning: {printable(text, 1000)}" for text in finding.warnings)


def _bar(value: float) -> str:
    filled = round(min(1.0, max(0.0, value)) * _BAR)
    return "#" * filled + "." * (_BAR - filled)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    shown = rows[: _FEW + 1]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(rows) > len(shown):
        yield f"  … and {len(rows) - len(shown)} more"
