"""Picture: the 8-bit RGB image a model or a person is shown, and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike

import numpy as np
import numpy.typing as npt
from PIL import Image

from attending.errors import InputError
from attending.imaging.image2d import Image2D
from attending.imaging.window import Window, percentile_window

_MAX_SQUARE_SIDE = 4096
"""Pixels that making pixels square may stretch a side to, however uneven the spacing."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An 8-bit RGB image with its origin.

    Attributes:
        pixels: `[rows, columns, 3]` uint8. May be read-only, and the three channels of a grey one may share memory.
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

    def resized(self, rows: int, columns: int) -> Picture:
        """The picture with `rows` and `columns` pixels, smoothly interpolated; `spacing` follows."""
        if (rows, columns) == self.pixels.shape[:2]:
            return self
        pixels = np.asarray(self.to_pil().resize((columns, rows), Image.Resampling.BICUBIC))
        spacing = self.spacing and (
            self.spacing[0] * self.pixels.shape[0] / rows,
            self.spacing[1] * self.pixels.shape[1] / columns,
        )
        return replace(self, pixels=pixels, spacing=spacing)

    def square(self) -> Picture:
        """The picture with pixels as high as they are wide, so that nothing looks stretched: see `square_shape`."""
        return self.resized(*square_shape(self.pixels.shape[:2], self.spacing))


def square_shape(shape: tuple[int, ...], spacing: tuple[float, float] | None) -> tuple[int, int]:
    """Rows and columns that cover the same millimetres with square pixels of the finer spacing.

    A side grows to 4096 pixels at most; beyond that the pixels, still square, are coarser.
    """
    rows, columns = shape
    if spacing is None:
        return rows, columns
    high, wide = rows * spacing[0], columns * spacing[1]
    limit = max(_MAX_SQUARE_SIDE, rows, columns)
    size = max(min(spacing), high / limit, wide / limit)
    return max(1, round(high / size)), max(1, round(wide / size))


def grey_pixels(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey `[rows, columns]` as `Picture.pixels`: a contiguous copy, seen three times."""
    levels = np.ascontiguousarray(levels)
    return np.broadcast_to(levels[..., None], (*levels.shape, 3))


def picture_of(image: Image2D, frame: int = 0, window: Window | None = None) -> Picture:
    """One frame of a 2D image as a `Picture`.

    Colour is shown as stored, and so is 8-bit grey for which neither the caller nor the file gives a window: it was
    made for display. Other grey gets `percentile_window` of the frame.

    Args:
        image: The image.
        frame: Which frame, from 0.
        window: Used instead of the file's own; ignored for colour.

    Returns:
        The picture, in the image's own pixels, which need not be square (`Picture.square`).

    Raises:
        InputError: There is no such frame.
    """
    count = len(image.array)
    if not 0 <= frame < count:
        raise InputError(f"there is no such frame; 0 to {count - 1} are there", field="frame", value=frame)
    pixels = image.array[frame]
    if pixels.ndim == 3:
        return Picture(pixels.astype(np.uint8, copy=False), image.series, index=frame, spacing=image.spacing)
    window = window or image.window
    if window is None and pixels.dtype != np.uint8:
        window = percentile_window(pixels)
    levels = pixels.astype(np.uint8, copy=False) if window is None else window.apply(pixels)
    return Picture(grey_pixels(levels), image.series, index=frame, window=window, spacing=image.spacing)
