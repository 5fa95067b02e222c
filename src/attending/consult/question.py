"""One question under way: the loop, what it costs, and the answer it becomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from attending.consult.answer import Answer
from attending.consult.carry_out import carry_out
from attending.consult.checks import check
from attending.consult.domain import Judgement
from attending.consult.events import Event, TextDelta
from attending.consult.loop import Outcome, Run, Said, Say, consultation
from attending.consult.router import route
from attending.consult.transcript import Call, Transcript
from attending.experts import Finding
from attending.model import Delta

if TYPE_CHECKING:
    from attending.consult.chat import Chat

_COMPUTE = ("attending", "torch", "transformers", "monai", "numpy", "pydicom", "nibabel")


class Question:
    """One question under way.

    Args:
        chat: The conversation it belongs to.
        transcript: So far, with the question as its last turn.
        question: As typed.
        cancelled: Asked now and then; True ends the consultation.

    Attributes:
        said: What the model said last.
        judgement: Whether the study is like those the model learned from; None where nobody looks.
    """

    def __init__(self, chat: Chat, transcript: Transcript, question: str, cancelled: Callable[[], bool]) -> None:
        attending = chat.attending
        self.chat, self.question, self.cancelled = chat, question, cancelled
        self.began = time.monotonic()
        self.model_seconds = self.expert_seconds = 0.0
        self.first_text: float | None = None
        self.tokens = {"prompt": 0, "reused": 0, "new": 0}
        self.said = Said("", "stop")
        self.options = attending.options
        shown = next((turn for turn in reversed(transcript.turns) if turn.role == "user" and turn.pictures), None)
        self.judgement: Judgement | None = None
        if attending.domain is not None and shown is not None:
            self.judgement = attending.domain.judge(chat.study, shown.pictures, shown.modality)
        offered = attending.experts if attending.options.rounds or attending.routes else []
        self.experts = offered if chat.study is not None else []
        routed: list[Call] = []
        if attending.routes and chat.study is not None:
            routed = route(question, chat.study, self.experts, attending.named)
        self.loop = consultation(
            transcript, chat.study, self.experts, attending.codec, attending.options, self.spent, routed
        )

    @property
    def note(self) -> str:
        """What the answer begins with, before the model's text; empty where there is nothing to tell."""
        return self.judgement.note if self.judgement is not None else ""

    def spent(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() - self.began >= self.options.seconds

    def first(self) -> Say | Run:
        """Start the loop: what it needs first."""
        return next(self.loop)

    def send(self, reply: Any) -> Say | Run:
        """Give the loop what it needed: what it needs next."""
        return self.loop.send(reply)

    def say(self, need: Say) -> Iterator[TextDelta]:
        """Let the model speak; leaves what it said in `said`."""
        began = time.monotonic()
        parts, finish = [], "stop"

        def stopped() -> bool:
            return self.cancelled() or self.spent()

        stream = self.chat.session.stream(need.messages, need.pictures, self.options.sampling, cancelled=stopped)
        for delta in stream:
            if delta.text:
                parts.append(delta.text)
                self._count(delta)
                yield TextDelta(delta.text)
            if delta.finish is not None:
                finish = delta.finish
                self._count(replace(delta, text=""))
        self.model_seconds += time.monotonic() - began
        self.said = Said("".join(parts), finish)

    def heard(self, delta: Delta, seconds: float) -> Said:
        """What the model said, computed elsewhere; `seconds` is this question's share of the time."""
        self.model_seconds += seconds
        self._count(delta)
        return Said(delta.text, delta.finish or "stop")

    def _count(self, delta: Delta) -> None:
        if delta.text and self.first_text is None:
            self.first_text = time.monotonic() - self.began
        self.tokens["prompt"] += delta.prompt_tokens
        self.tokens["reused"] += delta.reused_tokens
        self.tokens["new"] += delta.new_tokens

    def carry_out(self, need: Run) -> Generator[Event, None, list[Finding]]:
        """Have experts examine the study; returns their findings."""
        study = self.chat.study
        if study is None:
            raise RuntimeError("experts are not on offer without a study")
        began = time.monotonic()
        left = max(1e-3, self.options.seconds - (began - self.began))
        findings = yield from carry_out(need.calls, study, self.chat.attending.run, left, self.cancelled)
        self.expert_seconds += time.monotonic() - began
        return findings

    def carried_out(self, need: Run) -> list[Finding]:
        """`carry_out` for nobody who watches."""
        events = self.carry_out(need)
        while True:
            try:
                next(events)
            except StopIteration as end:
                found: list[Finding] = end.value
                return found

    def answer(self, outcome: Outcome) -> Answer:
        """The answer, checked against the findings."""
        chat = self.chat
        findings = tuple({id(one): one for one in outcome.transcript.findings}.values())
        offered = [expert.card.name for expert in self.experts]
        timings = {
            "total": time.monotonic() - self.began,
            "model": self.model_seconds,
            "experts": self.expert_seconds,
            "first_text": self.first_text if self.first_text is not None else 0.0,
        }
        return Answer(
            question=self.question,
            text=self.note + outcome.text,
            status=outcome.status,
            findings=findings,
            checks=check(outcome.text, self.question, findings, offered),
            transcript=outcome.transcript,
            study=chat.study,
            model=chat.attending.backend.name,
            timings={name: round(seconds, 3) for name, seconds in timings.items()},
            tokens=self.tokens,
            seed=self.options.sampling.seed,
            versions=_versions(),
            warnings=tuple(self._warnings(outcome, findings)),
            domain=self.judgement,
            writer=chat.attending.writer,
        )

    def _warnings(self, outcome: Outcome, findings: Sequence[Finding]) -> Iterator[str]:
        if outcome.status in ("rounds", "seconds"):
            spent = (
                f"{self.options.rounds} rounds" if outcome.status == "rounds" else f"{self.options.seconds:g} seconds"
            )
            yield f"The model had not finished when its {spent} were spent; the text is where it stopped."
        elif outcome.status == "length":
            yield "The model's text was cut at the greatest length allowed."
        if not outcome.text:
            yield "The model gave no text."
        if self.chat.study is not None:
            yield from self.chat.study.warnings
            yield from self.chat.attending.warnings
        yield from (f"{one.record.expert}: {text}" for one in findings for text in one.warnings)


@cache
def _versions() -> Mapping[str, str]:
    found = {}
    for name in _COMPUTE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
