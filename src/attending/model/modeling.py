"""VilaM3ForConditionalGeneration: picture features spliced into a causal language model, for Transformers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import MinLengthLogitsProcessor, MinNewTokensLengthLogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, ModelOutput

from attending.model.config import VilaM3Config
from attending.model.projector import MultiModalProjector
from attending.model.vision import build_tower, select_features


@dataclass
class VilaM3ModelOutput(BaseModelOutputWithPast):
    """The language model's output, with the `[pictures, tokens, H]` picture embeddings that went into it."""

    image_hidden_states: torch.Tensor | None = None


@dataclass
class VilaM3CausalLMOutput(ModelOutput):
    """Loss (with labels), `[batch, kept positions, vocabulary]` logits, and what came with them."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_hidden_states: torch.Tensor | None = None


class VilaM3PreTrainedModel(PreTrainedModel):
    """What Transformers needs to know about every VILA-M3 model."""

    config: VilaM3Config
    config_class = VilaM3Config
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ("past_key_values",)
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True


class VilaM3Model(VilaM3PreTrainedModel):
    """Vision tower, projector and language model, without the head that gives logits."""

    def __init__(self, config: VilaM3Config) -> None:
        super().__init__(config)
        self.vision_tower = build_tower(config)
        self.multi_modal_projector = MultiModalProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Encode `[n, 3, S, S]` pixels.

        Returns:
            `last_hidden_state`: `[n, patches, C]`, the tower's chosen layer; `pooler_output`: for each picture its
            `[image tokens, H]` embeddings.
        """
        # The tower may be kept in another precision than what the caller prepared.
        features = select_features(self.vision_tower, self.config, pixel_values.to(self.vision_tower.dtype))
        projected = self.multi_modal_projector(features)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=list(projected))

    def get_placeholder_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """`[batch, length]` bool: where a picture's embedding goes."""
        assert self.config.image_token_id is not None
        return input_ids.eq(self.config.image_token_id)

    def splice(self, input_ids: torch.Tensor, features: torch.Tensor | None) -> torch.Tensor:
        """Embed `[batch, length]` ids and put `[n, tokens, H]` picture features at their placeholders, in order.

        Raises:
            ValueError: When placeholders and pictures do not fit each other.
        """
        placeholder = self.get_placeholder_mask(input_ids)
        # The placeholder has no row in the embedding table; token 0 stands in until its feature is written.
        embeds: torch.Tensor = self.get_input_embeddings()(input_ids.masked_fill(placeholder, 0))
        if features is None:
            return embeds
        flat = _fitted(placeholder, features).to(embeds.device, embeds.dtype)
        return embeds.masked_scatter(placeholder.unsqueeze(-1), flat)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> VilaM3ModelOutput:
        """Run the model on ids `[batch, length]` with `pixel_values` `[n, 3, S, S]`.

        Pictures are taken in order over the flattened batch. `image_features` `[n, tokens, H]` replaces
        `pixel_values` where the pictures have been encoded before. `mm_token_type_ids` is accepted because
        processors may return it; the placeholder id already says the same.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds, not both and not neither")
        if image_features is None and pixel_values is not None:
            image_features = torch.stack(self.get_image_features(pixel_values).pooler_output)
        if input_ids is not None:
            inputs_embeds = self.splice(input_ids, image_features)
        elif image_features is not None:
            raise ValueError("pictures go in with input_ids; inputs_embeds must hold them already")
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **{**kwargs, "return_dict": True},
        )
        return VilaM3ModelOutput(**outputs, image_hidden_states=image_features)


def _fitted(placeholder: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """The features for `[batch, length]` placeholders as `[placeholders, H]`.

    Usually all of them. After truncation a row may end inside a picture; then only the first part of that row's last
    picture is used.
    """
    count, tokens, width = features.shape
    flat = features.reshape(count * tokens, width)
    if torch.compiler.is_compiling():
        return flat
    wanted = placeholder.sum(dim=1)
    if int(wanted.sum()) == count * tokens:
        return flat
    pictures = -(-wanted // tokens)
    if int(pictures.sum()) != count:
        raise ValueError(
            f"{int(wanted.sum())} image placeholders, {tokens} to a picture, do not fit {count} pictures given"
        )
    starts = (pictures.cumsum(0) - pictures) * tokens
    parts = [flat[start : start + n] for start, n in zip(starts.tolist(), wanted.tolist(), strict=True)]
    return torch.cat(parts)


class _HidePlaceholders(LogitsProcessor):
    """Run another processor with placeholders, which are no vocabulary rows, shown as an id that is in the prompt."""

    def __init__(self, inner: LogitsProcessor, image_token_id: int) -> None:
        self.inner = inner
        self.image_token_id = image_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        shown = input_ids.where(input_ids != self.image_token_id, input_ids[:, :1])
        shown = shown.masked_fill(shown == self.image_token_id, 0)
        result: torch.FloatTensor = self.inner(shown, scores)
        return result


class VilaM3ForConditionalGeneration(VilaM3PreTrainedModel, GenerationMixin):
    """The model that answers: `VilaM3Model` and the language model's head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012

    def __init__(self, config: VilaM3Config) -> None:
        super().__init__(config)
        self.model = VilaM3Model(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See `VilaM3Model.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> VilaM3CausalLMOutput | tuple[Any, ...]:
        """Run the model and its head; the arguments not named here are those of `VilaM3Model.forward`.

        `labels` are `[batch, length]` ids, -100 where nothing is learned, as at every placeholder; the loss is the mean
        cross-entropy of the next token over the rest. `logits_to_keep` asks for logits of the last so many positions
        only, or of these; 0 means all.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            image_features=image_features,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            # Collators that copy the ids leave placeholders in the labels.
            learned = labels.masked_fill(self.model.get_placeholder_mask(labels), -100)
            vocabulary = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=learned, vocab_size=vocabulary, **kwargs)
        result = VilaM3CausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )
        return result if return_dict is not False else result.to_tuple()

    def prepare_inputs_for_generation(
        self, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Transformers' own inputs; pictures go in with the prompt only."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            *args, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs.pop("image_features", None)
        return inputs

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        """Transformers' own list, fitted to two habits of the reference.

        `min_new_tokens` holds back only the language model's end-of-sequence token, never the token that ends a turn;
        and processors that look ids up in the vocabulary (repetition penalty) must not see the placeholder.
        """
        processors: LogitsProcessorList = super()._get_logits_processor(*args, **kwargs)
        held_back = (MinNewTokensLengthLogitsProcessor, MinLengthLogitsProcessor)  # Transformers adds both
        own = self.config.text_config.eos_token_id
        for processor in processors:
            if isinstance(processor, held_back) and own is not None:
                ids = own if isinstance(own, list) else [own]
                processor.eos_token_id = torch.tensor(ids, device=processor.eos_token_id.device)
        assert self.config.image_token_id is not None
        return LogitsProcessorList(_HidePlaceholders(one, self.config.image_token_id) for one in processors)
