"""The body of a request, as far as its limits let it in."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from attending.serving.errors import ApiError
from attending.serving.settings import Settings

_DRAINED = 4
"""Times the limit that is read to its end, and thrown away, for a client that is still sending hears no answer."""


async def read_body(request: Request, settings: Settings) -> bytes:
    """A request's body, within its limits.

    Raises:
        ApiError: It is not declared as JSON, too large, or takes too long to arrive.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no page of another site can send without being asked whether it may
        raise ApiError(415, "expected Content-Type: application/json")
    length = request.headers.get("content-length", "")
    parts: list[bytes] = []
    size = int(length) if length.isdecimal() and len(length) < 20 else 0
    if size <= _DRAINED * settings.body:
        size = 0
        try:
            async with asyncio.timeout(settings.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    parts.append(part)
                    if size > settings.body:
                        parts.clear()
                    if size > _DRAINED * settings.body:
                        break
        except TimeoutError:
            raise ApiError(408, f"the request did not arrive within {settings.body_seconds:g} seconds") from None
    if size > settings.body:
        raise ApiError(413, f"a request may have {settings.body:,} bytes", code="request_too_large")
    return b"".join(parts)
