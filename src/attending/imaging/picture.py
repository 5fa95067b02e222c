"""Picture: the 8-bit RGB image a model or a person is shown, and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

import numpy as np
import numpy.typing as npt
from PIL import Image

from attending.imaging.window import Window


@dataclass(frozen=True, eq=False)
class Picture:
    """An 8-bit RGB image with its origin.

    Attributes:
        pixels: `[rows, columns, 3]` uint8.
        series: `Series.id` it came from, or None.
        plane: `axial`, `coronal` or `sagittal`; None for an image that is not a slice.
        index: Slice index along the plane's axis in RAS order (0 is most inferior, posterior or left), or frame index.
        position: Where the slice lies along the plane's axis, RAS mm.
        window: The window applied, or None when pixels were shown as stored.
        spacing: Size of one pixel, (row mm, column mm), or None when unknown.
        legend: Overlay names with their colours, in the order shown.
    """

    pixels: npt.NDArray[np.uint8]
    series: str | None = None
    plane: str | None = None
    index: int | None = None
    position: float | None = None
    window: Window | None = None
    spacing: tuple[float, float] | None = None
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"Picture.pixels is {self.pixels.dtype} {self.pixels.shape}; expected uint8 [rows, columns, 3]"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and pixels: two pictures that look the same are encoded once."""
        shape = f"{self.pixels.shape[0]}x{self.pixels.shape[1]}:".encode()
        return hashlib.sha256(shape + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    def to_pil(self) -> Image.Image:
        """The picture as a PIL RGB image."""
        return Image.fromarray(np.ascontiguousarray(self.pixels))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a PNG (lossless, so overlay colours do not bleed)."""
        self.to_pil().save(path, format="PNG")
