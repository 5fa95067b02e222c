"""Answer: what the user gets: text, the findings it rests on, what was checked, and how it came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from attending.consult.domain import Judgement
from attending.consult.transcript import Transcript
from attending.errors import NotAvailableError, printable, printable_lines
from attending.experts import Finding
from attending.imaging import Study


@dataclass(frozen=True)
class Check:
    """One claim of the answer held against the findings.

    Attributes:
        sentence: Where the answer makes it.
        kind: `presence`, `absence`, `size`, `count`, `side`, `probability` or `result` (the sentence speaks of an
            expert's result).
        subject: What it is about, as the finding names it; else in the answer's words.
        verdict: `supported`; `contradicted`: a finding says otherwise; `unsupported`: no finding speaks of it.
        detail: What the finding says, or why there is none, in a sentence.
        expert: Name of the expert whose finding was compared; empty where there is none.
    """

    sentence: str
    kind: str
    subject: str
    verdict: str
    detail: str
    expert: str = ""

    @property
    def flagged(self) -> bool:
        """Whether a reader must be warned."""
        return self.verdict != "supported"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("kind", "subject", "verdict", "sentence", "detail", "expert")
        return {name: printable(getattr(self, name), 2000) for name in names}


@dataclass(frozen=True, eq=False)
class Answer:
    """The outcome of one question.

    Attributes:
        question: As asked.
        text: The answer, calls written out as the expert's name; before it `domain`'s sentence, where the study is
            unlike what the model learned from. Taken as hostile: escape it in HTML.
        status: `answered`; `rounds` or `seconds`: the budget was spent while the model still wanted to call an expert;
            `length`: the model's text was cut; `cancelled`.
        findings: One for each call carried out, refused or failed, in order.
        checks: The claims of `text` held against `findings`.
        transcript: All turns, those of earlier questions included.
        study: What was asked about; None for a question without one.
        model: Name of the model.
        timings: Seconds: `total`, `model`, `experts`, `first_text`.
        tokens: `prompt`, `reused`, `new`: summed over the rounds of this question; 0 where a back end does not tell.
        seed: Of the sampling.
        versions: Of `attending` and what computed, by package name.
        warnings: What the reader should know of the study and the run, a sentence each.
        domain: Whether the study is like those the model learned from; None where nobody looked.
        writer: What `save` calls.
    """

    question: str
    text: str
    status: str
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    transcript: Transcript
    study: Study | None
    model: str
    timings: Mapping[str, float]
    tokens: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    domain: Judgement | None = None
    writer: Callable[[Answer, Path], list[Path]] | None = field(default=None, repr=False)

    def save(self, folder: str | PathLike[str]) -> list[Path]:
        """Write the answer for people and machines: report, pictures, masks, JSON; see `attending.reporting.write`.

        Raises:
            InputError: The folder cannot be written to.
        """
        if self.writer is None:
            raise NotAvailableError("this answer has no writer; use attending.reporting.write(answer, folder)")
        return self.writer(self, Path(folder))

    @property
    def said(self) -> str:
        """The model's own part of `text`, as `checks` and `transcript` have it."""
        return self.text.removeprefix(self.domain.note) if self.domain is not None else self.text

    @property
    def flags(self) -> list[Check]:
        """The checks a reader must be warned of."""
        return [check for check in self.checks if check.flagged]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `files` is for whoever writes them."""
        return {
            "question": printable_lines(self.question),
            "answer": printable_lines(self.text),
            "status": self.status,
            "findings": [finding.to_dict() for finding in self.findings],
            "checks": [check.to_dict() for check in self.checks],
            "warnings": [printable(text, 1000) for text in self.warnings],
            "domain": self.domain.to_dict() if self.domain is not None else None,
            "model": self.model,
            "seed": self.seed,
            "timings": dict(self.timings),
            "tokens": dict(self.tokens),
            "versions": dict(self.versions),
            "files": [],
            "notice": NOTICE,
        }


NOTICE = "For research use only. Not a medical device; not for diagnosis or treatment."
