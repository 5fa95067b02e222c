"""Appearance: numbers that describe a picture: grey levels, texture, edges, and where what is shown lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 128
"""Pixels a side of the grey picture that is measured: fewer than phantoms have, so that their size hardly counts."""

Levels = npt.NDArray[np.float64]

_BINS = (-1, 0.01, 0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 0.995, 2)
_SHOWN = 0.04
"""From this level a pixel counts as part of what is shown, below it as background."""
_BANDS = (0.012, 0.025, 0.05, 0.1, 0.16, 0.24, 0.34, 0.5)
"""Edges of the bands of spatial frequency, cycles a pixel."""
_PATCH = 7
_COARSE = 4


def shrink(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture `[rows, columns, 3]` of any size as grey `[SIDE, SIDE]`, averaged where it shrinks."""
    grey = Image.fromarray(np.ascontiguousarray(pixels)).convert("L")
    return np.asarray(
        grey.resize((SIDE, SIDE), Image.Resampling.BOX if min(grey.size) >= SIDE else Image.Resampling.BILINEAR)
    )


def colour(pixels: npt.NDArray[np.uint8]) -> float:
    """How coloured `[rows, columns, 3]` is: the mean difference of its channels in 32 levels, 1 at most."""
    sampled = pixels[:: max(1, len(pixels) // SIDE), :: max(1, pixels.shape[1] // SIDE)].astype(np.int16)
    return min(1.0, float((sampled.max(2) - sampled.min(2)).mean()) / 32)


def appearance(grey: npt.NDArray[np.uint8], coloured: float = 0.0) -> npt.NDArray[np.float64]:
    """What describes a picture, in a fixed order; always finite.

    Args:
        grey: `[SIDE, SIDE]`, see `shrink`.
        coloured: See `colour`.

    Returns:
        `[FEATURES]`: shares of grey levels, percentiles of what is shown, power by spatial frequency, steepness and
        direction of edges, noise of what is shown and of the background, contrast of small patches, place and symmetry
        of what is shown, a coarse picture of 4 x 4, colour.
    """
    levels = grey.astype(float) / 255
    shown = levels >= _SHOWN
    parts = (_grey(levels, shown), _spectrum(levels), _edges(levels), _noise(levels, shown), _patches(levels))
    return np.concatenate([*parts, _place(levels, shown), _coarse(levels), [coloured]])


def _grey(levels: Levels, shown: npt.NDArray[np.bool_]) -> Levels:
    shares = np.histogram(levels, _BINS)[0] / levels.size
    inside = levels[shown] if shown.any() else levels
    return np.concatenate([np.sqrt(shares), np.percentile(inside, (5, 25, 50, 75, 95))])


def _spectrum(levels: Levels) -> Levels:
    """Log power in bands, of the picture faded out at its borders."""
    fade = np.hanning(SIDE)
    power = np.abs(np.fft.fft2((levels - levels.mean()) * fade[:, None] * fade)) ** 2 / levels.size
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    band = np.digitize(frequency, _BANDS)
    return _log(np.array([power[band == one].mean() for one in range(1, len(_BANDS))]))


def _edges(levels: Levels) -> Levels:
    down, across = np.gradient(levels)
    steepness = np.hypot(down, across)
    directions, _ = np.histogram(np.arctan2(down, across) % np.pi, 8, (0, np.pi), weights=steepness)
    steep = [steepness.mean(), *np.percentile(steepness, (50, 75, 95))]
    return np.concatenate([_log(np.array(steep)), directions / (directions.sum() + 1e-6)])


def _noise(levels: Levels, shown: npt.NDArray[np.bool_]) -> Levels:
    """Of the second difference along rows and columns, which flat and sloping parts do not have."""
    curved = np.abs(np.diff(np.diff(levels, 2, 0), 2, 1))
    inner = shown[1:-1, 1:-1]
    found = [np.percentile(curved[where], (50, 90)) if where.any() else np.zeros(2) for where in (inner, ~inner)]
    return _log(np.concatenate(found))


def _patches(levels: Levels) -> Levels:
    """Percentiles of the standard deviation within small squares, and the entropy of the whole."""
    spread = np.sqrt(np.maximum(_mean(levels * levels) - _mean(levels) ** 2, 0))
    share = np.histogram(levels, 32, (0, 1))[0] / levels.size
    entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
    return np.array([*_log(np.percentile(spread, (25, 50, 75, 95))), entropy])


def _mean(values: Levels) -> Levels:
    """Of each square of `_PATCH` a side, by sums from the corner."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    n = _PATCH
    return np.asarray((sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]) / n**2)


def _place(levels: Levels, shown: npt.NDArray[np.bool_]) -> Levels:
    """Share, centre and spread of what is shown, how much of the frame it touches, and mirror symmetry."""
    rows, columns = np.nonzero(shown) if shown.any() else (np.zeros(1), np.zeros(1))
    frame = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    centred = levels - levels.mean()
    total = (centred**2).sum() + 1e-6
    mirrored = [(centred * other).sum() / total for other in (centred[:, ::-1], centred[::-1])]
    where = [moment / SIDE for axis in (rows, columns) for moment in (axis.mean(), axis.std())]
    return np.array([shown.mean(), frame.mean(), *where, *mirrored])


def _coarse(levels: Levels) -> Levels:
    step = SIDE // _COARSE
    return np.asarray(levels.reshape(_COARSE, step, _COARSE, step).mean((1, 3)).ravel())


def _log(values: Levels) -> Levels:
    return np.asarray(np.log10(values + 1e-4))
