"""Who may ask: bearers of the token, or programs on this machine."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from attending.serving.errors import ApiError

_OPEN = ("/health",)
"""What a load balancer may ask without a token."""


class Guard:
    """Refuses who may not ask.

    With a token, requests need it. Without one the server listens on this machine only, and requests must be addressed
    to it as such: a page from elsewhere in a browser here, whose host name was made to lead here, is refused.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or refuse."""
        error = self._refusal(scope) if scope["type"] == "http" else None
        if error is not None:
            await error.response()(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        if not self.token:
            host = headers.get("host", "")
            if is_local(host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host):
                return None
            return ApiError(403, "this server answers programs on its own machine; address it as 127.0.0.1")
        given = headers.get("authorization", "").encode("latin-1")
        if scope["path"] in _OPEN or hmac.compare_digest(given, f"Bearer {self.token}".encode("latin-1")):
            return None
        return ApiError(
            401,
            "give the server's token (its ATTENDING_TOKEN) as the API key",
            kind="authentication_error",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"
