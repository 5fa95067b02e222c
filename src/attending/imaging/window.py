"""Windows: which range of values becomes black to white, and the usual ones for each part of the body."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attending.errors import InputError

_CHUNK = 1 << 16
"""Values handled at a time, so that temporaries stay in the cache."""


@dataclass(frozen=True)
class Window:
    """A linear grey window: `center - width / 2` becomes black, `center + width / 2` white (DICOM LINEAR_EXACT).

    Attributes:
        center: Middle of the range, in the units of the voxels (HU for CT).
        width: Extent of the range, above 0.

    Raises:
        InputError: `center` or `width` is not finite, or `width` is not above 0.
    """

    center: float
    width: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.center):
            raise InputError("a window needs a finite center", field="window center", value=self.center)
        if not (math.isfinite(self.width) and self.width > 0):
            raise InputError("a window needs a finite width above 0", field="window width", value=self.width)

    @property
    def low(self) -> float:
        """The value that becomes black."""
        return self.center - self.width / 2

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Grey levels of `array`: 0 at or below the window, 255 at or above it, NaN as 0, rounded to nearest.

        Args:
            array: Voxels of any shape and memory order, boolean, integer or real.

        Returns:
            uint8 of the same shape, with the axes in the same memory order.

        Raises:
            InputError: `array` holds something other than real numbers.
        """

        def shade(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
            kind = np.float32 if values.dtype.kind == "f" and values.dtype.itemsize == 4 else np.float64
            # Values beyond the range of `kind` become infinite, which is black or white.
            with np.errstate(all="ignore"):
                levels: npt.NDArray[np.floating] = np.subtract(values, self.low, dtype=kind)
                levels *= 255
                levels /= self.width
            levels += 0.5  # rounds, as `cut` cuts
            return cut(levels)

        return shaded(array, shade)


def shaded(
    array: npt.NDArray[np.generic], shade: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Apply `shade`, which maps each value on its own, fast and with little memory.

    Voxels of one or two bytes go through a table of all their values; others through `shade` a piece at a time.

    Args:
        array: Voxels of any shape and memory order.
        shade: Grey level of each value of an array, in an array of the same shape.

    Returns:
        uint8 of the same shape, with the axes in the same memory order.

    Raises:
        InputError: `array` holds something other than real numbers.
    """
    _check_real(array)
    act: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.uint8]] = shade
    code = np.dtype(f"u{array.dtype.itemsize}")
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and array.dtype.isnative and array.size > 1 << 17:
        table = shade(np.arange(np.iinfo(code).max + 1, dtype=code).view(array.dtype))

        def act(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
            return np.take(table, values.view(code))

    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    source = array.transpose(order)
    result: npt.NDArray[np.uint8] = np.empty(source.shape, np.uint8)
    target = result
    if source.flags.c_contiguous:
        source, target = source.reshape(-1), result.reshape(-1)
    rows = max(1, _CHUNK * len(source) // source.size) if source.size else 1
    for start in range(0, len(source), rows):
        target[start : start + rows] = act(source[start : start + rows])
    return result.transpose(np.argsort(order))


def _check_real(array: npt.NDArray[np.generic]) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError("voxels must be real numbers to be shown as grey", field="voxel type", value=array.dtype)


def cut(levels: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Grey levels as uint8: fractions dropped, ends clipped, NaN as 0. Changes `levels`, which must not be empty."""
    np.clip(levels, 0, 255, out=levels)
    if np.isnan(levels.min()):  # what a cast makes of NaN depends on the machine
        levels[np.isnan(levels)] = 0
    return levels.astype(np.uint8)


CT_WINDOWS = {
    "brain": Window(40, 80),
    "stroke": Window(40, 40),
    "subdural": Window(75, 215),
    "temporal bone": Window(600, 2800),
    "neck": Window(40, 375),
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "angio": Window(200, 600),
    "abdomen": Window(50, 400),
    "liver": Window(30, 150),
    "spine": Window(50, 250),
    "bone": Window(400, 1800),
}
"""CT windows by what they show, HU.

From the table of typical values in Radiopaedia, "Windowing (CT)" (https://radiopaedia.org/articles/windowing-ct). Where
it gives a range, its middle: subdural centre 50 to 100 and width 130 to 300, neck (soft tissue of the head and neck)
centre 20 to 60 and width 350 to 400. "spine" and "abdomen" are its soft-tissue windows, "bone" its window for
the spine's bone, "angio" its chest window for vessels and heart.
"""

_BODY_PARTS = {
    "brain": "BRAIN HEAD SKULL HEADNECK",
    "temporal bone": "EAR IAC TEMPORALBONE TMJ",
    "neck": "NECK FACE ORBIT SINUS THYROID LARYNX PAROTID",
    "lung": "LUNG BRONCHUS",
    "mediastinum": "CHEST THORAX MEDIASTINUM STERNUM BREAST ESOPHAGUS",
    "angio": "HEART CORONARYARTERY AORTA CAROTID PULMONARYARTERY",
    "abdomen": "ABDOMEN PELVIS ABDOMENPELVIS CHESTABDOMEN CHESTABDPELVIS KIDNEY PANCREAS BLADDER COLON",
    "liver": "LIVER",
    "spine": "SPINE CSPINE TSPINE LSPINE SSPINE COCCYX CTSPINE TLSPINE LSSPINE",
    "bone": "EXTREMITY LEG ARM HAND WRIST FINGER THUMB ELBOW SHOULDER CLAVICLE SCAPULA HUMERUS FOREARM HIP FEMUR THIGH "
    "KNEE CALF ANKLE FOOT TOE CALCANEUS RIB JAW MANDIBLE MAXILLA",
}
_WINDOW_OF = {part: name for name, parts in _BODY_PARTS.items() for part in parts.split()}


def window_for(modality: str | None, body_part: str | None, array: npt.NDArray[np.generic]) -> Window:
    """The window to show an image with when neither its file nor the user names one.

    Args:
        modality: DICOM modality. CT gets a window of `CT_WINDOWS`; anything else `percentile_window`.
        body_part: DICOM Body Part Examined (PS3.16 annex L), any case and spacing, or None. A part that has no
            window of its own gets that of the abdomen, 50/400.
        array: The voxels, any shape.

    Returns:
        The window.
    """
    if modality != "CT":
        return percentile_window(array)
    part = "".join(char for char in (body_part or "").upper() if char.isalnum())
    return CT_WINDOWS[_WINDOW_OF.get(part, "abdomen")]


def percentile_window(array: npt.NDArray[np.generic], low: float = 0.5, high: float = 99.5) -> Window:
    """A window from the `low`-th to the `high`-th percentile of the finite voxels, unmoved by a few extreme ones.

    Where the two are equal (nearly all voxels hold one value) it spans from least to greatest; a constant image, or one
    without a finite value, comes out black. Above about a million voxels, every n-th along each axis is looked at.
    """
    _check_real(array)
    step = max(1, int((array.size / (1 << 20)) ** (1 / max(1, array.ndim))))
    sample = array[(slice(None, None, step),) * array.ndim]
    values = sample[np.isfinite(sample)].astype(np.float64)
    if not values.size:
        return Window(0.5, 1)
    bottom, top = np.percentile(values, (low, high), method="inverted_cdf").tolist()  # voxel values, not between them
    if bottom == top:
        finite = array[np.isfinite(array)]
        bottom, top = float(finite.min()), float(finite.max())
    if bottom == top:
        return Window(bottom + 0.5, 1)
    return Window(bottom / 2 + top / 2, min(top - bottom, sys.float_info.max))
