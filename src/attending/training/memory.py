"""What a stage takes: memory that it cannot do without, memory that it is likely to need, and arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attending.training.recipe import CONTRASTIVE, PARTS, Stage

_TRAINED = 4 + 4 + 8
"""Bytes of a trained parameter: float32 weight and gradient, AdamW's two moments."""


def available(device: torch.device) -> int:
    """Bytes that this process may still take on a device; of the machine's own, what its limits leave."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = 1 << 62
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        cached = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        if limit.isdigit():
            free = min(free, int(limit) - used + int(cached.get("inactive_file", 0)))
    except (OSError, KeyError, ValueError, IndexError):
        pass  # not Linux, or no cgroup limits: what is known so far holds
    return free


def trained_parameters(stage: Stage, counts: Mapping[str, int], model: Any = None) -> int:
    """How many parameters a stage trains; adapters are counted on the layers of `model`, or taken as 2 % without."""
    total = 0
    for part in PARTS:
        if not getattr(stage.rates, part):
            continue
        if stage.lora and part in stage.lora.parts:
            total += _adapters(model, part, stage.lora.rank) if model is not None else counts[part] // 50
        else:
            total += counts[part]
    return total


def _adapters(model: Any, part: str, rank: int) -> int:
    from torch import nn

    from attending.training.language import part_of

    return sum(
        rank * (one.in_features + one.out_features)
        for name, one in model.named_modules()
        if isinstance(one, nn.Linear) and part_of(f"{name}.") == part and name != "lm_head"
    )


def least_memory(stage: Stage, counts: Mapping[str, int], dtype: str, world: int, model: Any = None) -> int:
    """Bytes for weights, gradients and the optimizer of one process: less cannot do."""
    trained = trained_parameters(stage, counts, model)
    frozen = sum(counts.values()) - trained if stage.objective not in CONTRASTIVE else 0
    each = 2 if dtype == "bfloat16" and world == 1 else 4
    return (trained * _TRAINED + max(0, frozen) * each) // world


def likely_memory(stage: Stage, model: Any, tokens: int, dtype: str) -> int:
    """Bytes for activations and logits of one forward pass, by rules of thumb; true within a factor of two."""
    config = model.config
    text, vision = config.text_config, config.vision_config
    size = 2 if dtype == "bfloat16" else 4
    each_layer = text.hidden_size * 10 + text.intermediate_size * 3
    kept = text.hidden_size if stage.gradient_checkpointing else each_layer
    language = 0 if stage.objective in CONTRASTIVE else tokens * size * (kept * text.num_hidden_layers + each_layer)
    logits = 0 if stage.objective in CONTRASTIVE else tokens // 3 * text.vocab_size * (size + 8)
    pictures = stage.batch if stage.objective in CONTRASTIVE else max(1, tokens // 2 // config.image_seq_length)
    patches = (vision.image_size // vision.patch_size) ** 2
    tower = 0
    if stage.rates.vision_tower:
        layer = vision.hidden_size * 10 + vision.intermediate_size * 3
        tower = pictures * patches * size * layer * (1 if stage.gradient_checkpointing else vision.num_hidden_layers)
    return int(language + logits + tower)


def operations(stage: Stage, counts: Mapping[str, int], model: Any, tokens: int, pictures: int) -> float:
    """Floating-point operations of a stage that sees so many tokens and pictures.

    Two for each weight and token forward; as many back through whatever lies above what is trained; as many again for
    the gradients of weights that are trained.
    """
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    tower: float = 2.0 * counts["vision_tower"] * patches * pictures
    if stage.objective in CONTRASTIVE:
        return tower * 3.0
    spoken: float = 2.0 * counts["language_model"] * tokens
    full = bool(stage.rates.language_model) and not (stage.lora and "language_model" in stage.lora.parts)
    return spoken * (3 if full else 2) + tower * (3 if stage.rates.vision_tower else 1)


def measured_rate(dtype: str, device: torch.device) -> float:
    """Floating-point operations a second that this machine reaches in matrix products, measured in a moment."""
    import time

    side = 4096 if device.type == "cuda" else 1024
    one = torch.randn(side, side, device=device, dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(4):
        began = time.perf_counter()
        (one @ one).sum().item()
        best = max(best, 2.0 * side**3 / (time.perf_counter() - began))
    return best
