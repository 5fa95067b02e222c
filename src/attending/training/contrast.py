"""Pre-training of the vision tower: which text belongs to which picture (CLIP, SigLIP, image-text matching)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attending.corpora.conversation import Conversation
from attending.corpora.mixture import Mixture
from attending.errors import InputError
from attending.model.vision import select_features
from attending.training.attention import PRECISE
from attending.training.loop import decayed
from attending.training.objectives import clip, image_text_matching, siglip
from attending.training.parallel import World, shard
from attending.training.pictures import pixels_of
from attending.training.recipe import Stage

_TEXT_TOKENS = 64
_TEXT_LAYERS = 3


@dataclass(eq=False)
class Pairs:
    """Pictures `[n, 3, S, S]` with their texts' ids `[n, length]`, 0 behind the end; see `loop.Micro`."""

    pixels: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor
    count: int
    tokens: int = 0

    @property
    def samples(self) -> int:
        """Pairs."""
        return len(self.ids)


class Reader(nn.Module):
    """A small text encoder: `[n, length]` ids to `[n, D]`; it is needed for this stage only."""

    def __init__(self, vocabulary: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(_TEXT_TOKENS, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, _TEXT_LAYERS, nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mean over each text's tokens."""
        there = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        hidden = self.encoder(self.tokens(ids) + self.places[: ids.shape[1]], src_key_padding_mask=~there)
        mean: torch.Tensor = (hidden * there[..., None]).sum(1) / lengths[:, None]
        return mean


class Pool(nn.Module):
    """Attention pooling, as SigLIP's head: `[n, patches, C]` to `[n, C]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """One vector for each picture."""
        features = self.norm(features)
        found = self.attention(self.probe.expand(len(features), -1, -1), features, features, need_weights=False)[0]
        pooled: torch.Tensor = found[:, 0] + self.mix(found[:, 0])
        return pooled


class Matcher(nn.Module):
    """The model's tower, a pool on top, a text encoder beside, and the loss."""

    def __init__(self, model: Any, objective: str, device: torch.device) -> None:
        super().__init__()
        vision, vocabulary = model.config.vision_config, model.config.text_config.vocab_size
        width, heads = vision.hidden_size, vision.num_attention_heads
        self.config, self.objective, self.device = model.config, objective, device
        self.tower = model.model.vision_tower
        if device.type == "cpu":
            self.tower.config._attn_implementation = PRECISE
        self.pool = Pool(width, heads)
        self.reader = Reader(vocabulary, width, heads)
        self.project = nn.Linear(width, width, bias=False)
        first = {"clip": np.log(1 / 0.07), "siglip": np.log(10)}.get(objective, 0.0)
        self.scale = nn.Parameter(torch.tensor([float(first)]), requires_grad=objective != "itm")
        self.bias = nn.Parameter(torch.tensor([-10.0]), requires_grad=objective == "siglip")
        self.fuse = nn.Sequential(nn.Linear(4 * width, width), nn.GELU(), nn.Linear(width, 1))
        self.fuse.requires_grad_(objective == "itm")

    def forward(self, one: Pairs) -> torch.Tensor:
        """The summed loss over pairs; every other pair of the batch is a contrast, unless its text is the same."""
        ids, lengths = one.ids.to(self.device), one.lengths.to(self.device)
        images = self.pool(select_features(self.tower, self.config, one.pixels.to(self.device)))
        texts = self.project(self.reader(ids, lengths))
        if not one.count:
            nothing = images.sum() + texts.sum() + self._fused(images, texts).sum() + self.scale.sum()
            return torch.mul(nothing + self.bias.sum(), 0.0)
        same = (ids[:, None] == ids[None]).all(-1)
        unit_images, unit_texts = (functional.normalize(one.float(), dim=-1) for one in (images, texts))
        if self.objective == "clip":
            return clip(unit_images, unit_texts, self.scale, same)
        if self.objective == "siglip":
            return siglip(unit_images, unit_texts, self.scale, self.bias, same)
        near = (unit_images @ unit_texts.T).detach().masked_fill(same, -torch.inf)
        wrong = near.argmax(1)  # for each picture the wrong text that looks most right
        there = torch.isfinite(near.max(1).values)
        logits = torch.cat([self._fused(images, texts), self._fused(images[there], texts[wrong[there]])])
        matches = torch.arange(len(logits), device=self.device) < len(images)
        return image_text_matching(logits, matches) / 2

    def _fused(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """`[pairs]` logits."""
        logits: torch.Tensor = self.fuse(torch.cat([images, texts, images * texts, (images - texts).abs()], -1))[:, 0]
        return logits


class Contrast:
    """The work of a stage with objective `clip`, `siglip` or `itm`; see `attending.training.loop.Work`.

    The text of a conversation is its first answer, cut after 64 tokens; its picture is its first. Contrasts are those
    of a process's own share of the batch.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        stage: Stage,
        mixture: Mixture,
        held_out: Sequence[Conversation],
        world: World,
        dtype: str,
    ) -> None:
        self._processor, self._stage, self._world = processor, stage, world
        self._mixture, self._held_out = mixture, held_out
        if stage.batch // world.size < 2:
            raise InputError("a contrast needs two pairs in each process", field="batch", value=stage.batch)
        model.requires_grad_(False)
        self.module = Matcher(model, stage.objective, world.device).to(world.device, torch.float32)
        self.module.tower.requires_grad_(True)
        if stage.gradient_checkpointing:
            self.module.tower.activation_checkpointing_enable()
        shard(self.module, list(self.module.tower.encoder.layers), [], world, dtype)

    def groups(self) -> list[dict[str, Any]]:
        """See `Work`."""
        named = [(name, one) for name, one in self.module.named_parameters() if one.requires_grad]
        return decayed(named, self._stage.rates.vision_tower, self._stage.weight_decay, "vision_tower")

    def prepare(self, step: int) -> list[Pairs]:
        """See `Work`."""
        first = step * self._stage.batch
        mine = range(first + self._world.rank, first + self._stage.batch, self._world.size)
        return [self._pairs([self._mixture[position] for position in mine])]

    def _pairs(self, conversations: Sequence[Conversation]) -> Pairs:
        pixels = torch.stack([pixels_of(one.images[0], self._processor) for one in conversations])
        rows = [self._processor.tokenizer(caption(one))["input_ids"][:_TEXT_TOKENS] for one in conversations]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        lengths = torch.tensor([len(row) for row in rows])
        return Pairs(pixels, torch.from_numpy(ids), lengths, len(rows), int(lengths.sum()))

    def blank(self) -> Pairs:
        """See `Work`."""
        side = self.module.config.vision_config.image_size
        return Pairs(torch.zeros(1, 3, side, side), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1).long(), 0)

    def held_out(self) -> list[Pairs]:
        """See `Work`: batches as large as in training, so that the losses can be compared."""
        mine = self._held_out[self._world.rank :: self._world.size]
        size = self._stage.batch // self._world.size
        return [self._pairs(mine[at : at + size]) for at in range(0, len(mine) - 1, size)]


def caption(conversation: Conversation) -> str:
    """The text that belongs to a conversation's first picture.

    Raises:
        InputError: It has no picture.
    """
    if not conversation.images:
        name = f"conversation {conversation.id!r} of {conversation.source or 'no source'}"
        raise InputError(f"{name}: a contrastive stage needs a picture in every conversation", field="images")
    return next(message.content for message in conversation.messages if message.role == "assistant")
