"""The endpoint /v1/chat/completions: a request is read, waits for its turn, and is answered whole or as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from attending.consult import Attending, Done, Event, TextDelta
from attending.serving.body import read_body
from attending.serving.consulting import consult
from attending.serving.errors import HEADERS, ApiError, as_api_error
from attending.serving.replies import CALL_SIGNS, WAITING, Live, Reply
from attending.serving.request import Asked, read_request
from attending.serving.sender import Sender
from attending.serving.settings import Settings
from attending.serving.worker import Job, Worker

_GRACE = 5.0
"""Seconds that a consultation has to end by itself when its time is up."""
_BEAT = 15.0
"""Seconds after which a stream without text shows that it lives."""


class ChatCompletions:
    """The endpoint /v1/chat/completions. Requests share the model and nothing else.

    Attributes:
        requests: How many are waiting or being answered.
        worker: Where answers are computed, one at a time.
    """

    def __init__(self, attending: Attending, settings: Settings) -> None:
        self.attending, self.settings = attending, settings
        self.requests = 0
        self.worker: Worker[Event] = Worker()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        sender = Sender(scope, receive, send)
        until = time.monotonic() + self.settings.seconds
        try:
            with self._admitted():
                async with asyncio.timeout(self.settings.seconds + _GRACE):
                    await self._answer(Request(scope, receive), sender, until)
        except ClientDisconnect:
            pass
        except TimeoutError:
            await sender.fail(_too_long(self.settings.seconds))
        except Exception as error:
            await sender.fail(as_api_error(error))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self.requests > self.settings.queue:
            problem = f"{self.settings.queue} requests are waiting already; come back later"
            raise ApiError(
                429, problem, kind="rate_limit_error", code="rate_limit_exceeded", headers={"Retry-After": "2"}
            )
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    async def _answer(self, request: Request, sender: Sender, until: float) -> None:
        body = await read_body(request, self.settings)
        asked = await asyncio.to_thread(read_request, body, self.settings, self.attending.options.sampling)
        del body
        job = self.worker.submit(partial(self._consult, asked, until))
        leaving = asyncio.create_task(_cancel_when_gone(request.receive, job))
        try:
            if asked.stream:
                await self._stream(asked, job, sender)
            else:
                await self._whole(request, job, sender)
        finally:
            leaving.cancel()
            job.cancel()

    def _consult(self, asked: Asked, until: float, cancelled: Callable[[], bool]) -> Iterator[Event]:
        """In the worker's thread, when the turn has come."""
        left = until - time.monotonic()
        if left <= 0:
            raise _too_long(self.settings.seconds)
        yield from consult(self.attending, asked, self.settings.pixels, left, cancelled)

    async def _whole(self, request: Request, job: Job[Event], sender: Sender) -> None:
        while (event := await job.next()) is not None:
            if isinstance(event, Done):
                told = JSONResponse(Reply(self.settings.name).whole(event.answer), headers=HEADERS)
                await told(request.scope, request.receive, sender)

    async def _stream(self, asked: Asked, job: Job[Event], sender: Sender) -> None:
        """Send the answer as it comes.

        Where experts may be called, a text is the answer only when it has ended without a call: it is sent then.
        """
        reply = Reply(self.settings.name)
        may_call = bool(asked.images)
        live = Live(CALL_SIGNS if may_call else "")
        event = await job.next()  # before anything is sent, so that an error has its status
        await sender.start_stream()
        await sender.part(reply.text(""))
        while event is not None:
            if isinstance(event, TextDelta) and not (may_call and self.attending.experts):
                if text := live.add(event.text):
                    await sender.part(reply.text(text))
            elif isinstance(event, Done):
                if text := live.rest(event.answer.text):
                    await sender.part(reply.text(text))
                await sender.part(reply.last(event.answer, asked.usage))
            event = await _next(job, sender)
        await sender.part(b"", more=False)


async def _next(job: Job[Event], sender: Sender) -> Event | None:
    """The next event; shows that the stream lives while there is none."""
    while True:
        try:
            async with asyncio.timeout(_BEAT):
                return await job.next()
        except TimeoutError:
            await sender.part(WAITING)


async def _cancel_when_gone(receive: Receive, job: Job[Event]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    job.cancel()


def _too_long(seconds: float) -> ApiError:
    problem = f"no answer within {seconds:g} seconds, waiting included; ask for less, or when less is going on"
    # Clients that try again by themselves would make the server busier still.
    return ApiError(503, problem, kind="server_error", code="timeout", headers={"X-Should-Retry": "false"})
