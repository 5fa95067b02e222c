"""Tiny checkpoints in the published layout, with tokenizers trained on a few sentences."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

TEXT = [
    "This is a CT image. Can you identify any liver masses or tumors?",
    "A chat between a curious user and an artificial intelligence assistant.",
    "You are a helpful language and vision assistant. The results are in the scan.",
    "USER: ASSISTANT: The colors in this image describe the liver and the hepatic tumor.",
]
LLAMA_SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[PAD]",
]  # fmt: skip


def write_published(
    folder: Path,
    tokenizer: str = "llama",
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    extra_rows: int = 0,
    **root: object,
) -> Path:
    """Write a checkpoint in the published layout with random weights; `root` overrides settings of its config.json."""
    for part in ("llm", "vision_tower", "mm_projector"):
        (folder / part).mkdir()
    length = {"llama": write_llama_tokenizer, "vicuna": write_vicuna_tokenizer}[tokenizer](folder / "llm")
    torch.manual_seed(7)
    eos = {"llama": 1, "vicuna": 2}[tokenizer]
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=length + extra_rows, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-5,
            rope_theta=10000.0, bos_token_id=0 if tokenizer == "llama" else 1, eos_token_id=eos,
            initializer_range=0.2,
        )
    )  # fmt: skip
    tower = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, image_size=42,
            patch_size=14,
        )
    )  # fmt: skip
    for one in tower.parameters():
        torch.nn.init.normal_(one, std=0.15)
    projector = {
        "layers.1.weight": torch.rand(96) + 0.5,
        "layers.1.bias": torch.randn(96) * 0.1,
        "layers.2.weight": torch.randn(32, 96) * 0.2,
        "layers.2.bias": torch.randn(32) * 0.1,
        "layers.4.weight": torch.randn(32, 32) * 0.2,
        "layers.4.bias": torch.randn(32) * 0.1,
    }
    tower_state = {"vision_model." + name: one for name, one in tower.state_dict().items()}
    for part, state in (("llm", llm.state_dict()), ("vision_tower", tower_state), ("mm_projector", projector)):
        state = {name: one.detach().to(dtype).contiguous() for name, one in state.items()}
        write_weights(folder / part, state, shards if part == "llm" else 1)
    junk = {"_name_or_path": "/home/someone/else"}
    text = {**llm.config.to_dict(), **junk, "tokenizer_model_max_length": 1024, "model_type": "llama"}
    text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]  # as written by the Transformers of that time
    write_json(folder / "llm/config.json", text)
    write_json(folder / "vision_tower/config.json", {**tower.config.to_dict(), **junk})
    write_json(folder / "mm_projector/config.json", {"mm_projector_type": "mlp_downsample", **junk})
    preprocessor = {
        "size": {"height": 42, "width": 42},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 3,
    }
    write_json(folder / "vision_tower/preprocessor_config.json", preprocessor)
    write_json(
        folder / "config.json",
        {
            "model_type": "llava_llama", "mm_vision_select_layer": -2, "mm_vision_select_feature": "cls_patch",
            "image_aspect_ratio": "resize", "model_dtype": "__import__('os').system('false')", "s2": False,
            "llm_cfg": junk, "resume_path": "/nowhere", **root,
        },
    )  # fmt: skip
    return folder


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_weights(folder: Path, state: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(state)
    weight_map = {}
    for number in range(shards):
        part = {name: state[name] for name in names[number::shards]}
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def write_llama_tokenizer(folder: Path) -> int:
    """A byte-level BPE that adds BOS, like Llama 3's."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=LLAMA_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXT, trainer)
    bos = LLAMA_SPECIAL[0]
    inner.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    inner.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": LLAMA_SPECIAL[1],
            "pad_token": "[PAD]", "padding_side": "right", "model_max_length": 1024,
            "clean_up_tokenization_spaces": True, "legacy": False,
        },
    )  # fmt: skip
    return inner.get_vocab_size()


def write_vicuna_tokenizer(folder: Path) -> int:
    """A SentencePiece BPE with byte fallback, like Llama 2's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4), model_writer=model, vocab_size=340, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False,
            "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
            "padding_side": "right",
            "added_tokens_decoder": {
                str(number): {"content": text, **token} for number, text in enumerate(["<unk>", "<s>", "</s>"])
            },
        },
    )  # fmt: skip
    return 340
