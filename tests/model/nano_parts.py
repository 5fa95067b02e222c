"""A language model in a package, as SmolLM2 comes, but tiny; and a run of training that began with it."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from attending.model import VilaM3Config, VilaM3ForConditionalGeneration
from attending.model.language_model import locate, processor_for, read_language_model
from attending.model.templates import mode
from attending.training.parts import quiet, write_model

PACKAGE = "toy_language"
FILE = f"package:{PACKAGE}/toy.gguf"
WIDTH, LAYERS, HEADS, KEYS, INNER = 64, 2, 4, 2, 96
TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "image_size": 32, "patch_size": 8}  # fmt: skip


def write_package(site: Path, version: str = "1.0", seed: int = 0) -> Path:
    """An installed package `toy-language` in a folder of packages; returns its GGUF file."""
    folder = site / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('nobody needs to import this')\n")
    info = site / f"{PACKAGE}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy-language\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{PACKAGE}\n")
    return _write_gguf(folder / "toy.gguf", seed)


def _write_gguf(path: Path, seed: int) -> Path:
    vocabulary, merges = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("toy")
    for add, value in (
        (writer.add_context_length, 512), (writer.add_embedding_length, WIDTH), (writer.add_block_count, LAYERS),
        (writer.add_feed_forward_length, INNER), (writer.add_head_count, HEADS), (writer.add_head_count_kv, KEYS),
        (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_rope_freq_base, 1e4),
        (writer.add_vocab_size, len(vocabulary)), (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, vocabulary), (writer.add_token_merges, merges),
        (writer.add_token_types, [3] * 4 + [1] * (len(vocabulary) - 4)),
        (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 2),
    ):  # fmt: skip
        add(value)
    draw = np.random.default_rng(seed)
    shapes = {"token_embd": (len(vocabulary), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        keys = WIDTH // HEADS * KEYS
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in {
            "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (keys, WIDTH),
            "attn_v": (keys, WIDTH), "attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
        }.items()}  # fmt: skip
    for name, shape in shapes.items():
        values = 1 + draw.normal(0, 0.02, shape) if len(shape) == 1 else draw.normal(0, 0.1, shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> tuple[list[str], list[str]]:
    """A byte-level vocabulary with a turn's markers, and its merges."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["Is there a liver lesion? Yes, there is one."] * 20, trainer)
    table = json.loads(inner.to_str())["model"]
    return sorted(table["vocab"], key=table["vocab"].get), [" ".join(pair) for pair in table["merges"]]


def write_run(run: Path, stages: int = 2, rank: int = 2, file: str = FILE) -> Path:
    """A run's folders as `attending train` leaves them: every stage's model, adapters merged, in bfloat16.

    Needs the package. Returns `run/model`.
    """
    language, tokenizer = read_language_model(locate(file))
    config = VilaM3Config(vision_config=dict(TOWER), text_config=language.config, conversation_mode="hermes-2")
    torch.manual_seed(7)
    model = VilaM3ForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.generation_config.eos_token_id = [2]
    processor = processor_for(config, tokenizer, 400)
    processor.chat_template = processor.tokenizer.chat_template = mode("hermes-2").template
    for number in range(1, stages + 1):
        model = model.to(torch.bfloat16).float()  # each stage begins from what the one before wrote
        layers = [name for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)]
        targets = [name for name in layers if ".language_model." in name]
        with quiet():
            adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        for name, one in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(one, std=0.1)  # PEFT begins with nothing
        folder = run / f"{number}-stage{number}" / "model"
        adapted.save_pretrained(folder / "adapter")
        with quiet():
            model = adapted.merge_and_unload()
        write_model(model.to(torch.bfloat16), processor, folder)
    (run / "model").symlink_to(folder.relative_to(run))
    return run / "model"
