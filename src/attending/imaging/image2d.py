"""Image2D: pixels without a place in the patient, such as an X-ray, a photograph or an ultrasound clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attending.imaging.window import Window


@dataclass(frozen=True, eq=False)
class Image2D:
    """One or more frames of a 2D image.

    Attributes:
        array: `[frames, rows, columns]` grey or `[frames, rows, columns, 3]` 8-bit RGB. Grey grows brighter with the
            value (MONOCHROME1 is turned round on reading).
        spacing: Size of one pixel, (row mm, column mm), or None when unknown. For a radiograph it is measured at the
            detector, so things in the patient are smaller than it says.
        modality: DICOM modality (`CR`, `DX`, `US`, ...) or None when neither the file nor the user said.
        series: `Series.id` that the pixels came from, or None.
        window: The window the file asks for, in the units of `array`, or None.
    """

    array: npt.NDArray[np.generic]
    spacing: tuple[float, float] | None = None
    modality: str | None = None
    series: str | None = None
    window: Window | None = None

    def __post_init__(self) -> None:
        grey, colour = self.array.ndim == 3, self.array.ndim == 4 and self.array.shape[3] == 3
        if not (grey or (colour and self.array.dtype == np.uint8)):
            raise ValueError(
                f"Image2D.array is {self.array.dtype} {self.array.shape}; "
                "expected [frames, rows, columns] or uint8 [frames, rows, columns, 3]"
            )
