"""Instruction tuning: the next token of the assistant's turns, from packed conversations with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from attending.corpora.collate import Batch, packed, padded
from attending.corpora.conversation import Conversation
from attending.corpora.mixture import Mixture
from attending.corpora.packing import IGNORED, Sample, encode, pack, pack_padded
from attending.model.vision import select_features
from attending.training.attention import NAME, PRECISE, lengths_of
from attending.training.loop import decayed
from attending.training.objectives import next_token
from attending.training.parallel import World, shard
from attending.training.pictures import Key, Seen, key_of, pixels_of
from attending.training.recipe import PARTS, Stage

SUBMODULES = {"vision_tower": "vision_tower", "projector": "multi_modal_projector", "language_model": ""}
"""By part, what its parameters' names hold; the language model has the rest."""


@dataclass(eq=False)
class Pass:
    """One forward pass; see `attending.training.loop.Micro`."""

    batch: Batch
    keys: list[Key] = field(default_factory=list)
    pictures: list[torch.Tensor] = field(default_factory=list)
    """Of each picture its pixels `[3, S, S]`, or its features `[patches, C]` where they are known."""
    samples: int = 0
    tokens: int = 0

    @property
    def count(self) -> int:
        """Learned tokens."""
        return self.batch.learned


class Speaker(nn.Module):
    """The model with its loss; everything that is trained is entered through `forward`, as FSDP2 needs it.

    Args:
        model: `VilaM3ForConditionalGeneration`, perhaps with adapters in it.
        frozen: Whether the tower is.
        seen: Where features of a frozen tower are kept.
        world: The processes.
        packed: Whether conversations share rows.
    """

    def __init__(self, model: Any, frozen: bool, seen: Seen, world: World, packed: bool) -> None:
        super().__init__()
        self.model = model
        self.frozen, self.seen, self.device, self.several = frozen, seen, world.device, world.size > 1
        text = model.model.language_model.config
        self.apart = packed and world.device.type == "cpu" and text.model_type == "llama"
        if self.apart:
            text._attn_implementation = NAME
        if world.device.type == "cpu":
            model.model.vision_tower.config._attn_implementation = PRECISE

    def forward(self, one: Pass) -> torch.Tensor:
        """The summed loss over the learned tokens; logits are computed only there."""
        batch = one.batch.to(self.device)
        inner = self.model.model
        features = self._features(one)
        projected = None if features is None else inner.multi_modal_projector(features)
        embeds = inner.splice(batch.ids, projected if one.keys else None)
        if projected is not None and not one.keys:
            # FSDP sums gradients in the order of the backward pass, which must be that of processes with pictures.
            embeds = embeds + 0 * projected.sum()
        extra = {"conversations": lengths_of(batch.positions)} if self.apart else {}
        out = inner(
            inputs_embeds=embeds,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
            **extra,
        )
        targets = batch.labels[:, 1:]
        learned = targets != IGNORED
        logits = self.model.lm_head(out.last_hidden_state[:, :-1][learned])
        return next_token(logits, targets[learned])

    def _features(self, one: Pass) -> torch.Tensor | None:
        """`[n, patches, C]` of the pictures; where there is none and other processes may have some, of a black one."""
        inner = self.model.model
        if not one.keys and not self.several:
            return None
        if not one.keys:
            side = inner.config.vision_config.image_size
            return self._encode(torch.zeros(1, 3, side, side, device=self.device))
        if not self.frozen:
            return self._encode(torch.stack(one.pictures).to(self.device))
        found = []
        for key, picture in zip(one.keys, one.pictures, strict=True):
            if picture.ndim == 3:
                picture = self._encode(picture[None].to(self.device))[0]
                self.seen.put(key, picture)
            found.append(picture)
        return torch.stack(found)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        inner = self.model.model
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return select_features(inner.vision_tower, inner.config, pixels.to(inner.vision_tower.dtype))


class Talk:
    """The work of a stage with objective `sft`; see `attending.training.loop.Work`.

    Args:
        model: Its trained parameters need gradients, the others do not; see `freeze`.
        processor: With the stage's chat template.
        stage: The stage.
        context: Tokens of the longest conversation.
        mixture: What is learned from.
        held_out: What the loss is measured on.
        world: The processes.
        dtype: What is computed in.
        kept: Bytes of picture features to keep.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        stage: Stage,
        context: int,
        mixture: Mixture,
        held_out: Sequence[Conversation],
        world: World,
        dtype: str,
        kept: int = 1 << 30,
    ) -> None:
        self._processor, self._stage, self._context, self._world = processor, stage, context, world
        self._mixture, self._held_out = mixture, held_out
        self._frozen = not stage.rates.vision_tower
        self.seen = Seen(kept)
        self.module = Speaker(model, self._frozen, self.seen, world, stage.pack)
        self.module.to(world.device)
        inner = model.model
        blocks = [*inner.language_model.layers, *([] if self._frozen else inner.vision_tower.encoder.layers)]
        shard(self.module, blocks, [inner.vision_tower] if self._frozen else [], world, dtype)

    def groups(self) -> list[dict[str, Any]]:
        """See `Work`."""
        found = []
        for part in PARTS:
            named = [(n, p) for n, p in self.module.named_parameters() if p.requires_grad and part_of(n) == part]
            found += decayed(named, getattr(self._stage.rates, part), self._stage.weight_decay, part)
        return found

    def prepare(self, step: int) -> list[Pass]:
        """See `Work`: this process's share of the step's conversations."""
        first = step * self._stage.batch
        mine = range(first + self._world.rank, first + self._stage.batch, self._world.size)
        return self._passes([self._mixture[position] for position in mine])

    def _passes(self, conversations: Sequence[Conversation]) -> list[Pass]:
        stage = self._stage
        samples = [encode(one, self._processor, self._context, stage.fix_up) for one in conversations]
        share = pack if stage.pack else pack_padded
        rows = share([len(one) for one in samples], stage.tokens or self._context)
        return [self._pass([samples[index] for index in row]) for row in rows]

    def _pass(self, samples: Sequence[Sample]) -> Pass:
        pad = self._processor.tokenizer.pad_token_id or 0
        batch = packed(samples) if self._stage.pack else padded(samples, pad)
        keys = [key_of(image) for image in batch.images]
        pictures = [self._picture(key, image) for key, image in zip(keys, batch.images, strict=True)]
        return Pass(batch, keys, pictures, len(samples), sum(map(len, samples)))

    def _picture(self, key: Key, image: Any) -> torch.Tensor:
        known = self.seen.get(key) if self._frozen else None
        return pixels_of(image, self._processor) if known is None else known

    def blank(self) -> Pass:
        """See `Work`: one token, of which nothing is learned."""
        zero = torch.zeros(1, 1, dtype=torch.int64)
        return Pass(Batch(zero, zero + IGNORED, zero, None, (), 0))

    def held_out(self) -> list[Pass]:
        """See `Work`."""
        mine = self._held_out[self._world.rank :: self._world.size]
        return self._passes(mine) if mine else []


def part_of(name: str) -> str:
    """Which part of the model a parameter belongs to, by its name."""
    return next((part for part in PARTS[:2] if f"{SUBMODULES[part]}." in name), "language_model")
