"""Attention within each conversation of a packed row, one after the other: exact, and on a CPU nothing is wasted.

With a mask, a processor computes all pairs of a row and throws most away; a row of ten conversations costs ten times
what it must. On a GPU Transformers' own kernels know where conversations begin, from the positions.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "attending_by_conversation"
PRECISE = "attending_float32"
"""Attention in float32, whatever the rest computes in: on processors its backward pass in bfloat16 takes 1.3 to 6 times
as long (measured with torch 2.13)."""


def _by_conversation(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    conversations: list[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention `[1, heads, length, D]` to `[1, length, heads, D]`; `conversations` are their lengths."""
    assert conversations is not None
    split = (torch.split(one, conversations, dim=2) for one in (query, key, value))
    found = [_precise(module, q, k, v, None, **kwargs)[0] for q, k, v in zip(*split, strict=True)]
    return torch.cat(found, dim=1), None


def _precise(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """See `PRECISE`."""
    with torch.autocast(query.device.type, enabled=False):
        out = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **kwargs)[0]
    return out.to(value.dtype), None


def _no_mask(*_: Any, **__: Any) -> None:
    """None: where conversations end is told by their lengths."""


AttentionInterface.register(NAME, _by_conversation)
AttentionInterface.register(PRECISE, _precise)
AttentionMaskInterface.register(NAME, _no_mask)
AttentionMaskInterface.register(PRECISE, sdpa_mask)


def lengths_of(positions: torch.Tensor) -> list[int]:
    """How long the conversations of a packed row `[1, length]` of positions are."""
    starts = (positions[0] == 0).nonzero()[:, 0].tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], positions.shape[1]], strict=True)]
