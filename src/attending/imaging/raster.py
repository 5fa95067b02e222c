"""PNG, JPEG, BMP and TIFF pictures, sized up before a pixel of them is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from attending.errors import InputError
from attending.imaging.files import open_regular
from attending.imaging.image2d import Image2D
from attending.imaging.limits import Limits
from attending.imaging.study import Series

_FORMATS = {"png": "PNG", "jpeg": "JPEG", "bmp": "BMP", "tiff": "TIFF"}


def read_raster(path: Path, kind: str, series_id: str, limits: Limits) -> Series:
    """One picture as a series; its modality is for the user to say.

    16-bit grey stays 16-bit; everything else becomes 8-bit grey or RGB. The EXIF rotation is applied, transparency
    is laid on black, and the pages of a TIFF are frames.

    Raises:
        InputError: The file is broken, too small to show anything, or goes beyond `limits`.
    """
    with _opened(path, kind) as image:
        pages = _pages(image, path)
        width, height = image.size
        orientation = _exif_orientation(image)
        colour = _is_colour(image)
    if min(width, height) < limits.image_side:
        limits.refuse(
            "image_side", "is too small to show anything", path=path, field="size", value=f"{width} x {height}"
        )
    if width * height > limits.image_pixels:
        limits.refuse("image_pixels", "has too many pixels", path=path, field="size", value=f"{width} x {height}")
    notes = []
    frames = pages if kind == "tiff" else 1
    if frames != pages:
        notes.append(f"animated: the first of {pages} frames is shown")
    if frames > limits.frames:
        limits.refuse("frames", "has too many pages", path=path, field="pages", value=frames)
    if frames * width * height * (3 if colour else 2) > limits.voxel_bytes:
        limits.refuse("voxel_bytes", "is too large", path=path, field="pages", value=frames)

    def read(series: Series) -> Image2D:
        with _opened(path, kind) as image:
            pixels = [_pixels(image, page, orientation != 1, path) for page in range(frames)]
        if len({(page.shape, page.dtype) for page in pixels}) > 1:
            raise InputError("has pages of different size or kind; split it first", path=path, field="pages")
        return Image2D(np.stack(pixels), None, series.modality, series.id)

    return Series(
        id=series_id,
        kind="image",
        modality=None,
        shape=(height, width, frames) if orientation in (5, 6, 7, 8) else (width, height, frames),
        spacing=None,
        read=read,
        channels=3 if colour else 1,
        files=(path,),
        warnings=notes,
    )


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Image.Image]:
    """The picture, its header parsed and its pixels not yet decoded."""
    # Pillow warns of size, where the limits are stricter, and of odd metadata, which is not used.
    with open_regular(path) as file, warnings.catch_warnings(action="ignore"):
        try:
            image = Image.open(file, formats=[_FORMATS[kind]])
        except Exception as error:  # hostile bytes reach Pillow's parsers here, which raise many kinds
            raise InputError(f"cannot be read as {_FORMATS[kind]} ({error})", path=path) from None
        with image:
            yield image


def _pages(image: Image.Image, path: Path) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # Pillow walks the pages of a TIFF here; see _opened
        raise InputError(f"has pages that cannot be read ({error})", path=path, field="pages") from None


def _exif_orientation(image: Image.Image) -> int:
    """How the picture is to be turned (EXIF tag 0x0112), 1 for not at all, without decoding it."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the PNG to look behind its pixels
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # hostile EXIF reaches Pillow's parser here: no orientation can be had from it
        return 1


def _is_colour(image: Image.Image) -> bool:
    return image.mode not in ("1", "L", "LA", "I", "F") and not image.mode.startswith("I;16")


def _pixels(image: Image.Image, page: int, turn: bool, path: Path) -> npt.NDArray[np.generic]:
    try:
        image.seek(page)
        image.load()
        upright = ImageOps.exif_transpose(image) if turn else image
        if _is_colour(upright) or upright.mode in ("1", "LA"):
            if upright.has_transparency_data:
                flat = Image.new("RGBA", upright.size, (0, 0, 0, 255))
                flat.alpha_composite(upright.convert("RGBA"))
                upright = flat
            upright = upright.convert("RGB" if _is_colour(image) else "L")
        pixels = np.array(upright)
    except Exception as error:  # see _opened
        raise InputError(f"cannot be decoded ({error})", path=path, field=f"page {page + 1}") from None
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise InputError("holds values that are not finite numbers", path=path, field=f"page {page + 1}")
    elif pixels.dtype.kind == "i":  # Pillow's mode I: 16-bit grey read into 32 bits
        pixels = pixels.astype(np.uint16 if pixels.min() >= 0 and pixels.max() < 1 << 16 else np.int32)
    return pixels
