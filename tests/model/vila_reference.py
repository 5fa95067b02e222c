"""An oracle: the rules of the published model written out as plainly as possible, on the published files.

It shares no code with `attending.model`: pictures go through the whole Transformers tower, the projector is loops, and
embeddings are spliced as lists.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

IMAGE = -200


class Reference:
    """Computes what the reference computes from a checkpoint in the published layout."""

    def __init__(self, folder: Path) -> None:
        def settings(part: str) -> dict[str, Any]:
            return json.loads((folder / part / "config.json").read_text())

        text = settings("llm")
        drop = {"model_type", "_name_or_path", "tokenizer_model_max_length", "dtype", "architectures"}
        self.llm = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in text.items() if k not in drop}))
        self.llm.load_state_dict(weights(folder / "llm"))
        vision = {k: v for k, v in settings("vision_tower").items() if k not in drop}
        self.tower = SiglipVisionModel(SiglipVisionConfig(**vision))
        tower = weights(folder / "vision_tower")
        self.tower.load_state_dict({name.removeprefix("vision_model."): one for name, one in tower.items()})
        self.projector = weights(folder / "mm_projector")
        for one in self.projector.values():
            one.requires_grad_(True)
        self.context = text["tokenizer_model_max_length"]
        self.folder = folder / "llm"

    def chunk(self, text: str) -> list[int]:
        """Tokenize one chunk with special tokens."""
        if (self.folder / "tokenizer.json").exists():
            return Tokenizer.from_file(str(self.folder / "tokenizer.json")).encode(text).ids
        model = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "tokenizer.model"))
        ids = [1]
        for number, part in enumerate(text.split("</s>")):
            ids += [2] if number else []
            # SentencePiece itself puts the dummy space before the first part; behind `</s>` there is none, so the
            # part is encoded behind a known piece, which is then taken off.
            if number == 0:
                ids += model.encode(part) if part else []
            elif part:
                guard = model.encode("<unk>")
                ids += model.encode("<unk>" + part)[len(guard) :]
        return ids

    def tokenize(self, prompt: str) -> list[int]:
        """Split on `<image>`, tokenize each chunk, keep one BOS, drop the first token of every chunk after a BOS."""
        chunks = [self.chunk(text) for text in prompt.split("<image>")]
        bos = 0 if (self.folder / "tokenizer.json").exists() else 1
        offset = int(bool(chunks[0]) and chunks[0][0] == bos)
        ids = chunks[0][:offset]
        for number, chunk in enumerate(chunks):
            ids += [IMAGE] if number else []
            ids += chunk[offset:]
        return ids

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        side = self.tower.config.image_size
        small = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        scaled = (np.asarray(small) * (1 / 255)).astype(np.float32)
        return torch.from_numpy((scaled - np.float32(0.5)) / np.float32(0.5)).permute(2, 0, 1)

    def features(self, picture: Image.Image) -> torch.Tensor:
        """`[tokens, H]`, by loops over columns and rows of blocks."""
        states = self.tower(self.pixels(picture)[None], output_hidden_states=True).hidden_states[-2][0]
        side = round(len(states) ** 0.5)
        even = side + side % 2
        nothing = torch.zeros_like(states[0])

        def patch(row: int, column: int) -> torch.Tensor:
            return states[row * side + column] if row < side and column < side else nothing

        tokens = []
        for q in range(even // 2):
            for r in range(even // 2):
                block = [patch(2 * r + i, 2 * q + j) for i in (0, 1) for j in (0, 1)]
                tokens.append(torch.cat(block))
        p = self.projector
        x = torch.stack(tokens)
        x = functional.layer_norm(x, x.shape[-1:], p["layers.1.weight"], p["layers.1.bias"], 1e-5)
        x = functional.gelu(functional.linear(x, p["layers.2.weight"], p["layers.2.bias"]))
        return functional.linear(x, p["layers.4.weight"], p["layers.4.bias"])

    def splice(self, ids: list[int], pictures: list[Image.Image]) -> torch.Tensor:
        """`[length, H]`, cut to the context."""
        table = self.llm.get_input_embeddings().weight
        remaining = iter(pictures)
        rows = [self.features(next(remaining)) if one == IMAGE else table[one][None] for one in ids]
        return torch.cat(rows)[: self.context]

    def logits(self, prompt: str, pictures: list[Image.Image]) -> torch.Tensor:
        return self.llm(inputs_embeds=self.splice(self.tokenize(prompt), pictures)[None]).logits[0]

    def generate(self, prompt: str, pictures: list[Image.Image], count: int, stops: set[int], eos: int) -> list[int]:
        """Greedy, recomputing everything; the end of the text is held back for two tokens, a turn's end is not."""
        embeds = self.splice(self.tokenize(prompt), pictures)
        new: list[int] = []
        with torch.no_grad():
            while len(new) < count and not (new and new[-1] in stops):
                scores = self.llm(inputs_embeds=embeds[None]).logits[0, -1]
                if len(new) < 2:
                    scores[eos] = -torch.inf
                new.append(int(scores.argmax()))
                embeds = torch.cat([embeds, self.llm.get_input_embeddings().weight[new[-1]][None]])
        return new


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(load_file(path))
    return {name: one.float() for name, one in found.items()}
