"""A lean way through a Llama decoder with a key-value cache of its own: the same modules and weights, fewer steps.

Transformers' forward builds masks, grows its cache by copying and asks many questions for every token. For one row on
a CPU that costs more than the arithmetic. Rows of a batch keep separate caches, so nothing is ever padded.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_GROWTH = 256  # positions by which a cache grows


class KeyValueCache:
    """Keys and values of one row: for each layer `[key-value heads, capacity, head size]`."""

    def __init__(self) -> None:
        self.length = 0
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def reserve(self, length: int, layers: int, like: torch.Tensor) -> None:
        """Make room for `length` positions; `like` has the heads `[heads, _, size]`, dtype and device to use."""
        capacity = self.keys[0].shape[1] if self.keys else 0
        if length <= capacity:
            return
        capacity = -(-length // _GROWTH) * _GROWTH
        for kept in (self.keys, self.values):
            for layer in range(layers):
                grown = like.new_empty(like.shape[0], capacity, like.shape[2])
                if layer < len(kept):
                    grown[:, : self.length] = kept[layer][:, : self.length]
                    kept[layer] = grown  # layer by layer: never two whole caches at once
                else:
                    kept.append(grown)


class LeanLlama:
    """Runs the decoder of a Transformers Llama model.

    Args:
        decoder: A `LlamaModel`; its modules are called, so adapters and quantized layers work.
        head: The module that gives logits.
    """

    def __init__(self, decoder: Any, head: nn.Module) -> None:
        config = decoder.config
        self.decoder = decoder
        self.head = head
        self.layers = list(decoder.layers)
        self.query_heads: int = config.num_attention_heads
        self.heads: int = config.num_key_value_heads
        self.size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    @torch.inference_mode()
    def forward(self, embeds: torch.Tensor, caches: Sequence[KeyValueCache]) -> torch.Tensor:
        """Append positions to rows and return the last position's logits.

        Args:
            embeds: `[rows, new positions, H]`; more than one row only with one new position each.
            caches: One for each row; they grow by the new positions.

        Returns:
            `[rows, vocabulary]` logits in float32.
        """
        rows, new, _ = embeds.shape
        starts = [cache.length for cache in caches]
        like = embeds.new_empty(self.heads, 0, self.size)
        for cache, start in zip(caches, starts, strict=True):
            cache.reserve(start + new, len(self.layers), like)
        positions = torch.tensor([list(range(start, start + new)) for start in starts], device=embeds.device)
        cos, sin = self.decoder.rotary_emb(embeds, positions)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # [rows, 1, new, head size]
        mask = None
        if new > 1 and starts[0]:
            mask = torch.ones(new, starts[0] + new, dtype=torch.bool, device=embeds.device).tril(starts[0])
        hidden = embeds
        for index, layer in enumerate(self.layers):
            normed = layer.input_layernorm(hidden)
            attention = layer.self_attn
            queries = attention.q_proj(normed).view(rows, new, self.query_heads, self.size).transpose(1, 2)
            keys = attention.k_proj(normed).view(rows, new, self.heads, self.size).transpose(1, 2)
            values = attention.v_proj(normed).view(rows, new, self.heads, self.size).transpose(1, 2)
            queries, keys = _rotate(queries, cos, sin), _rotate(keys, cos, sin)
            mixed = []
            for row, cache in enumerate(caches):
                start, end = starts[row], starts[row] + new
                cache.keys[index][:, start:end] = keys[row]
                cache.values[index][:, start:end] = values[row]
                mixed.append(self._attend(queries[row], cache.keys[index][:, :end], cache.values[index][:, :end], mask))
            hidden = hidden + attention.o_proj(mixed[0] if rows == 1 else torch.cat(mixed))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        for cache, start in zip(caches, starts, strict=True):
            cache.length = start + new
        last: torch.Tensor = self.head(self.decoder.norm(hidden[:, -1]))
        return last.float()

    def _attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend from `[query heads, new, size]` over `[heads, all, size]`; returns `[1, new, query heads * size]`."""
        new = queries.shape[1]
        if new == 1:
            # The query heads that share keys stand as positions, which saves repeating the keys.
            grouped = queries.view(1, self.heads, self.query_heads // self.heads, self.size)
            out = functional.scaled_dot_product_attention(grouped, keys[None], values[None])
            return out.reshape(1, 1, self.query_heads * self.size)
        out = functional.scaled_dot_product_attention(
            queries[None], keys[None], values[None], attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )
        return out.transpose(1, 2).reshape(1, new, self.query_heads * self.size)


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of `[rows, heads, positions, size]`."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((-second, first), dim=-1) * sin
