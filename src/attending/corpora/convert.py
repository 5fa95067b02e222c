"""Convert: conversations written as JSON lines in the common `messages` form, with their pictures beside them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from attending.corpora.conversation import Conversation
from attending.corpora.dataset import Dataset
from attending.errors import InputError
from attending.imaging import Picture


class Written(NamedTuple):
    """What was written."""

    conversations: int
    pictures: int
    folder: Path


def convert(dataset: Dataset, out: Path, progress: Callable[[int], None] = lambda done: None) -> Written:
    """Write a dataset's conversations to `out`, which the reader `llava` reads back.

    A line each: `id`, `messages` (`role`, `content` with `<image>` where a picture stands), `images` (relative to
    `out`), `patient`, `split`, `source`, `facts`. Pictures go to the folder `<name>_images`, each once: files are
    linked where the disk allows it and copied where not, pictures made in memory become PNG. The file appears under its
    name only when it is whole.

    Raises:
        InputError: `out` is there already, or cannot be written.
    """
    if out.exists():
        raise InputError("is there already; choose another name", path=out)
    folder = out.with_name(f"{out.stem}_images")
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    pictures: dict[Path | str, str] = {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            for done, conversation in enumerate(dataset.conversations, 1):
                names = [_put(image, folder, pictures) for image in conversation.images]
                file.write(json.dumps(_line(conversation, names), ensure_ascii=False) + "\n")
                progress(done)
        os.replace(aside, out)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=out) from error
    finally:
        aside.unlink(missing_ok=True)
    return Written(len(dataset.conversations), len(pictures), folder)


def _line(conversation: Conversation, names: list[str]) -> dict[str, object]:
    return {
        "id": conversation.id,
        "messages": [{"role": message.role, "content": message.content} for message in conversation.messages],
        "images": names,
        "patient": conversation.patient,
        "split": conversation.split,
        "facts": dict(conversation.facts) | {"source": conversation.source},
    }


def _put(image: Path | Picture, folder: Path, known: dict[Path | str, str]) -> str:
    """Put a picture into the folder unless it is there, and return its name relative to the file's folder."""
    key = image if isinstance(image, Path) else image.digest
    if key in known:
        return known[key]
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(image, Path):
        path = folder / f"{hashlib.sha256(str(image.absolute()).encode()).hexdigest()[:32]}{image.suffix.lower()}"
        if not path.exists():
            _link(image, path)
    else:
        path = folder / f"{image.digest[:32]}.png"
        if not path.exists():
            aside = path.with_name(f".{path.name}.{os.getpid()}")
            image.save(aside)
            os.replace(aside, path)
    known[key] = f"{folder.name}/{path.name}"
    return known[key]


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source.resolve(), path)
    except OSError:  # another disk, or a file system without links
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.copyfile(source, aside)
        os.replace(aside, path)
