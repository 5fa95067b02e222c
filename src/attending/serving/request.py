"""A request for a chat completion, read strictly: what cannot be honoured is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from attending.errors import InputError
from attending.model import Sampling
from attending.serving.errors import ApiError
from attending.serving.messages import Message, read_messages
from attending.serving.settings import Settings

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
}
"""Fields that are taken where they ask for nothing."""
_UNUSED = ("user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier")
"""Fields that tell OpenAI who asks and how to bill; no text depends on them."""
_READ = (
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "seed", "stop", "attending",
)  # fmt: skip
_MAX_STOPS, _MAX_STOP = 4, 200


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        system: What the conversation begins with; empty for none.
        messages: User and assistant in turn, the user first and last.
        images: Files of the conversation's pictures, in order.
        sampling: How the text is chosen.
        stream: Send it as it comes.
        usage: Send the numbers of tokens at the end of the stream.
        modality: What the pictures were made with; None when neither request nor server say.
        body_part: What they show; likewise.
    """

    system: str
    messages: tuple[Message, ...]
    images: tuple[bytes, ...]
    sampling: Sampling
    stream: bool
    usage: bool
    modality: str | None
    body_part: str | None


def read_request(body: bytes, settings: Settings, default: Sampling) -> Asked:
    """Read a request's body.

    Args:
        body: As it came.
        settings: The server's.
        default: Sampling where the request does not say; its `max_new_tokens` is the most a request may ask for.

    Raises:
        InputError: It is no such request, goes beyond a limit, or asks for what is not done here.
        ApiError: It names another model.
    """
    asked = {key: value for key, value in _json(body).items() if value is not None}
    for key, value in asked.items():
        if key in _NEUTRAL:
            if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in _NEUTRAL[key]):
                raise InputError("is not done by this server; leave it out", field=key, value=json.dumps(value))
        elif key not in _READ and key not in _UNUSED:
            raise InputError("is not known to this server; leave it out", field=key)
    name = asked.get("model")
    if not isinstance(name, str):
        raise InputError("expected the model's name", field="model", value=name)
    if name != settings.name:
        raise ApiError(404, f"there is no model {name!r}; there is {settings.name!r}", code="model_not_found",
                       param="model")  # fmt: skip
    system, messages, images = read_messages(asked.get("messages"), settings)
    options = _table(asked, "stream_options", ("include_usage", "include_obfuscation"))
    hints = _table(asked, "attending", ("modality", "body_part"))
    for key, value in hints.items():
        if not isinstance(value, str) or len(value) > 64:
            raise InputError("expected a short text", field=f"attending.{key}", value=value)
    return Asked(
        system,
        messages,
        images,
        _sampling(asked, default),
        _flag(asked, "stream"),
        _flag(options, "include_usage"),
        hints.get("modality", settings.modality),
        hints.get("body_part", settings.body_part),
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        held = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON ({type(error).__name__}: {error})") from None
    if not isinstance(held, dict):
        raise InputError("the body must be a JSON object with model and messages")
    return held


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _sampling(asked: dict[str, Any], default: Sampling) -> Sampling:
    limits = [key for key in ("max_tokens", "max_completion_tokens") if key in asked]
    if len({asked[key] for key in limits if isinstance(asked[key], int)}) > 1:
        raise InputError("contradicts max_completion_tokens; give one", field="max_tokens", value=asked["max_tokens"])
    tokens = [_number(asked, key, 1, default.max_new_tokens, default.max_new_tokens, whole=True) for key in limits]
    stop = asked.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS or not all(_is_stop(one) for one in stops):
        raise InputError(f"expected up to {_MAX_STOPS} texts of 1 to {_MAX_STOP} characters", field="stop")
    return Sampling(
        int(tokens[0]) if tokens else default.max_new_tokens,
        float(_number(asked, "temperature", 0, 2, default.temperature)),
        float(_number(asked, "top_p", 1e-6, 1, default.top_p)),
        int(_number(asked, "seed", -(1 << 63), (1 << 63) - 1, default.seed, whole=True)),
        tuple(stops),
    )


def _is_stop(one: Any) -> bool:
    return isinstance(one, str) and 0 < len(one) <= _MAX_STOP


def _number(
    asked: dict[str, Any], key: str, low: float, high: float, default: float, *, whole: bool = False
) -> float | int:
    value = asked.get(key, default)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"expected {kind} from {low:,} to {high:,}", field=key, value=value)
    return value


def _flag(asked: dict[str, Any], key: str) -> bool:
    value = asked.get(key, False)
    if not isinstance(value, bool):
        raise InputError("expected true or false", field=key, value=value)
    return value


def _table(asked: dict[str, Any], key: str, known: tuple[str, ...]) -> dict[str, Any]:
    value = asked.get(key, {})
    if not isinstance(value, dict) or not set(value) <= set(known):
        raise InputError(f"expected an object of {', '.join(known)}", field=key, value=json.dumps(value)[:200])
    return {name: one for name, one in value.items() if one is not None}
