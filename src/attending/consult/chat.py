"""Chat: a conversation about one study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from attending.consult.answer import Answer
from attending.consult.domain import without_note
from attending.consult.events import Done, Event, TextDelta
from attending.consult.loop import Say
from attending.consult.plain import plain
from attending.consult.question import Question
from attending.consult.show import first_pictures, told_modality
from attending.consult.transcript import Transcript, Turn
from attending.errors import InputError
from attending.imaging import Picture, Study
from attending.model import Speaker

if TYPE_CHECKING:
    from attending.consult.attending import Attending


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

    def _stream(self, asked: Question) -> Iterator[Event]:
        if asked.note:
            yield TextDelta(asked.note)
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
            if end.value.closed:
                yield TextDelta(end.value.text)
            answer = asked.answer(end.value)
        self.transcript = answer.transcript
        yield Done(answer)

    def recall(self, question: str, answer: str, pictures: Sequence[Picture] | None = None) -> None:
        """Take up an exchange that was made elsewhere, as a client tells it that keeps its conversation; asks nothing.

        Args:
            question: See `Attending.ask`.
            answer: What was answered. It may come from anyone, so it can call no expert and steer nothing.
            pictures: See `Attending.ask`.
        """
        self.transcript += self._user_turn(question, None, pictures)
        self.transcript += Turn("assistant", plain(without_note(answer)))

    def begin(
        self,
        question: str,
        series: str | None = None,
        pictures: Sequence[Picture] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Question:
        """The next question, not yet asked.

        Raises:
            InputError: See `Attending.ask`.
        """
        if not question.strip():
            raise InputError("is empty; ask something", field="question")
        turn = self._user_turn(question, series, pictures)
        return Question(self, self.transcript + turn, question, cancelled)

    def _user_turn(self, question: str, series: str | None, pictures: Sequence[Picture] | None) -> Turn:
        """The user's turn: pictures and cards go with the first, and where the user names a series or pictures."""
        study, attending = self.study, self.attending
        first = not any(turn.role == "user" for turn in self.transcript.turns)
        if study is None:
            return Turn("user", question, tuple(pictures or ()))
        known = {patient for patient in study.patients if patient.known}
        chosen = study.find(series) if series is not None else None
        if len(known) > 1:
            raise InputError(
                f"the study holds {len(known)} patients; open one patient's files", path=study.path, field="patients"
            )
        cards = () if attending.routes or not attending.options.rounds else tuple(e.card for e in attending.experts)
        if pictures is not None:
            modality = told_modality(study, chosen, attending.codec.together)
            return Turn("user", question, tuple(pictures), modality, cards)
        if not first and chosen is None:
            return Turn("user", question)
        shown = first_pictures(study, chosen, attending.codec.slices, attending.codec.together)
        return Turn("user", question, shown.pictures, shown.modality, cards)
