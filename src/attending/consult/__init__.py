"""consult: the model asks experts about a study, reads their results back, and answers."""

from attending.consult.answer import NOTICE, Answer, Check
from attending.consult.attending import Attending, Case
from attending.consult.chat import Chat
from attending.consult.checks import check
from attending.consult.codecs import CODECS, codec_for
from attending.consult.domain import Domain, Judgement
from attending.consult.events import Done, Event, ExpertFinished, ExpertProgress, ExpertStarted, TextDelta
from attending.consult.loop import Codec, Options
from attending.consult.published import Published
from attending.consult.tools import Tools
from attending.consult.transcript import Call, Transcript, Turn

__all__ = [
    "CODECS",
    "NOTICE",
    "Answer",
    "Attending",
    "Call",
    "Case",
    "Chat",
    "Check",
    "Codec",
    "Domain",
    "Done",
    "Event",
    "ExpertFinished",
    "ExpertProgress",
    "ExpertStarted",
    "Judgement",
    "Options",
    "Published",
    "TextDelta",
    "Tools",
    "Transcript",
    "Turn",
    "check",
    "codec_for",
]
