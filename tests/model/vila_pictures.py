"""Pictures for the tests of the model."""

import numpy as np
from PIL import Image

from attending.imaging import Picture


def image(seed: int = 0, size: tuple[int, int] = (60, 50), mode: str = "RGB") -> Image.Image:
    """A picture of smooth noise; `size` is columns, rows."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 7, 4), dtype=np.uint8))
    smooth = coarse.resize(size, Image.Resampling.BICUBIC)
    return smooth if mode == "RGBA" else smooth.convert("RGB").convert(mode)


def picture(seed: int = 0) -> Picture:
    return Picture(np.asarray(image(seed)))
