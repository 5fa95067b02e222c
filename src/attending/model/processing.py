"""VilaM3Processor: text with `<image>` placeholders and pictures to the tensors the model takes."""

from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images
from transformers.processing_utils import MultiModalData

from attending.errors import InputError
from attending.model.tokenization import VilaM3Tokenizer

IMAGE_TOKEN = "<image>"


class VilaM3Processor(ProcessorMixin):
    """Tokenizes as the reference does, and prepares pictures.

    The text between placeholders is tokenized piece by piece with the tokenizer's special tokens; where the first piece
    begins with BOS, that BOS is kept and the first token of every piece is dropped. So Llama 3, whose
    template writes a BOS and whose tokenizer adds one, has two. Each placeholder becomes `image_seq_length` ids.

    Args:
        image_processor: A `VilaM3ImageProcessor`.
        tokenizer: A tokenizer that knows `<image>`.
        chat_template: Jinja template; see `attending.model.templates`.
        image_seq_length: Tokens to a picture.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_seq_length: int = 196,
    ) -> None:
        self.image_token = IMAGE_TOKEN
        self.image_seq_length = image_seq_length
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        audio: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare a text or a batch of texts with their pictures.

        Args:
            images: One picture, a flat list (taken in order over the batch), or a list of lists, one for each text.
            text: Prompt or prompts; each `<image>` is one picture.
            videos: Not supported.
            audio: Not supported.
            **kwargs: Transformers' usual ones: `return_tensors`, `padding`, `padding_side`, `pad_to_multiple_of`,
                `truncation` and `max_length` (cuts at the end and after splicing, perhaps inside a picture, as the
                reference does), `return_offsets_mapping`, `return_mm_token_type_ids`. `add_special_tokens` has no
                effect: what the reference adds is always added.

        Returns:
            `input_ids`, `attention_mask` `[batch, length]`, and `pixel_values` `[n, 3, S, S]` when there are pictures.

        Raises:
            InputError: When placeholders and pictures differ in number, or a prompt is longer than the model's context
                and `truncation` is not set.
        """
        if videos is not None or audio is not None:
            raise InputError("VILA-M3 takes pictures and text; no video, no audio", field="videos or audio")
        if text is None and images is None:
            raise InputError("give text, images or both", field="text")
        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        text_options = options["text_kwargs"]
        tensors = text_options.get("return_tensors")
        texts = [] if text is None else [text] if isinstance(text, str) else list(text)
        rows = [self._tokenize(one) for one in texts]
        pictures = None if images is None else self.image_processor.fetch_images(images)
        flat = [] if pictures is None else _flatten(pictures)
        if text is not None:
            counts = [row.ids.count(self.image_token_id) for row in rows]
            _check_counts(counts, pictures, len(flat))
            rows = [row.expanded(self.image_token_id, self.image_seq_length) for row in rows]
            flat = self._cut(rows, counts, flat, text_options)
        data: dict[str, Any] = self._padded(rows, text_options) if text is not None else {}
        if flat:
            pixels = self.image_processor(flat, **{**options["images_kwargs"], "return_tensors": tensors})
            data["pixel_values"] = pixels["pixel_values"]
        return BatchFeature(data, tensor_type=tensors)

    def expanded_ids(self, text: str) -> list[int]:
        """Tokenize one prompt; every placeholder becomes `image_seq_length` ids."""
        return self._tokenize(text).expanded(self.image_token_id, self.image_seq_length).ids

    def expanded_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """As `expanded_ids`, with the first character, and the last + 1, of the prompt that each id stands for."""
        row = self._tokenize(text).expanded(self.image_token_id, self.image_seq_length)
        return row.ids, row.offsets

    def _tokenize(self, text: str) -> "_Row":
        """Tokenize one prompt; each placeholder is one id for now."""
        if not isinstance(text, str):
            raise InputError("text must be a string or a list of strings", field="text", value=type(text).__name__)
        row = _Row([], [])
        start = 0
        first_is_bos = False
        for number, chunk in enumerate(text.split(IMAGE_TOKEN)):
            piece = self._chunk(chunk, start)
            if number == 0:
                first_is_bos = bool(piece.ids) and piece.ids[0] == self.tokenizer.bos_token_id
                kept = piece
            else:
                row.ids.append(self.image_token_id)
                row.offsets.append((start - len(IMAGE_TOKEN), start - len(IMAGE_TOKEN)))
                kept = _Row(piece.ids[1:], piece.offsets[1:]) if first_is_bos else piece
            row.ids += kept.ids
            row.offsets += kept.offsets
            start += len(chunk) + len(IMAGE_TOKEN)
        return row

    def _chunk(self, chunk: str, start: int) -> "_Row":
        """Tokenize text without placeholders; offsets count from `start`."""
        if isinstance(self.tokenizer, VilaM3Tokenizer):
            pieces = self.tokenizer.pieces(chunk)
            ids = self.tokenizer.convert_tokens_to_ids([piece for piece, _, _ in pieces])
            offsets = [(start + a, start + b) for _, a, b in pieces]
            if self.tokenizer.add_bos_token:
                ids, offsets = [self.tokenizer.bos_token_id, *ids], [(start, start), *offsets]
            return _Row(ids, offsets)
        found = self.tokenizer(chunk, return_offsets_mapping=True, verbose=False)
        return _Row(list(found["input_ids"]), [(start + a, start + b) for a, b in found["offset_mapping"]])

    def _cut(self, rows: list["_Row"], counts: list[int], flat: list[Any], options: dict[str, Any]) -> list[Any]:
        """Cut rows that are too long, in place, and return the pictures that still have a token."""
        limit = self.tokenizer.model_max_length
        if options.get("truncation") in (None, False, "do_not_truncate"):
            longest = max((len(row.ids) for row in rows), default=0)
            if longest > limit:
                raise InputError(
                    f"the context is {limit} tokens (pictures take {self.image_seq_length} each); shorten it, pass "
                    "truncation=True to cut the end, or raise processor.tokenizer.model_max_length",
                    field="prompt length",
                    value=longest,
                )
            return flat
        limit = options.get("max_length") or limit
        kept: list[Any] = []
        taken = 0
        for row, count in zip(rows, counts, strict=True):
            del row.ids[limit:], row.offsets[limit:]
            begun = -(-row.ids.count(self.image_token_id) // self.image_seq_length)
            kept += flat[taken : taken + begun]
            taken += count
        return kept

    def _padded(self, rows: list["_Row"], options: dict[str, Any]) -> dict[str, Any]:
        """Pad rows to a batch."""
        padding = options.get("padding", False)
        data: dict[str, Any] = dict(
            self.tokenizer.pad(
                {"input_ids": [row.ids for row in rows]},
                padding=padding,
                max_length=options.get("max_length") if padding == "max_length" else None,
                pad_to_multiple_of=options.get("pad_to_multiple_of"),
                padding_side=options.get("padding_side"),
                return_attention_mask=True,
                verbose=False,
            )
        )
        lengths = {len(ids) for ids in data["input_ids"]}
        if options.get("return_tensors") and len(lengths) > 1:
            raise InputError("texts of different length become tensors only with padding=True", field="padding")
        left = (options.get("padding_side") or self.tokenizer.padding_side) == "left"
        if options.get("return_offsets_mapping"):
            padded = []
            for row, ids in zip(rows, data["input_ids"], strict=True):
                fill = [(0, 0)] * (len(ids) - len(row.offsets))
                padded.append(fill + row.offsets if left else row.offsets + fill)
            data["offset_mapping"] = padded
        if options.get("return_mm_token_type_ids"):
            data["mm_token_type_ids"] = [[int(one == self.image_token_id) for one in ids] for ids in data["input_ids"]]
        return data

    def _prepare_processor_kwargs(self, *args: Any, return_assistant_tokens_mask: bool = False, **kwargs: Any) -> Any:
        """Transformers asks for a fast tokenizer to mask answers; here every tokenizer knows its offsets."""
        if return_assistant_tokens_mask and kwargs.get("continue_final_message"):
            raise ValueError("continue_final_message is not compatible with return_assistant_tokens_mask.")
        prepared = super()._prepare_processor_kwargs(*args, return_assistant_tokens_mask=False, **kwargs)
        return {**prepared, "return_offsets_mapping": True} if return_assistant_tokens_mask else prepared

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, **_: Any) -> MultiModalData:
        """What vLLM asks before it sees a picture; its size does not matter here."""
        count = len(image_sizes or [])
        return MultiModalData(num_image_tokens=[self.image_seq_length] * count, num_image_patches=[1] * count)

    @property
    def model_input_names(self) -> list[str]:
        """Names of what `__call__` returns for the model."""
        return ["input_ids", "attention_mask", "pixel_values"]


class _Row:
    """Ids of one prompt with the characters of the prompt that each stands for."""

    def __init__(self, ids: list[int], offsets: list[tuple[int, int]]) -> None:
        self.ids = ids
        self.offsets = offsets

    def expanded(self, image_token_id: int, count: int) -> "_Row":
        """Repeat each placeholder `count` times."""
        times = [count if one == image_token_id else 1 for one in self.ids]
        ids = [one for one, n in zip(self.ids, times, strict=True) for _ in range(n)]
        offsets = [one for one, n in zip(self.offsets, times, strict=True) for _ in range(n)]
        return _Row(ids, offsets)


def _flatten(pictures: Any) -> list[Any]:
    if isinstance(pictures, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in pictures):
        return [picture for group in pictures for picture in (group or [])]  # a text may have none
    if isinstance(pictures, (list, tuple)) and not pictures:
        return []
    return list(make_flat_list_of_images(pictures))


def _check_counts(counts: list[int], pictures: Any, given: int) -> None:
    """Refuse when the number of placeholders differs from the number of pictures, overall or in one text."""
    grouped = isinstance(pictures, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in pictures)
    if grouped and len(pictures) == len(counts):
        for number, (count, group) in enumerate(zip(counts, pictures, strict=True)):
            if count != len(group or []):
                raise InputError(
                    f"the text has {count} {IMAGE_TOKEN} but {len(group or [])} pictures came with it",
                    field=f"text {number}",
                )
    elif sum(counts) != given:
        raise InputError(f"the text has {sum(counts)} {IMAGE_TOKEN} but {given} pictures came with it", field="images")
