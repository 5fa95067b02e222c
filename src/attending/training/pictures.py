"""Pictures on their way into the model: pixels, or what a frozen tower made of them before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from attending.corpora.dataset import load_picture
from attending.imaging import Picture

Key = tuple[Any, ...]


class Seen:
    """What a frozen tower made of the pictures seen last, by their content or their file's name, size and time.

    Each picture is encoded by itself, so that what comes out does not depend on its neighbours, and a run that goes on
    after a kill, with nothing kept, computes the same to the bit.

    Args:
        most: Bytes to keep.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._kept: OrderedDict[Key, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()  # the threads that prepare batches look pictures up
        self.encoded = 0
        """Pictures that had to be encoded."""

    def get(self, key: Key) -> torch.Tensor | None:
        """`[patches, C]`, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, features: torch.Tensor) -> None:
        """Keep one, and let go of those not used for longest."""
        with self._lock:
            self.encoded += 1
            if key not in self._kept:
                self._kept[key] = features
                self._bytes += features.nbytes
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


def key_of(image: Path | Picture) -> Key:
    """Equal for images that look the same."""
    if isinstance(image, Picture):
        return (image.digest,)
    status = image.stat()
    return (str(image), status.st_size, status.st_mtime_ns)


def pixels_of(image: Path | Picture, processor: Any) -> torch.Tensor:
    """What the tower takes: `[3, S, S]` float32.

    Raises:
        InputError: The file is missing or broken.
    """
    prepared = processor.image_processor(load_picture(image).to_pil(), return_tensors="pt")
    pixels: torch.Tensor = prepared["pixel_values"][0]
    return pixels
