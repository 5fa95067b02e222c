"""A new model: its tokenizer, its language model where one is brought, and the folder to start from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from attending.errors import InputError, NotAvailableError
from attending.training.recipe import Fresh

_SPECIAL = ("[PAD]", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
            "<|im_start|>", "<|im_end|>")  # fmt: skip


def new_model(fresh: Fresh, context: int, seed: int, texts: Iterable[str]) -> tuple[Any, Any]:
    """A new model and its processor; the same arguments give the same weights.

    Args:
        fresh: What it consists of.
        context: Its greatest context, unless the language model says less.
        seed: Of the random weights.
        texts: What a new tokenizer is trained on.

    Raises:
        InputError: Sizes that do not fit, or a language model that cannot be read.
        NotAvailableError: A package is missing.
    """
    from transformers import AutoModelForCausalLM

    from attending.model import VilaM3Config, VilaM3ForConditionalGeneration
    from attending.model.language_model import locate, processor_for, read_language_model
    from attending.training.parts import speak

    torch.manual_seed(seed)
    if fresh.language_model:
        language, tokenizer = read_language_model(locate(fresh.language_model, "init.fresh.language_model"))
    else:
        language, tokenizer = None, _trained(fresh, texts)
    try:
        config = VilaM3Config(
            vision_config=dict(fresh.vision),
            text_config=language.config if language else _sizes(fresh, len(tokenizer), context),
            projector_type=fresh.projector,
            vision_feature_layer=fresh.feature_layer,
        )
        model = VilaM3ForConditionalGeneration(config)
        if language is None:
            language = AutoModelForCausalLM.from_config(config.text_config)
    except Exception as error:  # Transformers' and the hub's checks of a configuration raise many kinds
        raise InputError(f"such a model cannot be built: {error}", field="init.fresh") from error
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    processor = processor_for(config, tokenizer, min(context, config.text_config.max_position_embeddings))
    if fresh.expert_codec:
        config.expert_codec = fresh.expert_codec
    speak(model, processor, fresh.template)
    return model, processor


def write_start(model: Any, processor: Any, folder: Path) -> None:
    """Write a new model's folder, whole or not at all.

    Raises:
        NotAvailableError: It cannot be written.
    """
    from attending.training.parts import write_model

    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        write_model(model, processor, aside)
        aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) or "os error 28" in str(error):
            raise NotAvailableError(f"{folder}: cannot be written ({error})") from error
        raise


def _sizes(fresh: Fresh, vocabulary: int, context: int) -> dict[str, Any]:
    defaults = {"max_position_embeddings": context, "tie_word_embeddings": True}
    own = {"vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    return {"model_type": "llama", **defaults, **(fresh.text or {}), **own}


def _trained(fresh: Fresh, texts: Iterable[str]) -> Any:
    """A byte-level tokenizer: any text can be written with it. It begins no text with a token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(alphabet) + len(_SPECIAL)
    if fresh.tokenizer is None or fresh.tokenizer < least:
        raise InputError(f"expected at least {least}", field="init.fresh.tokenizer", value=fresh.tokenizer)
    trainer = trainers.BpeTrainer(
        vocab_size=fresh.tokenizer, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", eos_token="<|end_of_text|>")
