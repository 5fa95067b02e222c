"""The published 8B by its names and shapes, from headers that claim 17 GB and hold nothing."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from vila_checkpoints import write_json

from attending.errors import InputError
from attending.model.info import describe
from attending.model.published import read_published

H, INTER, LAYERS, HEADS, KV, VOCAB = 4096, 14336, 32, 32, 8, 128257
C, VISION_INTER, VISION_LAYERS = 1152, 4304, 27


def llm_shapes() -> dict[str, list[int]]:
    shapes = {"model.embed_tokens.weight": [VOCAB, H], "model.norm.weight": [H], "lm_head.weight": [VOCAB, H]}
    kv = H // HEADS * KV
    for layer in range(LAYERS):
        for name, shape in {
            "self_attn.q_proj": [H, H], "self_attn.k_proj": [kv, H], "self_attn.v_proj": [kv, H],
            "self_attn.o_proj": [H, H],
            "mlp.gate_proj": [INTER, H], "mlp.up_proj": [INTER, H], "mlp.down_proj": [H, INTER],
            "input_layernorm": [H], "post_attention_layernorm": [H],
        }.items():  # fmt: skip
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return shapes


def tower_shapes() -> dict[str, list[int]]:
    shapes = {
        "embeddings.patch_embedding.weight": [C, 3, 14, 14], "embeddings.patch_embedding.bias": [C],
        "embeddings.position_embedding.weight": [729, C], "head.probe": [1, 1, C],
        "head.attention.in_proj_weight": [3 * C, C], "head.attention.in_proj_bias": [3 * C],
    }  # fmt: skip
    pairs = {
        "post_layernorm": [C], "head.attention.out_proj": [C, C], "head.layernorm": [C],
        "head.mlp.fc1": [VISION_INTER, C], "head.mlp.fc2": [C, VISION_INTER],
    }  # fmt: skip
    for layer in range(VISION_LAYERS):
        begin = f"encoder.layers.{layer}."
        pairs |= {f"{begin}layer_norm{n}": [C] for n in (1, 2)}
        pairs |= {f"{begin}self_attn.{one}_proj": [C, C] for one in ("q", "k", "v", "out")}
        pairs |= {f"{begin}mlp.fc1": [VISION_INTER, C], f"{begin}mlp.fc2": [C, VISION_INTER]}
    for name, shape in pairs.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return {f"vision_model.{name}": shape for name, shape in shapes.items()}


def sparse(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of bfloat16 zeros that takes no room on the disk."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    for part in ("llm", "vision_tower", "mm_projector"):
        (tmp_path / part).mkdir()
    shapes = llm_shapes()
    names = list(shapes)
    weight_map = {}
    for number in range(4):
        file = f"model-{number + 1:05}-of-00004.safetensors"
        part = names[number::4]
        sparse(tmp_path / "llm" / file, {name: shapes[name] for name in part})
        weight_map.update(dict.fromkeys(part, file))
    write_json(tmp_path / "llm/model.safetensors.index.json", {"weight_map": weight_map})
    sparse(tmp_path / "vision_tower/model.safetensors", tower_shapes())
    sparse(
        tmp_path / "mm_projector/model.safetensors",
        {
            "layers.1.weight": [4 * C], "layers.1.bias": [4 * C], "layers.2.weight": [H, 4 * C], "layers.2.bias": [H],
            "layers.4.weight": [H, H], "layers.4.bias": [H],
        },
    )  # fmt: skip
    llm: dict[str, Any] = {
        "model_type": "llama", "hidden_size": H, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV, "intermediate_size": INTER, "vocab_size": VOCAB, "rope_theta": 5e5,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "bos_token_id": 128000, "eos_token_id": 128001,
        "tie_word_embeddings": False, "tokenizer_model_max_length": 4096,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": C, "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": 16, "intermediate_size": VISION_INTER, "patch_size": 14, "image_size": 384,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    }  # fmt: skip
    write_json(tmp_path / "llm/config.json", llm)
    write_json(tmp_path / "vision_tower/config.json", vision)
    write_json(tmp_path / "vision_tower/preprocessor_config.json", {"size": {"height": 384, "width": 384}})
    write_json(tmp_path / "mm_projector/config.json", {"mm_projector_type": "mlp_downsample"})
    write_json(tmp_path / "config.json", {"model_type": "llava_llama", "mm_vision_select_layer": -2})
    return tmp_path


def test_every_published_tensor_has_its_place_and_shape(eight: Path) -> None:
    published = read_published(eight, vocabulary=VOCAB)
    assert published.config.image_seq_length == 196
    assert published.context == 4096
    assert len(published.tensors) + len(published.unused) == len(llm_shapes()) + len(tower_shapes()) + 6
    unused = {tensor.name.removeprefix("vision_model.").split(".")[0] for tensor in published.unused}
    assert unused == {"head", "post_layernorm", "encoder"}
    assert {tensor.name.split(".")[3] for tensor in published.unused if "encoder" in tensor.name} == {"26"}
    text = published.config.text_config
    assert (text.rope_parameters["rope_theta"], text.max_position_embeddings) == (5e5, 8192)


def test_its_sizes_are_told_from_headers(eight: Path) -> None:
    found = describe(eight)
    assert found["layout"] == "published"
    assert abs(found["parameters"] - 8.5e9) < 0.1e9
    projector = sum(math.prod(shape) for shape in ([4 * C], [4 * C], [H, 4 * C], [H], [H, H], [H]))
    assert round(projector / 1e6, 2) == 35.67
    assert found["kv_bytes_per_token"] == 2 * LAYERS * KV * (H // HEADS) * 2
    assert found["memory_bytes"] == found["bytes"] + 4096 * found["kv_bytes_per_token"]


def test_one_wrong_shape_among_eight_billion_is_found(eight: Path) -> None:
    sparse(eight / "mm_projector/model.safetensors", {
        "layers.1.weight": [4 * C], "layers.1.bias": [4 * C], "layers.2.weight": [H, 4 * C], "layers.2.bias": [H],
        "layers.4.weight": [H, H - 1], "layers.4.bias": [H],
    })  # fmt: skip
    with pytest.raises(InputError, match=r"layers\.4\.weight: expected shape \[4096, 4096\], found \[4096, 4095\]"):
        read_published(eight, vocabulary=VOCAB)
