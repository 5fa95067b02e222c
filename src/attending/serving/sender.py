"""The way to one client: knows how far the answer has gone out, so that an error takes the form that is left."""

from __future__ import annotations

from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

from attending.serving.errors import HEADERS, ApiError
from attending.serving.replies import event


class Sender:
    """Sends an answer, whole or as server-sent events."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._started = self._streams = False

    async def __call__(self, message: Message) -> None:
        """Send as ASGI does."""
        self._started = True
        await self._send(message)

    async def start_stream(self) -> None:
        """Begin a stream of events."""
        self._streams = True
        told = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no", **HEADERS}
        headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        await self({"type": "http.response.start", "status": 200, "headers": headers})

    async def part(self, data: bytes, more: bool = True) -> None:
        """Send events; the last ones with `more` false."""
        await self({"type": "http.response.body", "body": data, "more_body": more})

    async def fail(self, error: ApiError) -> None:
        """Tell an error: as the answer, or as the last event where the stream has begun."""
        if not self._started:
            await error.response()(self._scope, self._receive, self._send)
        elif self._streams:
            with suppress(OSError):
                await self.part(event(error.body()), more=False)
