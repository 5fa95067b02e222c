"""Turns a published checkpoint into one Transformers folder, streaming bytes and never holding a tensor in memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from transformers import AddedToken, GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from attending import __version__
from attending.errors import InputError
from attending.model.card import copy_licences, write_card
from attending.model.image_processing import VilaM3ImageProcessor
from attending.model.processing import IMAGE_TOKEN, VilaM3Processor
from attending.model.published import Published, is_published, read_published
from attending.model.templates import MODES, mode
from attending.model.tokenization import VilaM3Tokenizer
from attending.model.weights import StoredTensor, read_json, regular

_BLOCK = 16 * 2**20
_SHARD = 5 * 10**9  # bytes of one output file, as Transformers writes them


def import_checkpoint(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    conversation_mode: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `destination` as a Transformers folder with the weights of `source`, bit for bit.

    Args:
        source: A checkpoint in the published layout (`config.json`, `llm/`, `vision_tower/`, `mm_projector/`).
        destination: A folder that does not exist yet or is empty. It appears whole or not at all.
        conversation_mode: `llama_3`, `vicuna_v1`, `hermes-2` or `plain`; by default told by the tokenizer.
        progress: Called with bytes done and bytes in all.

    Returns:
        `destination`.

    Raises:
        InputError: When the source is not what it should be; nothing is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError("expected a folder that does not exist yet or is empty", path=destination)
    if not is_published(source):
        read_published(source)  # says what is missing
    tokenizer = _tokenizer(source / "llm")
    published = read_published(source, vocabulary=len(tokenizer))
    name = conversation_mode or _told_mode(tokenizer)
    template, stop = mode(name)
    published.config.conversation_mode = next(key for key, one in MODES.items() if one.template == template)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    except OSError as error:
        raise InputError(f"cannot be written to: {error.strerror}", path=destination.parent) from error
    try:
        partial.chmod(0o755)
        _save_processor(published, tokenizer, template, partial)
        published.config.save_pretrained(partial)
        _generation_config(published, tokenizer, stop).save_pretrained(partial)
        digests = _write_weights(published, partial, progress)
        write_card(partial, published, digests, copy_licences(source, partial))
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return destination


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer as the reference does: SentencePiece where there is a `tokenizer.model`, else the fast one."""
    settings = read_json(folder / "tokenizer_config.json")
    slow = (folder / "tokenizer.model").exists() and settings.get("tokenizer_class") != "PreTrainedTokenizerFast"
    file = folder / ("tokenizer.model" if slow else "tokenizer.json")
    regular(file)
    try:
        kind = VilaM3Tokenizer if slow else PreTrainedTokenizerFast
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(folder, clean_up_tokenization_spaces=False)
    except Exception as error:  # tokenizers and sentencepiece raise bare exceptions
        raise InputError("the tokenizer cannot be read", path=file, value=str(error)) from error
    return tokenizer


def _told_mode(tokenizer: PreTrainedTokenizerBase) -> str:
    """The conversation mode whose turn markers the tokenizer knows."""
    vocabulary = tokenizer.get_vocab()
    if "<|start_header_id|>" in vocabulary:
        return "llama_3"
    return "hermes-2" if "<|im_start|>" in vocabulary else "vicuna_v1"


def _save_processor(published: Published, tokenizer: PreTrainedTokenizerBase, template: str, folder: Path) -> None:
    tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)], special_tokens=True)
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) != published.config.image_token_id:
        raise InputError(f"the tokenizer already has a token {IMAGE_TOKEN}", path=published.folder / "llm")
    tokenizer.model_max_length = tokenizer.init_kwargs["model_max_length"] = published.context
    tokenizer.chat_template = template
    stored, side = published.preprocessor, published.config.vision_config.image_size
    image_processor = VilaM3ImageProcessor(
        size={"height": side, "width": side},
        image_mean=stored.get("image_mean", [0.5] * 3),
        image_std=stored.get("image_std", [0.5] * 3),
        rescale_factor=stored.get("rescale_factor", 1 / 255),
        image_aspect_ratio=published.image_aspect_ratio,
    )
    processor = VilaM3Processor(
        image_processor, tokenizer, chat_template=template, image_seq_length=published.config.image_seq_length
    )
    processor.save_pretrained(folder)


def _generation_config(published: Published, tokenizer: PreTrainedTokenizerBase, stop: str) -> GenerationConfig:
    """The reference's defaults: greedy, at most 1024 new tokens, at least 2, ending with a turn or the text."""
    text = published.config.text_config
    eos = [text.eos_token_id] if isinstance(text.eos_token_id, int) else list(text.eos_token_id or [])
    ends = [*eos, tokenizer.convert_tokens_to_ids(stop)] if stop in tokenizer.get_vocab() else eos
    return GenerationConfig(
        bos_token_id=text.bos_token_id,
        eos_token_id=list(dict.fromkeys(ends)),
        pad_token_id=eos[0] if eos else None,
        do_sample=False,
        max_new_tokens=1024,
        min_new_tokens=2,
    )


def _write_weights(
    published: Published, folder: Path, progress: Callable[[int, int], None] | None
) -> dict[str, tuple[int, str]]:
    """Copy all tensors, file by file in the order of their bytes; return each source file's size and SHA-256."""
    wanted = {(tensor.path, tensor.name): (name, tensor) for name, tensor in published.tensors.items()}
    every = sorted([*published.tensors.values(), *published.unused], key=lambda one: (str(one.path), one.start))
    paths = list(dict.fromkeys(tensor.path for tensor in every))
    total = sum(path.stat().st_size for path in paths)
    shards = _packed((wanted[key] for one in every if (key := (one.path, one.name)) in wanted), _SHARD)
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    place = {key: number for number, shard in enumerate(shards) for key, _ in shard}
    digests: dict[str, tuple[int, str]] = {}
    done = 0
    open_number, out = -1, None
    try:
        for path in paths:
            tensors = [one for one in every if one.path == path]
            with path.open("rb") as file:
                digest = hashlib.sha256()
                _copy(file, tensors[0].start, digest, None)
                for tensor, following in zip(tensors, [*tensors[1:], None], strict=True):
                    name = wanted.get((path, tensor.name), ("", tensor))[0]
                    if name and place[name] != open_number:
                        if out is not None:
                            _close(out)
                        open_number = place[name]
                        out = (folder / names[open_number]).open("xb")
                        out.write(_header(shards[open_number]))
                    _copy(file, tensor.end - tensor.start, digest, out if name else None)
                    # Rows past the tokenizer's last token are read for the digest only.
                    rest = (following.start if following else path.stat().st_size) - tensor.end
                    _copy(file, rest, digest, None)
                    if progress is not None:
                        progress(done + file.tell(), total)
                done += file.tell()
            digests[str(path.relative_to(published.folder))] = (path.stat().st_size, digest.hexdigest())
    finally:
        if out is not None:
            _close(out)
    if len(shards) > 1:
        weight_map = {name: names[place[name]] for shard in shards for name, _ in shard}
        size = sum(tensor.end - tensor.start for tensor in published.tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return digests


def _packed(tensors: Iterable[tuple[str, StoredTensor]], limit: int) -> list[list[tuple[str, StoredTensor]]]:
    """Cut a run of tensors into files of at most `limit` bytes, unless one tensor alone is longer."""
    shards: list[list[tuple[str, StoredTensor]]] = []
    size = limit
    for name, tensor in tensors:
        length = tensor.end - tensor.start
        if size + length > limit or not shards:
            shards.append([])
            size = 0
        shards[-1].append((name, tensor))
        size += length
    return shards


def _header(shard: list[tuple[str, StoredTensor]]) -> bytes:
    """The safetensors header of a file with these tensors in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt", "attending": __version__}}
    offset = 0
    for name, tensor in shard:
        end = offset + tensor.end - tensor.start
        entries[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _copy(file: BinaryIO, length: int, digest: "hashlib._Hash", out: BinaryIO | None) -> None:
    """Read `length` bytes into the digest and, where there is one, the output."""
    while length:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise InputError("the file became shorter while it was read", path=file.name)
        digest.update(block)
        if out is not None:
            out.write(block)
        length -= len(block)


def _close(file: BinaryIO) -> None:
    """Close a written file only once its bytes are on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
