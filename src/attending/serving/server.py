"""A server that listens: its socket, and what runs the application."""

from __future__ import annotations

import copy
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG

from attending.errors import InputError
from attending.serving.guard import is_local

_LEAVE = 5
"""Seconds that requests have to end when the server is told to."""


def listen(host: str, port: int, token: str) -> socket.socket:
    """Open the socket.

    Args:
        host: Name or address.
        port: 0 takes any that is free.
        token: What requests must carry; needed where others than this machine's programs can reach the socket.

    Raises:
        InputError: No token where one is needed, or the socket cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not token and not is_local(str(address[0])):
            problem = "can be reached from other machines: set ATTENDING_TOKEN to what clients must give as API key"
            raise InputError(problem, field="host", value=host)
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be listened on: {reason}", field="host", value=f"{host}, port {port}") from None


def server(application: ASGIApp) -> uvicorn.Server:
    """What runs the application: `server(application).run(sockets=[listen(...)])`. Its log goes to stderr."""
    log = copy.deepcopy(LOGGING_CONFIG)
    log["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return uvicorn.Server(
        uvicorn.Config(
            application,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=log,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_LEAVE,
        )
    )
