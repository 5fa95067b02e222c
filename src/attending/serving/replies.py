"""What a client is sent: OpenAI's chat completion, whole or in pieces, with what the experts found beside the text."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

from attending.consult import Answer

WAITING = b": the model or an expert is at work\n\n"
"""A line that clients pass over; keeps a connection alive."""
_FINISH = {"answered": "stop"}
_ELSEWHERE = ("question", "answer", "model", "files")
"""What the completion has in places of its own, and files, of which a request leaves none."""
CALL_SIGNS = "<{[`"
"""Characters with which a model's call of an expert may begin."""


class Reply:
    """One completion.

    Args:
        name: The model's.
    """

    def __init__(self, name: str) -> None:
        self._common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The completion as one object."""
        message = {"role": "assistant", "content": _sound(answer.text), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": finish_of(answer), "logprobs": None}
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of(answer),
            "attending": told_of(answer),
        }

    def text(self, text: str) -> bytes:
        """An event with the next words."""
        return self._piece({"role": "assistant", "content": _sound(text)})

    def last(self, answer: Answer, usage: bool) -> bytes:
        """The events that end a stream: why it ended, what the experts found, and if asked for the tokens."""
        told = self._piece({}, finish_of(answer), attending=told_of(answer))
        return told + (self._event([], usage=usage_of(answer)) if usage else b"") + b"data: [DONE]\n\n"

    def _piece(self, delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
        return self._event([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}], **more)

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event({**self._common, "object": "chat.completion.chunk", "choices": choices, **more})


def event(told: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(told, allow_nan=False).encode() + b"\n\n"


def _sound(text: str) -> str:
    """The text without half characters, which no UTF-8 has and many clients break on."""
    return text.encode("utf-8", "replace").decode()


def finish_of(answer: Answer) -> str:
    """OpenAI's reason for the end: `length` wherever a budget cut the answer; `attending.status` says which."""
    return _FINISH.get(answer.status, "length")


def usage_of(answer: Answer) -> dict[str, Any]:
    """The numbers of tokens, over all rounds; 0 where a back end does not tell."""
    prompt, new = answer.tokens.get("prompt", 0), answer.tokens.get("new", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": answer.tokens.get("reused", 0)},
    }


def told_of(answer: Answer) -> dict[str, Any]:
    """Findings, checks and warnings as `attending ask --json` has them."""
    return {key: value for key, value in answer.to_dict().items() if key not in _ELSEWHERE}


class Live:
    """Text for a stream, as far as it is certain to be in the answer.

    What follows the first sign of a call is not told before the end, for a call is written out in the answer; and an
    answer has no space around it.

    Args:
        signs: Characters with which a call may begin.
    """

    def __init__(self, signs: str) -> None:
        self.sent = ""
        self._signs, self._text = signs, ""

    def add(self, text: str) -> str:
        """Take what the model said; returns what can be sent now."""
        self._text += text
        certain = self._text.lstrip()
        for sign in self._signs:
            certain = certain.partition(sign)[0]
        return self._send(certain.rstrip()[len(self.sent) :])

    def rest(self, answer: str) -> str:
        """What is left of the answer at its end; all of it, as a paragraph, where the model began anew.

        Space is trimmed in an answer, so what was sent may have more of it.
        """
        sent = re.match(r"\s+".join(map(re.escape, self.sent.split())), answer)
        return self._send(answer[sent.end() :] if sent else f"\n\n{answer}")

    def _send(self, text: str) -> str:
        self.sent += text
        return text
