"""Album: every picture once as a lossless file, and a smaller copy inside the page while there is room."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from attending.imaging import Picture, Study, with_legend
from attending.reporting.figures import caption
from attending.reporting.folder import put

_SIDE = 560
"""Longest side of a picture inside the page, pixels."""
_SIDES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


@dataclass(frozen=True)
class Shot:
    """A picture on the page.

    Attributes:
        file: Name of the lossless file.
        uri: The picture as a data URI; empty when the page has no room for it.
        caption: Series, plane, slice, place, window.
        width: Of the picture in the page, pixels.
        height: The same.
        sides: What lies at its left, right, top and bottom; empty for an image that is not a slice.
        legend: Names with colours as `#rrggbb`.
    """

    file: str
    uri: str
    caption: str
    width: int
    height: int
    sides: str
    legend: tuple[tuple[str, str], ...]


class Album:
    """The pictures of one answer.

    Args:
        folder: Where the files go.
        study: Names the series in captions.
    """

    def __init__(self, folder: Path, study: Study | None) -> None:
        self.folder, self.study = folder, study
        self.room = 0
        """Characters of data URI that may still be added to the page."""
        self._kept: dict[tuple[str, bool], str] = {}
        self._names: set[str] = set()

    def add(self, picture: Picture, name: str, *, legend: bool = False) -> Shot:
        """Keep a picture under `name` (a number is added where that is taken); the same picture is kept once.

        Args:
            picture: The picture.
            name: For the file, without suffix.
            legend: Draw the legend beside it in the file; without, the file holds the very pixels.
        """
        key = (picture.digest, legend and bool(picture.legend))
        if key not in self._kept:
            free = (f"{name}{tail}" for tail in ("", *(f"-{n}" for n in range(2, len(self._names) + 3))))
            stem = next(stem for stem in free if stem not in self._names)
            self._names.add(stem)
            self._kept[key] = f"{stem}.png"
            image = (with_legend(picture) if legend else picture).to_pil()
            put(self.folder / self._kept[key], _encoded(image, "PNG"))
        uri, size = self._embedded(picture) if self.room > 0 else ("", (0, 0))
        colors = tuple((text, "#{:02x}{:02x}{:02x}".format(*color)) for text, color in picture.legend)
        sides = _SIDES.get(picture.plane or "", "")
        return Shot(self._kept[key], uri, caption(picture, self.study), *size, sides, colors)

    def _embedded(self, picture: Picture) -> tuple[str, tuple[int, int]]:
        """The picture as a data URI, empty when it is larger than the room left, and its width and height."""
        small = _small(picture.square())
        # JPEG, not PNG: the noise of a scan makes a PNG five times as large. Colour at full resolution, so that
        # overlays keep their edges.
        data = _encoded(small, "JPEG", quality=85, subsampling=0, optimize=True)
        uri = Markup(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")  # not text, so never cut as text is
        if len(uri) > self.room:
            return "", small.size
        self.room -= len(uri)
        return uri, small.size


def _small(picture: Picture) -> Image.Image:
    """At most `_SIDE` pixels a side, grey where it is grey."""
    image = picture.to_pil()
    image.thumbnail((_SIDE, _SIDE))
    pixels = np.asarray(image)
    return image.convert("L") if (pixels == pixels[..., :1]).all() else image


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
