"""The HTTP API: /v1/chat/completions, /v1/models and /health."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from attending import __version__
from attending.consult import Attending
from attending.serving.completions import ChatCompletions
from attending.serving.errors import HEADERS, ApiError, as_api_error
from attending.serving.guard import Guard
from attending.serving.settings import Settings


def application(attending: Attending, settings: Settings) -> Starlette:
    """The API as an ASGI application.

    Args:
        attending: Answers; its `max_new_tokens` is the most that a request may ask for.
        settings: How to serve.
    """
    chat = ChatCompletions(attending, settings)
    began = int(time.time())

    async def models(_: Request) -> JSONResponse:
        model = {"id": settings.name, "object": "model", "created": began, "owned_by": "attending"}
        return JSONResponse({"object": "list", "data": [model]}, headers=HEADERS)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "version": __version__, "requests": chat.requests}, headers=HEADERS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        chat.worker.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        middleware=[Middleware(Guard, token=settings.token)],
        exception_handlers={ApiError: _refused, HTTPException: _no_route, Exception: _refused},
        lifespan=lifespan,
    )


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return as_api_error(error).response()


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 404)
    told = ApiError(
        status,
        f"there is no {request.method} {request.url.path}; there are POST /v1/chat/completions, GET /v1/models and "
        "GET /health",
        headers=dict(getattr(error, "headers", None) or {}),
    )
    return told.response()
