"""The model of a stage: which parts are trained, adapters put in and merged, and the folder that comes out."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from attending.errors import InputError, NotAvailableError
from attending.model import LocalModel, VilaM3ForConditionalGeneration
from attending.model.templates import MODES, mode
from attending.training.language import part_of
from attending.training.parallel import World
from attending.training.recipe import CONTRASTIVE, PARTS, Lora, Stage


def load_start(folder: Path, dtype: str = "float32") -> tuple[Any, Any]:
    """Model and processor of a folder.

    Raises:
        InputError: It is not a whole model, or not one of VILA-M3's architecture.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such folder; a published checkpoint becomes one by: attending model import SOURCE FOLDER",
            path=folder,
        )
    found = LocalModel.load(folder, dtype)
    if not isinstance(found.model, VilaM3ForConditionalGeneration):
        raise InputError("expected a model of VILA-M3's architecture", path=folder, value=type(found.model).__name__)
    return found.model, found.processor


def speak(model: Any, processor: Any, template: str | None) -> None:
    """Make a model and its processor use another conversation mode, the way it ends its turns included."""
    if template is None:
        return
    wanted = mode(template)
    model.config.conversation_mode = next(key for key, one in MODES.items() if one == wanted)
    processor.chat_template = processor.tokenizer.chat_template = wanted.template
    own = model.config.text_config.eos_token_id
    ends = [own] if isinstance(own, int) else list(own or [])
    stop = processor.tokenizer.convert_tokens_to_ids(wanted.stop)
    known = wanted.stop in processor.tokenizer.get_vocab()
    model.generation_config.eos_token_id = list(dict.fromkeys([*ends, *([stop] if known else [])])) or None


def freeze(model: Any, stage: Stage, dtype: str, world: World) -> Any:
    """Let gradients flow where the stage trains, with adapters where it has them; returns PEFT's wrapper, or None.

    What is trained is kept in float32. What is frozen is kept in `dtype`, unless several processes split the weights:
    FSDP2 wants one kind in a block.
    """
    model.requires_grad_(False)
    adapted = put_adapters(model, stage.lora) if stage.lora else None
    for name, parameter in model.named_parameters():
        part = part_of(name)
        if not getattr(stage.rates, part):
            continue
        by_adapter = stage.lora is not None and part in stage.lora.parts
        parameter.requires_grad_("lora_" in name if by_adapter else True)
    compute = getattr(torch, dtype)
    for parameter in model.parameters():
        keep = parameter.requires_grad or world.size > 1
        parameter.data = parameter.data.to(torch.float32 if keep else compute)
    if stage.gradient_checkpointing:
        model.activation_checkpointing_enable()
    return adapted


def put_adapters(model: Any, lora: Lora) -> Any:
    """PEFT's LoRA on every linear layer of the named parts; the head has none, as in the reference."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise NotAvailableError("LoRA needs peft: pip install 'attending[train]'") from error
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and part_of(f"{name}.") in lora.parts and name != "lm_head"
    ]
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, bias="none"
    )
    with quiet():
        return get_peft_model(model, settings)


def export(
    start: Path, trained: Mapping[str, torch.Tensor], stage: Stage, dtype: str, folder: Path, template: str | None
) -> None:
    """Write the model that a stage made: the one it started from, with what was trained put in.

    Args:
        start: Folder of the model that the stage started from.
        trained: Weights by name, as `Talk.module` or a contrastive module has them: `model.` and the model's own names.
        stage: The stage.
        dtype: What the weights are stored in.
        folder: Appears whole or not at all. With adapters, these lie in `adapter/` too, in PEFT's form, and beside them
            in `tuned.safetensors` what was tuned fully.
        template: Conversation mode; None keeps the model's.

    Raises:
        NotAvailableError: It cannot be written.
    """
    model, processor = load_start(start)
    speak(model, processor, template)
    adapted = put_adapters(model, stage.lora) if stage.lora else None
    prefix = "tower." if stage.objective in CONTRASTIVE else "model."
    target = model.model.vision_tower if stage.objective in CONTRASTIVE else model
    state = {name.removeprefix(prefix): one for name, one in trained.items() if name.startswith(prefix)}
    unknown = target.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise InputError("the model has no such tensor", path=start, field=unknown[0])
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        if adapted is not None:
            adapted.save_pretrained(aside / "adapter")
            whole = {name: one.contiguous() for name, one in state.items() if "lora_" not in name}
            save_file(whole, aside / "adapter" / "tuned.safetensors")
            with quiet():
                model = adapted.merge_and_unload()
        model.to(getattr(torch, dtype))
        write_model(model, processor, aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        full = isinstance(error, OSError) or "os error 28" in str(error)  # safetensors wraps the system's errors
        if full:
            raise NotAvailableError(f"{folder}: the model cannot be written ({error}); run the same again") from error
        raise


def write_model(model: Any, processor: Any, folder: Path) -> None:
    """Write an ordinary folder, without the progress bars of Transformers."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """PEFT 0.21 asks Transformers for a name that Transformers now warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def count_parts(model: nn.Module) -> dict[str, int]:
    """Parameters of each part."""
    found = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        found[part_of(name)] += parameter.numel()
    return found
