"""The projector: vision features to language-model embeddings, merging each 2x2 block of patches into one token."""

from math import isqrt

import torch
from torch import nn
from torch.nn import functional

from attending.model.config import VilaM3Config


class DownSample(nn.Module):
    """Merge each 2x2 block of patches into one token of four times the channels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Regroup `[n, h*w, C]` (h = w) into `[n, ceil(h/2)*ceil(w/2), 4C]`.

        An odd grid gets one zero row and one zero column at its end. Channels come in the order upper left, upper
        right, lower left, lower right. The output is column-major: token `q * rows + r` is the block in column `q`,
        row `r`, as the published weights were trained.
        """
        count, length, channels = features.shape
        side = isqrt(length)
        grid = features.reshape(count, side, side, channels)
        if side % 2:
            grid = functional.pad(grid, (0, 0, 0, 1, 0, 1))
        half = grid.shape[1] // 2
        blocks = grid.reshape(count, half, 2, half, 2, channels)  # n, r, row in block, q, column in block, C
        return blocks.permute(0, 3, 1, 2, 4, 5).reshape(count, half * half, 4 * channels)


class MultiModalProjector(nn.Module):
    """`[n, patches, C]` vision features to `[n, image tokens, H]` embeddings."""

    def __init__(self, config: VilaM3Config) -> None:
        super().__init__()
        inner: int = config.vision_config.hidden_size
        outer: int = config.text_config.hidden_size
        # `layers` and the indices inside it are the names of the published tensors.
        self.layers: nn.Module
        if config.projector_type == "mlp_downsample":
            self.layers = nn.Sequential(
                DownSample(),
                nn.LayerNorm(4 * inner),
                nn.Linear(4 * inner, outer),
                nn.GELU(),
                nn.Linear(outer, outer),
            )
        elif config.projector_type == "linear":
            self.layers = nn.Linear(inner, outer)
        elif config.projector_type == "identity":
            self.layers = nn.Identity()
        else:
            depth = int(config.projector_type.removeprefix("mlp").removesuffix("x_gelu"))
            layers: list[nn.Module] = [nn.Linear(inner, outer)]
            for _ in range(depth - 1):
                layers += [nn.GELU(), nn.Linear(outer, outer)]
            self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Project `[n, patches, C]` to `[n, image tokens, H]`."""
        projected: torch.Tensor = self.layers(features)
        return projected
