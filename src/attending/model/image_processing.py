"""VilaM3ImageProcessor: a picture of any mode to the tower's pixels, exactly as the reference does it."""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs


class VilaM3ImageProcessorKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]
    """`image_aspect_ratio`: `resize` stretches to the tower's square, `pad` first pads with the mean colour."""

    image_aspect_ratio: str


class VilaM3ImageProcessor(PilBackend):
    """RGB (alpha is dropped), 8-bit bicubic resize with Pillow, then (x / 255 - mean) / std in float32.

    Resizing happens on 8-bit values, as when the published weights were trained; resizing tensors gives other pixels.
    """

    valid_kwargs = VilaM3ImageProcessorKwargs
    resample = PILImageResampling.BICUBIC
    image_mean = [0.5, 0.5, 0.5]  # noqa: RUF012
    image_std = [0.5, 0.5, 0.5]  # noqa: RUF012
    size = {"height": 384, "width": 384}  # noqa: RUF012
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    image_aspect_ratio = "resize"

    def convert_to_rgb(self, image: Any, input_data_format: Any = None) -> np.ndarray:
        """Convert to `[rows, columns, 3]`: palette and grey are expanded, alpha is dropped."""
        return np.asarray(_pil(image, input_data_format).convert("RGB"))

    def process_image(self, image: Any, *args: Any, image_aspect_ratio: str | None = None, **kwargs: Any) -> np.ndarray:
        """Bring one picture to 8-bit `[3, rows, columns]`, square where asked."""
        pixels: np.ndarray = super().process_image(image, *args, **kwargs)
        rows, columns = pixels.shape[-2:]
        if (image_aspect_ratio or self.image_aspect_ratio) == "pad" and rows != columns:
            side = max(rows, columns)
            colour = np.array([int(255 * mean) for mean in self.image_mean], dtype=pixels.dtype)
            square = np.broadcast_to(colour[:, None, None], (3, side, side)).copy()
            top, left = (side - rows) // 2, (side - columns) // 2
            square[:, top : top + rows, left : left + columns] = pixels
            pixels = square
        return pixels


def _pil(image: Any, input_data_format: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        opened: Image.Image = image
        if "transparency" in opened.info:  # alpha is dropped in any case; Pillow would warn of it
            opened = opened.copy()
            del opened.info["transparency"]
        return opened
    array = np.asarray(image)
    if array.ndim == 3 and (str(input_data_format) == "channels_first" or array.shape[-1] not in (1, 3, 4)):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return Image.fromarray(array)
