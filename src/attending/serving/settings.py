"""Settings: what a server is called, who may use it, and what one request may cost."""

from __future__ import annotations

from dataclasses import dataclass

from attending.errors import InputError

_MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How a server serves.

    Attributes:
        name: What clients call the model.
        token: Bearer token that every request must carry; empty for none.
        modality: What pictures were made with, where a request does not say; see `open_study`.
        body_part: What they show, where a request does not say.
        queue: Requests that may wait; more are told to come back.
        seconds: Time for one request, waiting included.
        body: Bytes of a request.
        body_seconds: Time for them to arrive.
        images: Pictures in one conversation.
        pixels: Pixels of all of them together.
        messages: Messages in one conversation.
        text: Characters of one message.
    """

    name: str
    token: str = ""
    modality: str | None = None
    body_part: str | None = None
    queue: int = 32
    seconds: float = 600.0
    body: int = 32 * _MIB
    body_seconds: float = 60.0
    images: int = 16
    pixels: int = 100_000_000
    messages: int = 256
    text: int = 100_000

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise InputError("expected a name without control characters", field="name", value=self.name)
        if not all("!" <= char <= "~" for char in self.token):
            raise InputError("expected letters, digits and signs of ASCII, without spaces", field="ATTENDING_TOKEN")
