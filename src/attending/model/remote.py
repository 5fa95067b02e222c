"""RemoteModel: any server that speaks OpenAI's chat completions (vLLM, SGLang, our own)."""

import base64
import http.client
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from attending.errors import InputError, NotAvailableError
from attending.imaging import Picture
from attending.model.decoding import Constraint, Delta, Sampling
from attending.model.messages import Messages, as_parts

_LINE = 10_000_000  # bytes of one event of the stream


class RemoteModel:
    """A model behind an OpenAI-compatible URL. The server keeps no conversation, so a session is the model itself.

    It may be asked from several threads; `at_once` is how many requests a batch sends together.

    Args:
        url: Such as `http://host:8000/v1#name`; what follows `#` is the model's name.
        api_key: Sent as bearer token; by default the environment's `ATTENDING_API_KEY`.
        timeout: Seconds to wait for the server, for each answer to a request and each event.

    Raises:
        InputError: When the URL is not http or https, or names no model.
    """

    at_once = 8

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 300) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("expected an address such as http://host:8000/v1#model-name", field="model", value=url)
        if not parts.fragment:
            raise InputError("name the model behind #, as in http://host:8000/v1#model-name", field="model", value=url)
        if parts.username or parts.password:
            raise InputError("put the key into ATTENDING_API_KEY, not into the address", field="model")
        self.name = parts.fragment
        self._parts = parts
        self._key = api_key if api_key is not None else os.environ.get("ATTENDING_API_KEY", "")
        self._timeout = timeout

    def session(self) -> "RemoteModel":
        """Begin a conversation."""
        return self

    def stream(
        self,
        messages: Messages,
        pictures: Sequence[Picture] = (),
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        constraint: Constraint | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Delta]:
        """Let the model continue a conversation; as `Session.stream`.

        Raises:
            InputError: When the server refuses the request (status 400 to 499).
            NotAvailableError: When it cannot be reached, is busy (408, 429), fails, or breaks off; or for a constraint,
                which needs the model's logits.
        """
        if constraint is not None:
            raise NotAvailableError("a constraint needs a local model; over the wire only text comes back")
        body = json.dumps(self._request(messages, pictures, sampling)).encode()
        return self._stream(body, cancelled)

    def _request(self, messages: Messages, pictures: Sequence[Picture], sampling: Sampling) -> dict[str, Any]:
        """The JSON body; pictures go as lossless PNG data addresses."""
        filled = as_parts(messages, list(pictures))
        for message in filled:
            message["content"] = [
                {"type": "image_url", "image_url": {"url": _data_url(part["image"])}} if "image" in part else part
                for part in message["content"]
            ]
            if message["role"] != "user":  # servers take parts from users only
                message["content"] = "".join(part.get("text", "") for part in message["content"])
        request: dict[str, Any] = {
            "model": self.name,
            "messages": filled,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        return {**request, "stop": list(sampling.stop)} if sampling.stop else request

    def _stream(self, body: bytes, cancelled: Callable[[], bool]) -> Iterator[Delta]:
        where = f"{self._parts.scheme}://{self._parts.netloc}"
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request("POST", self._parts.path.rstrip("/") + "/chat/completions", body, headers)
            with connection.getresponse() as response:  # which, where the server closes, owns the socket
                if response.status in (408, 429):
                    raise NotAvailableError(f"{where} is busy: {_reason(response.read(_LINE))}")
                if 400 <= response.status < 500:
                    raise InputError(_reason(response.read(_LINE)), field=where, value=response.status)
                if response.status != 200:  # no redirect is followed: the request carries pictures of patients
                    raise NotAvailableError(f"{where} answered with status {response.status}: {response.reason}")
                yield from _deltas(response, cancelled)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotAvailableError(
                f"{where} cannot be reached or broke off: {type(error).__name__} {error}"
            ) from error
        finally:
            connection.close()


def _deltas(response: http.client.HTTPResponse, cancelled: Callable[[], bool]) -> Iterator[Delta]:
    """Read server-sent events until `[DONE]`."""
    finish = None
    usage: dict[str, Any] = {}
    while line := response.readline(_LINE):
        if cancelled():
            yield Delta(finish="cancelled")
            return
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            break
        event = json.loads(data)
        if "error" in event:
            raise NotAvailableError(f"the server failed while answering: {_reason(data)}")
        usage = event.get("usage") or usage
        for choice in event.get("choices") or []:
            finish = choice.get("finish_reason") or finish
            text = (choice.get("delta") or {}).get("content")
            if text:
                yield Delta(text)
    if finish is None:
        raise ConnectionError("the stream ended without a finish_reason")
    yield Delta(
        finish="length" if finish == "length" else "stop",
        prompt_tokens=usage.get("prompt_tokens", 0),
        reused_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        new_tokens=usage.get("completion_tokens", 0),
    )


def _reason(body: bytes) -> str:
    """The message of an error envelope, or the body as it came."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:500].decode(errors="replace")


def _data_url(picture: Picture) -> str:
    buffer = io.BytesIO()
    picture.to_pil().save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
