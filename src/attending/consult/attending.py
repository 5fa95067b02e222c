"""Attending: asks a model about a study, with experts at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from attending.consult.answer import Answer
from attending.consult.carry_out import RunExpert, carry_out
from attending.consult.checks import check
from attending.consult.codecs import codec_for
from attending.consult.events import Done, Event, TextDelta
from attending.consult.loop import Codec, Options, Outcome, Run, Said, Say, consultation
from attending.consult.router import route
from attending.consult.show import first_pictures, spoken_modality
from attending.consult.transcript import Call, Transcript, Turn
from attending.errors import AttendingError, InputError, NotAvailableError
from attending.experts import Expert, Finding, experts, find_expert, run_expert
from attending.imaging import Picture, Series, Study
from attending.model import Backend, LocalModel, Speaker, answer_together

_COMPUTE = ("attending", "torch", "transformers", "monai", "numpy", "pydicom", "nibabel")


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
    ) -> None:
        self.backend = backend
        self.writer = writer
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
        waiting: list[Case] = []
        for case in cases:
            waiting.append(case)
            if len(waiting) == batch:
                yield from self._together(waiting)
                waiting = []
        yield from self._together(waiting)

    def _together(self, cases: Sequence[Case]) -> list[Answer | AttendingError]:
        """Take a batch of questions forward in step: all texts that are needed, then all findings, and so on."""
        results: dict[int, Answer | AttendingError] = {}
        going: dict[int, tuple[_Question, Say | Run]] = {}

        def advance(number: int, question: _Question, step: Callable[[], Say | Run]) -> None:
            try:
                going[number] = (question, step())
            except StopIteration as end:
                results[number] = question.answer(end.value)
            except AttendingError as error:
                results[number] = error

        for number, case in enumerate(cases):
            try:
                question = self.chat(case.study).begin(case.question, case.series, case.pictures)
            except AttendingError as error:
                results[number] = error
            else:
                advance(number, question, question.first)
        while going:
            needed, going = going, {}
            says = {number: say for number, (_, say) in needed.items() if isinstance(say, Say)}
            told = self._texts(says, needed)
            for number, (question, need) in needed.items():
                reply = told[number] if isinstance(need, Say) else question.carried_out(need)
                if isinstance(reply, AttendingError):
                    results[number] = reply
                else:
                    advance(number, question, partial(question.send, reply))
        return [results[number] for number in range(len(cases))]

    def _texts(
        self, says: Mapping[int, Say], needed: Mapping[int, tuple[_Question, Any]]
    ) -> dict[int, Said | AttendingError]:
        """What the model says to each; a conversation that it cannot take gets its error."""
        model = self.backend
        told: dict[int, Said | AttendingError] = {}
        began = time.monotonic()
        if isinstance(model, LocalModel) and model.lean is not None:
            for number, say in says.items():
                try:
                    model.prompt(say.messages, say.pictures)
                except AttendingError as error:
                    told[number] = error
            fitting = [number for number in says if number not in told]
            texts = answer_together(
                model, [(says[n].messages, says[n].pictures) for n in fitting], self.options.sampling
            )
            told |= {number: Said(text, "stop") for number, text in zip(fitting, texts, strict=True)}
            for number in fitting:
                needed[number][0].model_seconds += (time.monotonic() - began) / len(fitting)
            return told
        for number, say in says.items():
            try:
                for _ in needed[number][0].say(say):
                    pass
                told[number] = needed[number][0].said
            except AttendingError as error:
                told[number] = error
        return told


class Chat:
    """A conversation about one study. Not to be used from two threads at once.

    Attributes:
        transcript: All turns so far.
    """

    def __init__(self, attending: Attending, study: Study | None) -> None:
        self.attending = attending
        self.study = study
        self.transcript = Transcript()
        self._session: Speaker | None = None

    @property
    def session(self) -> Speaker:
        """The model's side of the conversation."""
        if self._session is None:
            self._session = self.attending.backend.session()
        return self._session

    def ask(self, question: str, *, series: str | None = None, pictures: Sequence[Picture] | None = None) -> Answer:
        """Answer the next question; see `Attending.ask`."""
        for event in self.stream(question, series=series, pictures=pictures):
            if isinstance(event, Done):
                return event.answer
        raise RuntimeError("a consultation ends with Done")

    def stream(
        self,
        question: str,
        *,
        series: str | None = None,
        pictures: Sequence[Picture] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Answer the next question, telling what happens as it happens.

        Args:
            question: See `Attending.ask`.
            series: See `Attending.ask`.
            pictures: See `Attending.ask`.
            cancelled: Asked now and then; True ends the consultation.
        """
        asked = self.begin(question, series, pictures, cancelled)
        return self._stream(asked)

    def _stream(self, asked: _Question) -> Iterator[Event]:
        try:
            need = asked.first()
            while True:
                if isinstance(need, Say):
                    yield from asked.say(need)
                    need = asked.send(asked.said)
                else:
                    findings = yield from asked.carry_out(need)
                    need = asked.send(findings)
        except StopIteration as end:
            answer = asked.answer(end.value)
        self.transcript = answer.transcript
        yield Done(answer)

    def begin(
        self,
        question: str,
        series: str | None = None,
        pictures: Sequence[Picture] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> _Question:
        """The next question, not yet asked.

        Raises:
            InputError: See `Attending.ask`.
        """
        if not question.strip():
            raise InputError("is empty; ask something", field="question")
        turn, chosen = self._user_turn(question, series, pictures)
        return _Question(self, self.transcript + turn, question, cancelled, chosen)

    def _user_turn(
        self, question: str, series: str | None, pictures: Sequence[Picture] | None
    ) -> tuple[Turn, Series | None]:
        """The user's turn: pictures and cards go with the first, and where the user names a series or pictures."""
        study, attending = self.study, self.attending
        first = not any(turn.role == "user" for turn in self.transcript.turns)
        if study is None:
            return Turn("user", question, tuple(pictures or ())), None
        known = {patient for patient in study.patients if patient.known}
        chosen = study.find(series) if series is not None else None
        if len(known) > 1:
            raise InputError(
                f"the study holds {len(known)} patients; open one patient's files", path=study.path, field="patients"
            )
        cards = () if attending.routes or not attending.options.rounds else tuple(e.card for e in attending.experts)
        if pictures is not None:
            modality = spoken_modality(chosen or study.series[0])
            return Turn("user", question, tuple(pictures), modality, cards), chosen
        if not first and chosen is None:
            return Turn("user", question), None
        shown = first_pictures(study, chosen, attending.codec.slices)
        return Turn("user", question, shown.pictures, shown.modality, cards), chosen


class _Question:
    """One question under way: the loop, what it has cost, and the answer it becomes."""

    def __init__(
        self, chat: Chat, transcript: Transcript, question: str, cancelled: Callable[[], bool], series: Series | None
    ) -> None:
        attending = chat.attending
        self.chat, self.question, self.cancelled = chat, question, cancelled
        self.began = time.monotonic()
        self.model_seconds = self.expert_seconds = 0.0
        self.first_text: float | None = None
        self.tokens = {"prompt": 0, "reused": 0, "new": 0}
        self.said = Said("", "stop")
        self.options = attending.options
        offered = attending.experts if attending.options.rounds or attending.routes else []
        self.experts = offered if chat.study is not None else []
        routed: list[Call] = []
        if attending.routes and chat.study is not None:
            routed = route(question, chat.study, self.experts, attending.named)
        self.loop = consultation(
            transcript, chat.study, self.experts, attending.codec, attending.options, self.spent, routed
        )

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
                if self.first_text is None:
                    self.first_text = time.monotonic() - self.began
                parts.append(delta.text)
                yield TextDelta(delta.text)
            if delta.finish is not None:
                finish = delta.finish
                self.tokens["prompt"] += delta.prompt_tokens
                self.tokens["reused"] += delta.reused_tokens
                self.tokens["new"] += delta.new_tokens
        self.model_seconds += time.monotonic() - began
        self.said = Said("".join(parts), finish)

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
            text=outcome.text,
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


def _versions() -> dict[str, str]:
    found = {}
    for name in _COMPUTE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
