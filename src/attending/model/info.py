"""What a model folder holds, from its headers alone: parameters, bytes, dtypes, licence, memory."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from attending.errors import InputError
from attending.model.card import licence_name
from attending.model.published import PARTS, is_published
from attending.model.weights import read_folder, read_json, regular


def describe(folder: Path) -> dict[str, Any]:
    """Describe a published checkpoint or a Transformers folder.

    Returns:
        `layout`, `model_type`, `parameters`, `bytes`, `dtypes` (parameters of each), `licence`, `context` (tokens),
        `kv_bytes_per_token` and `memory_bytes` (weights and the keys and values of one full context).

    Raises:
        InputError: When the folder is not a checkpoint or is damaged.
    """
    regular(folder / "config.json")
    published = is_published(folder)
    tensors = [one for part in (PARTS if published else [""]) for one in read_folder(folder / part).values()]
    root = read_json(folder / "config.json")
    text = read_json(folder / "llm/config.json") if published else root.get("text_config", root)
    if not isinstance(text, dict) or not tensors:
        raise InputError("expected the settings and weights of a language model", path=folder)
    dtypes: Counter[str] = Counter()
    for tensor in tensors:
        dtypes[tensor.dtype] += math.prod(tensor.shape)
    size = sum(tensor.end - tensor.start for tensor in tensors)
    limits = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    default = limits.get("model_max_length") or text.get("max_position_embeddings")
    context = _number(folder, text, "tokenizer_model_max_length", default)
    heads = _number(folder, text, "num_attention_heads")
    per_head = _number(folder, text, "head_dim", _number(folder, text, "hidden_size") // heads)
    kept = _number(folder, text, "num_key_value_heads", heads)
    cached = 2 * _number(folder, text, "num_hidden_layers") * kept * per_head
    largest = max(tensors, key=lambda one: one.end - one.start)
    per_token = cached * ((largest.end - largest.start) // max(1, math.prod(largest.shape)))
    return {
        "layout": "published" if published else "transformers",
        "model_type": root.get("model_type"),
        "parameters": sum(dtypes.values()),
        "bytes": size,
        "dtypes": dict(dtypes),
        "licence": licence_name(folder),
        "context": context,
        "kv_bytes_per_token": per_token,
        "memory_bytes": size + context * per_token,
    }


def _number(folder: Path, settings: dict[str, Any], field: str, default: Any = None) -> int:
    value = default if settings.get(field) is None else settings[field]
    if type(value) is not int or value < 1:
        raise InputError("expected a positive whole number", path=folder / "config.json", field=field, value=value)
    return value
