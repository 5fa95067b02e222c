"""The two ways a local model computes: the lean one for VILA-M3 over Llama, and Transformers' forward for any other.

An engine belongs to one conversation. It keeps the keys and values of what it has computed, and computes of the next
prompt only what follows their common beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from attending.imaging import Picture
from attending.model.lean import KeyValueCache


@dataclass(frozen=True)
class Prompt:
    """A prompt ready to compute.

    Attributes:
        ids: Token ids, pictures expanded.
        keys: What each position is made of: its id, or the picture's digest. Equal keys give equal states.
        pictures: In the order of their placeholders.
        inputs: Tensors of the pictures, for an engine that hands them to the model's forward.
    """

    ids: list[int]
    keys: list[int | str]
    pictures: Sequence[Picture]
    inputs: dict[str, torch.Tensor]


class Engine(Protocol):
    """What a session asks of an engine."""

    def prefill(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Compute a prompt; returns the next token's logits `[vocabulary]` and how many positions were reused."""
        ...

    def step(self, token: int) -> torch.Tensor:
        """Append one token; returns the next token's logits `[vocabulary]`."""
        ...


def common(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the common beginning."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


class LeanEngine:
    """VILA-M3 over Llama: exact reuse of every common position, pictures encoded once per model."""

    def __init__(self, model: Any) -> None:
        self._model = model  # a LocalModel
        self._keys: list[int | str] = []
        self.cache = KeyValueCache()

    def prefill(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """See `Engine.prefill`."""
        # At least one position is computed, for its logits.
        reused = min(common(self._keys, prompt.keys), self.cache.length, len(prompt.keys) - 1)
        self.cache.length = reused
        self._keys = prompt.keys[:reused]
        logits = self._model.lean.forward(self._model.embed(prompt, reused), [self.cache])
        self._keys = list(prompt.keys)
        return logits[0], reused

    def step(self, token: int) -> torch.Tensor:
        """See `Engine.step`."""
        logits: torch.Tensor = self._model.lean.forward(self._model.embed_tokens([token]), [self.cache])
        self._keys.append(token)
        return logits[0]


class ForwardEngine:
    """Any Transformers image-text-to-text model, through its own forward.

    A prefix is reused where that is certain to be right: plain caches, positions that count from the cache, and all
    earlier pictures inside the prefix. Otherwise the prompt is computed whole.
    """

    def __init__(self, model: Any) -> None:
        self._model = model  # a LocalModel
        self._keys: list[int | str] = []
        self._pictures: list[str] = []
        self._placeholders = 0
        self._cache: Any = None
        self._rope_deltas: Any = None  # Qwen-VL keeps these in the model, but they belong to the conversation

    @torch.inference_mode()
    def prefill(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """See `Engine.prefill`."""
        reused, inputs = self._reuse(prompt)
        if reused == 0:
            self._cache = self._rope_deltas = None
        else:
            self._cache.crop(reused - self._cache.get_seq_length())
        self._keys = []  # nothing is known of the cache until the forward has succeeded
        ids = torch.tensor([prompt.ids[reused:]], device=self._model.model.device)
        logits = self._forward(ids, inputs)
        self._keys = list(prompt.keys)
        self._pictures = [picture.digest for picture in prompt.pictures]
        self._placeholders = prompt.ids.count(self._model.image_token_id)
        return logits, reused

    @torch.inference_mode()
    def step(self, token: int) -> torch.Tensor:
        """See `Engine.step`."""
        ids = torch.tensor([[token]], device=self._model.model.device)
        logits = self._forward(ids, {})
        self._keys.append(token)
        return logits

    def _forward(self, ids: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if self._cache is None:
            self._cache = DynamicCache(config=self._model.model.config.get_text_config())
        inner = self._model.model.model
        with self._model.lock:
            if hasattr(inner, "rope_deltas"):
                inner.rope_deltas = self._rope_deltas
            output = self._model.model(
                input_ids=ids,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                **inputs,
            )
            self._rope_deltas = getattr(inner, "rope_deltas", None)
        self._cache = output.past_key_values
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits

    def _reuse(self, prompt: Prompt) -> tuple[int, dict[str, torch.Tensor]]:
        """How many positions can be kept, and the picture tensors that the rest needs."""
        whole = 0, prompt.inputs
        known = len(self._pictures)
        digests = [picture.digest for picture in prompt.pictures]
        if self._cache is None or not self._keys or digests[:known] != self._pictures:
            return whole
        if hasattr(self._model.model.model, "rope_deltas"):  # positions depend on pictures (Qwen-VL)
            return whole
        if any(type(layer) is not DynamicLayer for layer in self._cache.layers):
            return whole
        reused = min(common(self._keys, prompt.keys), self._cache.get_seq_length(), len(prompt.ids) - 1)
        if prompt.ids[:reused].count(self._model.image_token_id) != self._placeholders:
            return whole
        if known == len(digests):
            return reused, {}
        if any(len(tensor) != len(digests) for tensor in prompt.inputs.values()):
            return whole
        return reused, {name: tensor[known:] for name, tensor in prompt.inputs.items()}
