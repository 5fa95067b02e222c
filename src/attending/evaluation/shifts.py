"""Shifts: pictures as another scanner, dose, file format or hand would have made them, in three strengths, seeded.

After ImageNet-C (Hendrycks and Dietterich 2019) and MedMNIST-C (Di Salvo et al. 2024): the same questions are asked of
changed pictures, and what is reported is the fall from the unchanged ones. Mild ones are such as a reader would hardly
notice; strong ones may hide a small finding, so that a fall there need not be a fault.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from attending.errors import InputError
from attending.imaging import Picture

Pixels = npt.NDArray[np.uint8]
STRENGTHS = {"mild": 1, "moderate": 2, "strong": 3}
_PREFIX = "shift"


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of standard deviation `sigma` (of 255), the same in all colours of a pixel, as of a lower dose."""
    drawn = rng.normal(0, sigma, (*pixels.shape[:2], 1))
    return _bytes(pixels + drawn)


def blur(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Gaussian blur of standard deviation `share` of the shorter side, half a pixel at least."""
    from scipy import ndimage

    sigma = max(0.5, share * min(pixels.shape[:2]))
    return _bytes(ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="nearest"))


def contrast(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Differences from the mean grey shrunk to `factor`, as by a wider window."""
    mean = pixels.mean()
    return _bytes(mean + factor * (pixels.astype(np.float32) - mean))


def gamma(pixels: Pixels, power: float, rng: np.random.Generator) -> Pixels:
    """Middle greys darker or, for every other picture, lighter: black and white stay."""
    table = 255 * (np.arange(256) / 255) ** (power if rng.random() < 0.5 else 1 / power)
    changed: Pixels = _bytes(table)[pixels]
    return changed


def jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """Stored as JPEG of that quality (1 to 95), and read again."""
    held = io.BytesIO()
    _image(pixels).save(held, "JPEG", quality=int(quality))
    return np.asarray(Image.open(held))


def resolution(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Kept with `factor` times fewer rows and columns, one at least."""
    rows, columns = pixels.shape[:2]
    small = max(1, round(columns / factor)), max(1, round(rows / factor))
    image = _image(pixels).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))


def rotation(pixels: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    """Turned by some degrees to either side, black where nothing was."""
    turn = degrees if rng.random() < 0.5 else -degrees
    return np.asarray(_image(pixels).rotate(turn, Image.Resampling.BICUBIC))


def border(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A black border of that share of each side, as of a collimator."""
    rows, columns = (round(share * side) for side in pixels.shape[:2])
    shown = np.zeros_like(pixels)
    inside = slice(rows, pixels.shape[0] - rows), slice(columns, pixels.shape[1] - columns)
    shown[inside] = pixels[inside]
    return shown


def marker(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """White digits in one of the corners, `share` of the shorter side high."""
    image = _image(pixels)
    high = max(4, round(share * min(pixels.shape[:2])))
    font = ImageFont.load_default(high)
    text = f"{rng.integers(100, 1000)}"
    corner = int(rng.integers(4))
    x = high // 4 if corner % 2 else image.width - high // 4
    y = high // 4 if corner // 2 else image.height - high // 4
    anchor = ("l" if corner % 2 else "r") + ("t" if corner // 2 else "b")
    ImageDraw.Draw(image).text((x, y), text, (255, 255, 255), font, anchor)
    return np.asarray(image)


Shift = Callable[[Pixels, float, np.random.Generator], Pixels]
SHIFTS: dict[str, tuple[Shift, tuple[float, float, float]]] = {
    "noise": (noise, (8.0, 20.0, 40.0)),
    "blur": (blur, (0.004, 0.010, 0.020)),
    "contrast": (contrast, (0.75, 0.5, 0.25)),
    "gamma": (gamma, (1.25, 1.6, 2.2)),
    "jpeg": (jpeg, (40, 15, 5)),
    "resolution": (resolution, (1.5, 3.0, 6.0)),
    "rotation": (rotation, (2.0, 5.0, 10.0)),
    "border": (border, (0.03, 0.06, 0.12)),
    "marker": (marker, (0.06, 0.10, 0.16)),
}
"""By name: what is done, and how much of it at each strength."""


def shifted(picture: Picture, name: str, strength: str, seed: int) -> Picture:
    """The picture under a shift, of the same size; the same seed gives the same one."""
    change, amounts = SHIFTS[name]
    pixels = change(picture.pixels, amounts[STRENGTHS[strength] - 1], np.random.default_rng(seed))
    return replace(picture, pixels=pixels, legend=())


def conditions(wanted: Sequence[str]) -> list[str]:
    """The names of the conditions under which samples are asked, for the names of shifts."""
    return [f"{_PREFIX} {name} {strength}" for name in SHIFTS if name in wanted for strength in STRENGTHS]


def told(condition: str) -> tuple[str, str] | None:
    """Name and strength of the shift that a condition is; None for any other."""
    first, _, rest = condition.partition(" ")
    name, _, strength = rest.partition(" ")
    return (name, strength) if first == _PREFIX and name in SHIFTS and strength in STRENGTHS else None


def named(text: str) -> tuple[str, ...]:
    """The shifts that a user lists: names separated by commas, `all` or `none`.

    Raises:
        InputError: A name that no shift has.
    """
    if text in ("all", "none", ""):
        return tuple(SHIFTS) if text == "all" else ()
    listed = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in listed:
        if name not in SHIFTS:
            raise InputError(f"expected some of {', '.join(SHIFTS)}, or all", field="--shifts", value=name)
    return listed


def _bytes(values: npt.NDArray[np.floating]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
