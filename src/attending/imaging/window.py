"""Windows: which range of values becomes black to white."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A linear grey window: `center - width / 2` becomes black, `center + width / 2` white (DICOM LINEAR_EXACT).

    Attributes:
        center: Middle of the range, in the units of the voxels (HU for CT).
        width: Extent of the range, above 0.
    """

    center: float
    width: float
