"""What goes wrong with a request, as an HTTP status and OpenAI's error object."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from attending.errors import AttendingError, InputError, NotAvailableError, printable

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer: it is about a patient, and it is no page."""


class ApiError(AttendingError):
    """A request that ends with this HTTP status.

    Attributes:
        status: 400 to 599.
        kind: OpenAI's `type`.
        code: OpenAI's `code`, where there is one.
        param: The field at fault, where there is one.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param, self.headers = status, kind, code, param, headers or {}

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        told = {"message": printable(self, 2000), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> JSONResponse:
        """The answer to the request."""
        return JSONResponse(self.body(), self.status, {**HEADERS, **self.headers})


def as_api_error(error: BaseException) -> ApiError:
    """Any error as what the client is told: its own mistakes in full, ours without what is inside.

    Paths are left out: the client has none.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InputError):
        value = "" if error.value is None else f" is {error.value}"
        where = f"{error.field}{value}: " if error.field else ""
        return ApiError(400, where + error.problem, param=error.field)
    if isinstance(error, NotAvailableError):
        return ApiError(503, str(error), kind="server_error")
    return ApiError(500, "the server broke while answering; its log has more", kind="server_error")
