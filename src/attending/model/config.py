"""VilaM3Config: a vision tower, a projector and a causal language model, as one Transformers configuration."""

import re
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

_PROJECTOR = re.compile(r"mlp_downsample|linear|identity|mlp[1-9]\d?x_gelu")


@strict
class VilaM3Config(PreTrainedConfig):
    """Configuration of `VilaM3ForConditionalGeneration`.

    Args:
        vision_config: Any Transformers vision tower; SigLIP when its `model_type` is not given.
        text_config: Any Transformers causal language model; Llama when its `model_type` is not given.
        projector_type: `mlp_downsample` (merges 2x2 patches), `linear`, `identity`, or `mlpNx_gelu` (`mlp2x_gelu`).
        vision_feature_layer: Index into the tower's hidden states, 0 being its embeddings; -2 is the output of the
            layer before the last.
        vision_feature_select_strategy: `cls_patch` keeps every token of the tower, `patch` drops the first (a CLS
            token; SigLIP has none).
        image_token_id: Id that marks one image feature in `input_ids`. It lies just past the vocabulary, so it can
            never be generated; the tokenizer knows it as `<image>`.
        conversation_mode: `llama_3`, `vicuna_v1`, `hermes-2` or `plain`; the chat template beside this file says how.

    Raises:
        ValueError: For an unknown projector type.
    """

    model_type = "vila_m3"
    sub_configs_defaults = {  # noqa: RUF012 (Transformers reads this as a class variable)
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="siglip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: Any = None
    text_config: Any = None
    projector_type: str = "mlp_downsample"
    vision_feature_layer: int = -2
    vision_feature_select_strategy: Literal["cls_patch", "patch"] = "cls_patch"
    image_token_id: int | None = None
    conversation_mode: str = "llama_3"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        """Fill what follows from the parts, and refuse what cannot be built."""
        super().__post_init__(**kwargs)
        if not _PROJECTOR.fullmatch(self.projector_type):
            raise ValueError(
                f"projector_type is {self.projector_type!r}; expected mlp_downsample, linear, identity or mlpNx_gelu"
            )
        text = self.text_config
        if self.image_token_id is None:
            self.image_token_id = text.vocab_size
        self.tie_word_embeddings = bool(self.tie_word_embeddings or text.tie_word_embeddings)

    @property
    def image_seq_length(self) -> int:
        """Tokens that one picture becomes: 196 for the published models (27x27 patches, padded, merged 2x2)."""
        vision = self.vision_config
        side: int = vision.image_size // vision.patch_size
        if self.projector_type == "mlp_downsample":
            return ((side + 1) // 2) ** 2
        has_cls: bool = vision.model_type.startswith("clip")
        return side**2 + int(has_cls and self.vision_feature_select_strategy == "cls_patch")
