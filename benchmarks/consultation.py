"""A two-turn consultation: a session beside Transformers' `generate` recomputing everything, in one run.

Turn one: 600 tokens of text and one picture of 196. Turn two: the same, the answer, and 60 tokens from an expert. Each
turn generates 40 tokens. SmolLM2-135M's shape with a base-size tower, random weights: only speed is measured.

    python benchmarks/consultation.py [--rounds 5] [--threads 1] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast, SiglipVisionConfig

from attending.imaging import Picture
from attending.model import LocalModel, Sampling, VilaM3Config, VilaM3ForConditionalGeneration
from attending.model.image_processing import VilaM3ImageProcessor
from attending.model.processing import VilaM3Processor
from attending.model.templates import MODES

NEW = 40
EXPERT = 60


def build(folder: Path) -> None:
    """Write the model: 134.5 M decoder, 86 M tower at 384 pixels, bfloat16; every byte is a token."""
    text = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        rope_theta=100000.0,
    )
    vision = SiglipVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=384,
        patch_size=14,
    )
    torch.manual_seed(0)
    config = VilaM3Config(text_config=text, vision_config=vision, conversation_mode="plain", dtype="bfloat16")
    model = VilaM3ForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({one: index for index, one in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens([f"<unused{index}>" for index in range(len(alphabet), 49152)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=8192, pad_token=alphabet[0])
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    template, tokens = MODES["plain"].template, config.image_seq_length
    processor = VilaM3Processor(VilaM3ImageProcessor(), tokenizer, chat_template=template, image_seq_length=tokens)
    processor.save_pretrained(folder)


class Consultation:
    """The conversation of both turns, and both ways to compute it."""

    def __init__(self, model: LocalModel, seed: int) -> None:
        draw = np.random.default_rng(seed)
        letters = "".join(draw.choice(list("abcdefgh "), 600))
        self.model = model
        self.picture = Picture(draw.integers(0, 256, (512, 512, 3), dtype=np.uint8))
        self.first = [{"role": "user", "content": f"<image>{letters}"}]
        self.expert = "".join(draw.choice(list("mnopqrst "), EXPERT - 1))

    def second(self, answer: str) -> list[dict[str, str]]:
        """The messages of the second turn."""
        return [*self.first, {"role": "assistant", "content": answer}, {"role": "user", "content": self.expert}]

    def session(self, seconds: dict[str, float]) -> None:
        """Both turns by a session."""
        session = self.model.session()
        self.model._features.clear()  # each round sees its picture for the first time
        answer = _timed("turn 1", seconds, lambda: self._stream(session, self.first, NEW))
        messages = self.second(answer)
        began = time.perf_counter()
        stream = session.stream(messages, [self.picture], Sampling(max_new_tokens=NEW))
        next(stream)
        seconds["first token of turn 2"] = time.perf_counter() - began
        for _ in stream:
            pass
        seconds["turn 2"] = time.perf_counter() - began

    def _stream(self, session: object, messages: list[dict[str, str]], new: int) -> str:
        stream = session.stream(messages, [self.picture], Sampling(max_new_tokens=new))  # type: ignore[attr-defined]
        return "".join(delta.text for delta in stream)

    def recompute(self, seconds: dict[str, float]) -> None:
        """Both turns by `generate`, each from nothing."""
        answer = _timed("turn 1", seconds, lambda: self._generate(self.first, NEW))
        messages = self.second(answer)
        _timed("first token of turn 2", seconds, lambda: self._generate(messages, 1))
        _timed("turn 2", seconds, lambda: self._generate(messages, NEW))

    def _generate(self, messages: list[dict[str, str]], new: int) -> str:
        processor = self.model.processor
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = processor(text=prompt, images=[self.picture.to_pil()], return_tensors="pt")
        ids = self.model.model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
        return str(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def _timed(name: str, seconds: dict[str, float], act: Callable[[], str]) -> str:
    began = time.perf_counter()
    result = act()
    seconds[name] = time.perf_counter() - began
    return result


def measure(model: LocalModel, rounds: int) -> dict[str, list[float]]:
    """Seconds of each part, both ways interleaved; keys are `way: part`."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        consultation = Consultation(model, number)
        for way in (consultation.session, consultation.recompute):
            seconds: dict[str, float] = {}
            way(seconds)
            seconds["two turns"] = seconds["turn 1"] + seconds["turn 2"]
            seconds["decode, a token"] = (seconds["turn 2"] - seconds["first token of turn 2"]) / (NEW - 1)
            if number:  # the first round warms up
                for part, value in seconds.items():
                    found.setdefault(f"{way.__name__}: {part}", []).append(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        found = measure(LocalModel.load(folder), options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.rounds} rounds, {options.threads} threads, bfloat16, seconds: median [min-max]")
    print("| part | session | generate, recomputing | ratio of medians, by round |\n|---|---|---|---|")
    for part in ("two turns", "first token of turn 2", "decode, a token"):
        ours, theirs = found[f"session: {part}"], found[f"recompute: {part}"]
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        print(f"| {part} | {_spread(ours, 4)} | {_spread(theirs, 4)} | {_spread(ratios, 2)} |")


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


if __name__ == "__main__":
    main()
