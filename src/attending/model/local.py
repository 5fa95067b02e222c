"""LocalModel: a model folder loaded here, and Session: one conversation with it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils import logging as transformers_logging

from attending.errors import InputError
from attending.imaging import Picture
from attending.model.decoding import Constraint, Delta, Sampling, TextWriter, choose
from attending.model.engines import Engine, ForwardEngine, LeanEngine, Prompt
from attending.model.lean import LeanLlama
from attending.model.messages import Messages, as_parts, count_pictures
from attending.model.modeling import VilaM3ForConditionalGeneration
from attending.model.weights import read_folder, read_json

_PICTURES_KEPT = 64


class LocalModel:
    """A Transformers image-text-to-text model: VILA-M3, or any other.

    Making one costs nothing; pictures already encoded are kept, so after the weights change make another.

    Args:
        model: The model, where it is to run.
        processor: Its processor.
        name: What answers record as the model.
    """

    @classmethod
    def load(cls, folder: str | PathLike[str], dtype: str = "auto", device: str = "cpu") -> "LocalModel":
        """Load a model folder.

        Args:
            folder: The folder.
            dtype: `auto` takes what the weights are stored in; or `float32`, `bfloat16`, `float16`.
            device: Where to put it.

        Raises:
            InputError: When the folder is not a complete, undamaged model; most of it before any weight is read.
        """
        folder = Path(folder)
        read_json(folder / "config.json")
        read_folder(folder)  # truncated or missing shards, overlaps, pickles
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        here = {"local_files_only": True, "trust_remote_code": False}  # no download, and no code from the folder
        try:
            config = AutoConfig.from_pretrained(folder, **here)
            processor = AutoProcessor.from_pretrained(folder, **here)
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **here
            )
        except (ValueError, KeyError, OSError, RuntimeError, TypeError) as error:
            raise InputError("not a model that Transformers can load", path=folder, value=str(error)) from error
        finally:
            if bars:
                transformers_logging.enable_progress_bar()
        for name in sorted(report["missing_keys"]):  # Transformers would go on with random numbers
            raise InputError("the model needs this tensor, and no file has it", path=folder, field=name)
        return cls(model.to(device).eval(), processor, folder.resolve().name)

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, name: str) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.tokenizer = self.processor.tokenizer
        self.lock = threading.Lock()
        self.image_token_id: int | None = getattr(self.model.config, "image_token_id", None)
        text = self.model.config.get_text_config()
        self.context: int = min(text.max_position_embeddings, self.tokenizer.model_max_length)
        self._positions: int = text.max_position_embeddings
        generation = self.model.generation_config
        ends = generation.eos_token_id if generation.eos_token_id is not None else self.tokenizer.eos_token_id
        self.end_ids = {ends} if isinstance(ends, int) else set(ends or [])
        own = text.eos_token_id
        self._suppressed = [own] if isinstance(own, int) else list(own or [])
        self._suppress_for: int = generation.min_new_tokens or 0
        self._vila = isinstance(self.model, VilaM3ForConditionalGeneration)
        self.lean: LeanLlama | None = None
        if self._vila and text.model_type == "llama":
            self.lean = LeanLlama(self.model.model.language_model, self.model.lm_head)
        self._features: OrderedDict[str, torch.Tensor] = OrderedDict()

    def session(self) -> "Session":
        """Begin a conversation; sessions of one model share its weights and encoded pictures."""
        return Session(self)

    def engine(self) -> Engine:
        """What computes for one conversation."""
        return LeanEngine(self) if self.lean is not None else ForwardEngine(self)

    def prompt(self, messages: Messages, pictures: Sequence[Picture]) -> Prompt:
        """Render, tokenize and check a conversation that the model is to continue.

        Raises:
            InputError: When placeholders and pictures differ in number, or the prompt is too long.
        """
        placeholders = count_pictures(messages)
        if placeholders != len(pictures):
            raise InputError(
                f"the messages have {placeholders} places for pictures, {len(pictures)} pictures came", field="pictures"
            )
        if self._vila:
            text = self.processor.apply_chat_template(as_parts(messages, None), add_generation_prompt=True)
            ids = self.processor.expanded_ids(text)
            inputs: dict[str, torch.Tensor] = {}
            if pictures and self.lean is None:
                inputs["image_features"] = torch.stack([self.features(picture) for picture in pictures])
        else:
            filled = as_parts(messages, [picture.to_pil() for picture in pictures])
            found = self.processor.apply_chat_template(
                filled, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            ).to(self.model.device, self.model.dtype)
            ids = found["input_ids"][0].tolist()
            inputs = {key: value for key, value in found.items() if key not in ("input_ids", "attention_mask")}
        if len(ids) >= self.context:
            raise InputError(
                f"the context is {self.context} tokens, pictures and answer included; shorten the conversation",
                field="prompt length",
                value=len(ids),
            )
        return Prompt(ids, self._keyed(ids, pictures), pictures, inputs)

    def _keyed(self, ids: list[int], pictures: Sequence[Picture]) -> list[int | str]:
        if not self._vila:
            return list(ids)
        digests = chain.from_iterable([picture.digest] * self.processor.image_seq_length for picture in pictures)
        return [next(digests) if one == self.image_token_id else one for one in ids]

    @torch.inference_mode()
    def features(self, picture: Picture) -> torch.Tensor:
        """Encode a picture to `[tokens, H]`; the last ones seen are kept, by content."""
        with self.lock:
            found = self._features.get(picture.digest)
            if found is not None:
                self._features.move_to_end(picture.digest)
                return found
        pixels = self.processor.image_processor(picture.to_pil(), return_tensors="pt")["pixel_values"]
        encoded: torch.Tensor = self.model.get_image_features(pixels.to(self.model.device)).pooler_output[0]
        with self.lock:
            self._features[picture.digest] = encoded
            while len(self._features) > _PICTURES_KEPT:
                self._features.popitem(last=False)
        return encoded

    @torch.inference_mode()
    def embed(self, prompt: Prompt, start: int) -> torch.Tensor:
        """Embed a prompt from position `start` on: `[1, rest, H]`, pictures in their places."""
        embeds = self.embed_tokens([0 if one == self.image_token_id else one for one in prompt.ids[start:]])
        embeds = embeds.transpose(0, 1)
        positions = [index for index, one in enumerate(prompt.ids) if one == self.image_token_id]
        tokens = self.processor.image_seq_length
        for number, picture in enumerate(prompt.pictures):
            first, last = positions[number * tokens], positions[(number + 1) * tokens - 1] + 1
            if last > start:
                kept = max(first, start)
                embeds[0, kept - start : last - start] = self.features(picture)[kept - first :].to(embeds.dtype)
        return embeds

    @torch.inference_mode()
    def embed_tokens(self, tokens: list[int]) -> torch.Tensor:
        """Embed one token of each of several rows: `[rows, 1, H]`."""
        embeds: torch.Tensor = self.model.get_input_embeddings()(
            torch.tensor(tokens, device=self.model.device).unsqueeze(1)
        )
        return embeds

    def room(self, prompt: Prompt, sampling: Sampling) -> int:
        """How many tokens may still be generated."""
        return min(sampling.max_new_tokens, self._positions - len(prompt.ids))

    def next_token(
        self,
        logits: torch.Tensor,
        new_ids: list[int],
        sampling: Sampling,
        constraint: Constraint | None,
        generator: torch.Generator,
    ) -> int:
        """Choose the next token; the end of the text is held back for the first tokens where the model asks for it."""
        if len(new_ids) < self._suppress_for:
            logits = logits.clone()
            logits[self._suppressed] = -torch.inf
        if constraint is not None:
            logits = constraint(new_ids, logits)
            if not torch.isfinite(logits).any():
                raise ValueError("the constraint leaves no token to choose")
        return choose(logits, sampling, generator)


class Session:
    """One conversation with a local model.

    What the next prompt shares with what has been computed is not computed again, so a caller may simply pass the
    whole conversation every turn. Not to be used from two threads at once.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._engine = model.engine()
        self._turn = 0

    def stream(
        self,
        messages: Messages,
        pictures: Sequence[Picture] = (),
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        constraint: Constraint | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Delta]:
        """Let the model continue a conversation.

        Args:
            messages: The conversation so far: `role` (system, user, assistant) and `content`, a string with `<image>`
                placeholders or a list of text and image parts.
            pictures: One for each placeholder, in order.
            sampling: How to choose tokens and when to stop.
            constraint: What the answer may look like.
            cancelled: Asked before every token; True ends the answer.

        Yields:
            Text as it comes; the last piece says why it ended.

        Raises:
            InputError: When the conversation does not fit the pictures or the model's context.
        """
        self._turn += 1
        return self._stream(self._turn, messages, pictures, sampling, constraint, cancelled)

    def _stream(
        self,
        turn: int,
        messages: Messages,
        pictures: Sequence[Picture],
        sampling: Sampling,
        constraint: Constraint | None,
        cancelled: Callable[[], bool],
    ) -> Iterator[Delta]:
        model = self._model
        prompt = model.prompt(messages, pictures)
        generator = torch.Generator().manual_seed(sampling.seed)
        writer = TextWriter(model.tokenizer, sampling.stop)
        logits, reused = self._engine.prefill(prompt)
        room = model.room(prompt, sampling)
        finish: Literal["stop", "length", "cancelled"] | None = None
        while finish is None:
            if cancelled():
                finish = "cancelled"
                break
            token = model.next_token(logits, writer.ids, sampling, constraint, generator)
            if token in model.end_ids:
                finish = "stop"
                break
            text = writer.add(token)
            if text:
                yield Delta(text)
                if turn != self._turn:
                    raise RuntimeError("this session has begun another answer; the earlier one cannot go on")
            if writer.stopped:
                finish = "stop"
            elif len(writer.ids) >= room:
                finish = "length"
            else:
                logits = self._engine.step(token)
        yield Delta(writer.finish(), finish, len(prompt.ids), reused, len(writer.ids))
