"""consult: the model asks experts about a study, reads their results back, and answers."""

from attending.consult.answer import NOTICE, Answer, Check
from attending.consult.transcript import Call, Transcript, Turn

__all__ = ["NOTICE", "Answer", "Call", "Check", "Transcript", "Turn"]
