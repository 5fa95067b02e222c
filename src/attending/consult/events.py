"""What happens during a consultation, as it happens."""

from __future__ import annotations

from dataclasses import dataclass

from attending.consult.answer import Answer
from attending.consult.transcript import Call
from attending.experts import Finding


@dataclass(frozen=True)
class TextDelta:
    """The model wrote `text`; what calls an expert is in it as written. The first may be the note before an answer."""

    text: str


@dataclass(frozen=True)
class ExpertStarted:
    """An expert began to examine the study."""

    call: Call


@dataclass(frozen=True)
class ExpertProgress:
    """An expert has done `done` of `total` equal parts of its work."""

    call: Call
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class ExpertFinished:
    """An expert is done, failed or refused; `finding.status` says which."""

    call: Call
    finding: Finding


@dataclass(frozen=True, eq=False)
class Done:
    """The consultation has ended; always the last event."""

    answer: Answer


Event = TextDelta | ExpertStarted | ExpertProgress | ExpertFinished | Done
