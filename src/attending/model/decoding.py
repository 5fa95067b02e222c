"""What happens between logits and text: choosing a token, and turning tokens into text that may be shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Constraint = Callable[[list[int], torch.Tensor], torch.Tensor]
"""Structured decoding: given the new ids so far and the next logits `[vocabulary]`, returns logits in which what is not
allowed is -inf. Adapters for grammar libraries are this function."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens and when to stop.

    Attributes:
        max_new_tokens: At most so many.
        temperature: 0 always takes the likeliest token.
        top_p: Draw from the likeliest tokens that together have this probability.
        seed: Of the draws; the same seed gives the same text.
        stop: Text ends before any of these strings.
    """

    max_new_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or "" in self.stop:
            raise ValueError(f"{self}: expected max_new_tokens >= 1, temperature >= 0, 0 < top_p <= 1, no empty stop")


@dataclass(frozen=True)
class Delta:
    """A piece of an answer as it comes.

    Attributes:
        text: New text.
        finish: None until the last piece; then why it ended.
        prompt_tokens: In the last piece: tokens of the prompt, pictures included.
        reused_tokens: In the last piece: prompt tokens that did not have to be computed again.
        new_tokens: In the last piece: tokens generated.
    """

    text: str = ""
    finish: Literal["stop", "length", "cancelled"] | None = None
    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0


def choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Choose the next token from `[vocabulary]` logits."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    likely, order = torch.softmax(logits.float() / sampling.temperature, dim=-1).sort(descending=True)
    before = likely.cumsum(0) - likely
    likely = likely.masked_fill(before >= sampling.top_p, 0.0)
    return int(order[torch.multinomial(likely.cpu(), 1, generator=generator)])


class Choices:
    """A constraint: the answer is exactly one of some strings, then ends.

    Args:
        tokenizer: The model's.
        options: What may be answered.
        end: Id of the token that ends an answer.
    """

    def __init__(self, tokenizer: Any, options: list[str], end: int) -> None:
        if not options:
            raise ValueError("Choices needs at least one option")
        self._paths = [[*tokenizer.encode(option, add_special_tokens=False), end] for option in options]

    def __call__(self, new_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        """Leave only tokens that continue one of the options."""
        done = len(new_ids)
        allowed = {path[done] for path in self._paths if path[:done] == new_ids and len(path) > done}
        kept = torch.full_like(logits, -torch.inf)
        index = torch.tensor(sorted(allowed), device=logits.device)
        kept[index] = logits[index]
        return kept


class TextWriter:
    """Turns generated ids into text piece by piece, holding back half characters and beginnings of stop strings."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self.ids: list[int] = []
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = stop
        self._shown = 0

    def add(self, token: int) -> str:
        """Take one more id; returns the text that can be shown now, and sets `stopped` at a stop string."""
        self.ids.append(token)
        text = self._text()
        ends = [text.find(stop) for stop in self._stop if stop in text]
        if ends:
            self.stopped = True
            return self._show(text, min(ends))
        if text.endswith("\ufffd"):  # the bytes of one character may come in several tokens
            return ""
        held = max((n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        return self._show(text, len(text) - held)

    def finish(self) -> str:
        """Return what was held back and is text after all."""
        return "" if self.stopped else self._show(text := self._text(), len(text))

    def _text(self) -> str:
        text: str = self._tokenizer.decode(self.ids, skip_special_tokens=True)
        return text

    def _show(self, text: str, end: int) -> str:
        new = text[self._shown : end]
        self._shown = max(self._shown, end)
        return new
