"""Other scanners: how images of training are varied, so that an expert does not learn the look of a few hospitals."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

_SMOOTH = 0.3
"""Chance of a lower resolution, and of noise with grains, as smooth kernels leave it."""
_GRAIN = 3.0
"""Greatest side of the grains of noise, in pixels or voxels."""
_FIELD = 0.15
"""Greatest share by which a bias field brightens or darkens."""


def vary(image: torch.Tensor, draw: np.random.Generator, brightness: float, noise: float) -> torch.Tensor:
    """Another scanner's `[C, ...]`: contrast, brightness, a smooth bias field, resolution and noise, by channel.

    Args:
        image: Of a volume or a radiograph, on the scale that the network sees.
        draw: All that is drawn.
        brightness: Greatest change of the level, and of the contrast as a share.
        noise: Greatest standard deviation.
    """
    channels, flat = image.shape[0], (1,) * (image.ndim - 1)
    scale, shift, spread = (
        torch.from_numpy(draw.uniform(low, high, (channels, *flat)).astype(np.float32))
        for low, high in ((1 - brightness, 1 + brightness), (-brightness, brightness), (0, noise))
    )
    field = torch.from_numpy(draw.uniform(-1, 1, (1, channels, *(4 for _ in flat))).astype(np.float32))
    strength = draw.uniform(0, _FIELD * brightness / 0.1)
    image = image * (scale + strength * _resized(field, image.shape[1:])) + shift
    if draw.random() < _SMOOTH:
        coarse = [max(4, int(side * draw.uniform(0.5, 1))) for side in image.shape[1:]]
        image = _resized(_resized(image[None], coarse)[None], image.shape[1:])
    sides = image.shape[1:]
    grain = draw.uniform(1, _GRAIN) if draw.random() < _SMOOTH else 1.0
    drawn = torch.Generator().manual_seed(int(draw.integers(2**62)))
    rough = torch.randn(channels, *(max(4, round(side / grain)) for side in sides), generator=drawn)
    smooth = rough if grain == 1 else _resized(rough[None], sides)
    return image + spread * smooth / smooth.std()


def _resized(image: torch.Tensor, shape: torch.Size | list[int]) -> torch.Tensor:
    """`[1, C, ...]` to `[C, *shape]`."""
    mode = "trilinear" if image.ndim == 5 else "bilinear"
    return functional.interpolate(image, tuple(shape), mode=mode, align_corners=False)[0]


def moved(image: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """A radiograph `[C, rows, columns]` turned, shifted and enlarged a little, as patients stand; never mirrored."""
    angle, size = math.radians(draw.uniform(-5, 5)), draw.uniform(0.92, 1.08)
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    across, down = draw.uniform(-0.08, 0.08, 2)
    turn = torch.tensor([[[cos, -sin, across], [sin, cos, down]]], dtype=torch.float32)
    grid = functional.affine_grid(turn, [1, *image.shape], align_corners=False)
    return functional.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


def without_some(image: torch.Tensor, draw: np.random.Generator, missing: float) -> torch.Tensor:
    """Sequences `[C, X, Y, Z]`, each left out (0 everywhere) with this chance, but never all."""
    there = draw.random(len(image)) >= missing
    there[int(draw.integers(len(image)))] |= not there.any()
    return image * torch.from_numpy(there.astype(np.float32)).reshape(-1, *(1,) * (image.ndim - 1))
