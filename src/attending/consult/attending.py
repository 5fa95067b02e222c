"""Attending: asks a model about a study, with experts at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attending.consult.answer import Answer
from attending.consult.carry_out import RunExpert
from attending.consult.chat import Chat
from attending.consult.codecs import codec_for
from attending.consult.domain import Domain
from attending.consult.events import Event
from attending.consult.loop import Codec, Options, Run, Said, Say
from attending.consult.question import Question
from attending.errors import AttendingError, NotAvailableError
from attending.experts import Expert, Finding, experts, find_expert, run_expert
from attending.imaging import Picture, Study
from attending.model import Backend, LocalModel, RemoteModel, answer_together


@dataclass(frozen=True, eq=False)
class Case:
    """One question of many; see `Attending.ask` for the fields."""

    question: str
    study: Study | None = None
    pictures: tuple[Picture, ...] | None = None
    series: str | None = None


class Attending:
    """A model with experts at hand.

    Args:
        backend: The model; see `attending.model.load_backend`.
        experts: Those that may be asked, or their names; None takes all that can run here, an empty list none.
        options: How questions are consulted.
        codec: How the model is told of experts; by default what suits it, see `codec_for`.
        run: What carries out each call.
        writer: What `Answer.save` does; `attending.load` gives `attending.reporting.write`.
        domain: What the model learned from, so that answers about studies unlike that say so; None says nothing.

    Raises:
        InputError: A name that no expert has.
        NotAvailableError: An expert that was named cannot run here.
    """

    def __init__(
        self,
        backend: Backend,
        experts: Sequence[Expert | str] | None = None,
        options: Options = Options(),  # noqa: B008 (frozen)
        codec: Codec | None = None,
        run: RunExpert = run_expert,
        writer: Callable[[Answer, Path], list[Path]] | None = None,
        domain: Domain | None = None,
    ) -> None:
        self.backend = backend
        self.writer = writer
        self.domain = domain
        self.options = options
        self.run = run
        self.named = any(isinstance(one, str) for one in experts or ())
        self.experts, self.warnings = _there(experts)
        given, can_call = codec_for(backend)
        self.codec = codec or given
        self.routes = options.route or (codec is None and not can_call)

    def ask(
        self,
        study: Study | None,
        question: str,
        *,
        series: str | None = None,
        pictures: Sequence[Picture] | None = None,
    ) -> Answer:
        """Answer one question.

        Args:
            study: What it is about; None for a question without images, or about `pictures` alone, which no expert
                can examine.
            question: In ordinary words.
            series: Id, number or description of the series to show to the model; by default the largest.
            pictures: Shown to the model instead of what would be.

        Raises:
            InputError: The question is empty, the study holds several patients, its voxels cannot be read, or the
                conversation is longer than the model's context.
            NotAvailableError: The model's server cannot be reached.
        """
        return self.chat(study).ask(question, series=series, pictures=pictures)

    def stream(self, study: Study | None, question: str, **how: Any) -> Iterator[Event]:
        """Answer one question, telling what happens as it happens; arguments and errors as `ask`."""
        return self.chat(study).stream(question, **how)

    def chat(self, study: Study | None) -> Chat:
        """Begin a conversation about a study, in which later questions know the earlier ones."""
        return Chat(self, study)

    def ask_many(self, cases: Iterable[Case], batch: int = 8) -> Iterator[Answer | AttendingError]:
        """Answer many questions, a few at a time, in their order.

        The texts are those of `ask`; models that can, compute the texts of a batch together.

        Args:
            cases: The questions.
            batch: How many go on at once.

        Yields:
            An answer for each, or the error that `ask` would raise.
        """
        early: dict[int, Answer | AttendingError] = {}
        turn = 0
        for number, answer in self.as_answered(cases, batch):
            early[number] = answer
            while turn in early:
                yield early.pop(turn)
                turn += 1

    def as_answered(self, cases: Iterable[Case], batch: int = 8) -> Iterator[tuple[int, Answer | AttendingError]]:
        """As `ask_many`, but each answer as soon as it is there, with the number of its case from 0."""
        waiting: list[tuple[int, Case]] = []
        for number, case in enumerate(cases):
            waiting.append((number, case))
            if len(waiting) == batch:
                yield from self._together(waiting)
                waiting = []
        yield from self._together(waiting)

    def _together(self, cases: Sequence[tuple[int, Case]]) -> Iterator[tuple[int, Answer | AttendingError]]:
        """Take a batch of questions forward in step: all texts that are needed, then all findings, and so on."""
        results: dict[int, Answer | AttendingError] = {}
        going: dict[int, tuple[Question, Say | Run]] = {}

        def advance(number: int, question: Question, step: Callable[[], Say | Run]) -> None:
            try:
                going[number] = (question, step())
            except StopIteration as end:
                results[number] = question.answer(end.value)
            except AttendingError as error:
                results[number] = error

        for number, case in cases:
            try:
                question = self.chat(case.study).begin(case.question, case.series, case.pictures)
            except AttendingError as error:
                results[number] = error
            else:
                advance(number, question, question.first)
        yield from _drained(results)
        while going:
            needed, going = going, {}
            for number, reply in self._replies(needed):
                if isinstance(reply, AttendingError):
                    results[number] = reply
                else:
                    question = needed[number][0]
                    advance(number, question, partial(question.send, reply))
                yield from _drained(results)

    def _replies(
        self, needed: Mapping[int, tuple[Question, Say | Run]]
    ) -> Iterator[tuple[int, Said | list[Finding] | AttendingError]]:
        """What each question waits for, as soon as it is there: texts, then findings."""
        yield from self._texts({number: need for number, (_, need) in needed.items() if isinstance(need, Say)}, needed)
        for number, (question, need) in needed.items():
            if isinstance(need, Run):
                yield number, question.carried_out(need)

    def _texts(
        self, says: Mapping[int, Say], needed: Mapping[int, tuple[Question, Any]]
    ) -> Iterator[tuple[int, Said | AttendingError]]:
        """What the model says to each, as soon as it is said; a conversation that it cannot take gets its error."""
        model = self.backend
        began = time.monotonic()
        if isinstance(model, LocalModel) and model.lean is not None:
            asked = [(say.messages, say.pictures) for say in says.values()]
            try:
                texts = answer_together(model, asked, self.options.sampling)
            except AttendingError:  # one does not fit, which is told before anything is computed: each by itself
                pass
            else:
                share = (time.monotonic() - began) / max(1, len(says))
                yield from ((n, needed[n][0].heard(text, share)) for n, text in zip(says, texts, strict=True))
                return

        def text(number: int) -> tuple[int, Said | AttendingError]:
            question = needed[number][0]
            try:
                for _ in question.say(says[number]):
                    pass
                return number, question.said
            except AttendingError as error:
                return number, error

        if not isinstance(model, RemoteModel):
            yield from map(text, says)
            return
        with ThreadPoolExecutor(model.at_once) as pool:
            for done in as_completed([pool.submit(text, number) for number in says]):
                yield done.result()


def _drained(results: dict[int, Any]) -> Iterator[tuple[int, Any]]:
    """What there is, taken out."""
    while results:
        yield results.popitem()


def _there(given: Sequence[Expert | str] | None) -> tuple[list[Expert], list[str]]:
    """The experts on offer, and why others are not."""
    if given is not None:
        named = [find_expert(one) if isinstance(one, str) else one for one in given]
        for expert in named:
            missing = expert.available()
            if missing is not None:
                raise NotAvailableError(f"{expert.card.name}: {missing}")
        return named, []
    found, problems = experts()
    missing_by = {name: expert.available() for name, expert in found.items()}
    absent = [f"{name} is not available here: {why}" for name, why in missing_by.items() if why is not None]
    return [expert for name, expert in found.items() if missing_by[name] is None], [*absent, *problems]
