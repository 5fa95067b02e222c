"""The path of one question: the model speaks, its calls are carried out, it reads the findings and speaks again.

`consultation` computes nothing itself: it yields what it needs, a text of the model or findings of experts, and is sent
them. So one loop serves streaming to a person, batches of an evaluation, and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from attending.consult.calls import Found, unique, written_out
from attending.consult.transcript import Call, Transcript, Turn
from attending.experts import Expert, ExpertCard, Finding
from attending.experts.finding import Record
from attending.imaging import Picture, Study
from attending.model import Sampling

MAX_CALLS = 8
"""Calls of one text that are carried out; more are refused."""


class Codec(Protocol):
    """How one kind of model is told of experts, calls them, and is told what they found."""

    name: str
    slices: int
    together: bool

    def calls(self, text: str, cards: Sequence[ExpertCard]) -> list[Found]:
        """The calls in a model's text."""
        ...

    def tell(self, call: Call | None, finding: Finding, study: Study) -> Turn:
        """The expert's turn: what the model is told and shown of a finding."""
        ...

    def goes_on(self, text: str, findings: Sequence[Finding]) -> bool:
        """Whether the model is to speak again after these findings."""
        ...

    def closing(self, findings: Sequence[Finding]) -> str | None:
        """The answer where these findings must not be left to the model; None where it is to go on."""
        ...

    def unasked(self, question: str, answer: str) -> str | None:
        """What is said instead of an answer for which no expert on offer was asked; None where it may stand."""
        ...

    def messages(self, turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], list[Picture]]:
        """The conversation as back ends take it, to be continued by the assistant."""
        ...


@dataclass(frozen=True)
class Options:
    """How a question is consulted.

    Attributes:
        rounds: How often the model may have experts run before it must answer; 0 asks none.
        seconds: Wall-clock time for all of it. Text is cut and experts are stopped when it is spent.
        route: Ask experts before the model speaks, for a model that cannot call: those on offer that fit the study.
        sampling: How the model's text is chosen.
    """

    rounds: int = 3
    seconds: float = 1800.0
    route: bool = False
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.rounds < 0 or not self.seconds > 0:
            raise ValueError(f"rounds is {self.rounds}, seconds is {self.seconds}; expected 0 or more, and above 0")


@dataclass(frozen=True)
class Say:
    """The loop needs the model to continue this conversation; send it a `Said`."""

    messages: list[dict[str, Any]]
    pictures: list[Picture]


@dataclass(frozen=True)
class Said:
    """What the model wrote and why it stopped: `stop`, `length` or `cancelled`."""

    text: str
    finish: str


@dataclass(frozen=True)
class Run:
    """The loop needs these calls carried out, none of which needs another's result; send it a finding for each."""

    calls: list[tuple[Call, Expert]]


@dataclass(frozen=True)
class Outcome:
    """How a consultation ended; `status` as in `Answer`. `closed`: the text is not the model's, see `Codec`."""

    transcript: Transcript
    text: str
    status: str
    closed: bool = False


Consultation = Generator[Say | Run, Any, Outcome]


def consultation(
    transcript: Transcript,
    study: Study | None,
    experts: Sequence[Expert],
    codec: Codec,
    options: Options,
    spent: Callable[[], bool],
    routed: Sequence[Call] = (),
) -> Consultation:
    """Take a transcript that ends with a user's turn to an answer.

    Args:
        transcript: So far.
        study: What experts examine; None where there is only text, or only pictures.
        experts: Those that may be asked.
        codec: The model's.
        options: Of the consultation.
        spent: Whether the time is up.
        routed: Calls to carry out before the model speaks.
    """
    by_name = {expert.card.name: expert for expert in experts}
    known: dict[tuple[Any, ...], Finding] = {}
    if routed and study is not None:
        transcript = yield from _examine(transcript, routed, True, study, codec, by_name, known)
    rounds = 0
    while True:
        said: Said = yield Say(*codec.messages(transcript.turns))
        heard, transcript = transcript, transcript + Turn("assistant", said.text)
        found = codec.calls(said.text, [expert.card for expert in experts]) if study is not None else []
        text = written_out(said.text, found)
        if said.finish == "cancelled":
            return Outcome(transcript, text, "seconds" if spent() else "cancelled")
        if not found or study is None:
            nobody = study is not None and experts and not any(turn.finding for turn in transcript.turns)
            instead = codec.unasked(transcript.since_question[0].text, text) if nobody else None
            if instead is not None:
                return Outcome(heard + Turn("assistant", instead), instead, "answered", True)
            return Outcome(transcript, text, "length" if said.finish == "length" else "answered")
        if rounds >= options.rounds or spent():
            return Outcome(transcript, text, "seconds" if spent() else "rounds")
        rounds += 1
        before = len(transcript.turns)
        transcript = yield from _examine(transcript, unique(found), False, study, codec, by_name, known)
        findings = [turn.finding for turn in transcript.turns[before:] if turn.finding is not None]
        closing = codec.closing(findings)
        if closing is not None:
            return Outcome(transcript + Turn("assistant", closing), closing, "answered", True)
        if not codec.goes_on(said.text, findings):
            return Outcome(transcript, text, "answered")
        if spent():
            return Outcome(transcript, text, "seconds")


def _examine(
    transcript: Transcript,
    calls: Sequence[Call],
    by_router: bool,
    study: Study,
    codec: Codec,
    by_name: dict[str, Expert],
    known: dict[tuple[Any, ...], Finding],
) -> Generator[Run, list[Finding], Transcript]:
    """Add an expert's turn for each call; one that was answered before gets the same finding again."""
    for call in calls[MAX_CALLS:]:
        known.setdefault(call.key, _refused(call, f"at most {MAX_CALLS} calls are carried out at a time"))
    for call in calls:
        if call.problem or call.expert not in by_name:
            known.setdefault(call.key, _refused(call, call.problem or "is not available here"))
    new = [(call, by_name[call.expert]) for call in calls if call.key not in known]
    if new:
        findings = yield Run(new)
        known |= {call.key: finding for (call, _), finding in zip(new, findings, strict=True)}
    for call in calls:
        transcript += codec.tell(None if by_router else call, known[call.key], study)
    return transcript


def _refused(call: Call, why: str) -> Finding:
    name = call.expert or "unnamed expert"
    return Finding("refused", f"{name}: {why}", Record(name, arguments=dict(call.arguments)))
