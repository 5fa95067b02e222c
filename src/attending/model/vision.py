"""The vision tower without the parts whose output nobody reads."""

from copy import deepcopy

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel

from attending.model.config import VilaM3Config

# Towers that give hidden states before their last norm, so that stopping early is the same as picking a layer.
_TRIMMABLE = {"siglip_vision_model", "clip_vision_model"}


def layers_used(config: VilaM3Config) -> int:
    """How many encoder layers must run to reach `vision_feature_layer`."""
    vision = config.vision_config
    depth: int = vision.num_hidden_layers
    layer = config.vision_feature_layer
    if not -depth - 1 <= layer <= depth:
        raise ValueError(f"vision_feature_layer is {layer}; the tower has hidden states {-depth - 1} to {depth}")
    return layer if layer >= 0 else depth + 1 + layer


def build_tower(config: VilaM3Config) -> PreTrainedModel:
    """Build the tower; of SigLIP and CLIP only the layers up to the one that is read, without last norm and head."""
    vision = config.vision_config
    if vision.model_type not in _TRIMMABLE:
        return AutoModel.from_config(vision)
    trimmed = deepcopy(vision)
    trimmed.num_hidden_layers = layers_used(config)
    trimmed.vision_use_head = False
    tower: PreTrainedModel = AutoModel.from_config(trimmed)
    tower.post_layernorm = nn.Identity()
    return tower


def select_features(tower: PreTrainedModel, config: VilaM3Config, pixels: torch.Tensor) -> torch.Tensor:
    """Run the tower on `[n, 3, S, S]` pixels and return the chosen layer's `[n, patches, C]` features."""
    vision = config.vision_config
    features: torch.Tensor
    if vision.model_type in _TRIMMABLE:
        features = tower(pixels).last_hidden_state
    else:
        features = tower(pixels, output_hidden_states=True).hidden_states[config.vision_feature_layer]
    return features[:, 1:] if config.vision_feature_select_strategy == "patch" else features
