"""Sheets: pictures with text, such as the contact sheet of a series and the legend beside an overlay."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import replace
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attending.errors import InputError, printable
from attending.imaging.image2d import Image2D
from attending.imaging.picture import Picture, picture_of
from attending.imaging.slices import PLANES, key_slices, slice_picture
from attending.imaging.volume import Volume, nearest_axes
from attending.imaging.window import Window

_MAX_TILES = 100
_TILE, _LONE_TILE = 256, 768  # longest side of a picture in a grid, and of one alone, pixels
_GAP, _LINE = 6, 20
_FONT = ImageFont.load_default(14)
_DRAWABLE = set("·…°±")  # what Pillow's bundled font has beyond ASCII, of what is written here
_WHITE, _YELLOW = (255, 255, 255), (255, 214, 90)
_SIDES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
"""What lies at the left, right, top and bottom of a slice in display order."""


def contact_sheet(
    source: Volume | Image2D,
    *,
    title: str = "",
    plane: str | None = None,
    window: Window | None = None,
    tiles: int = 12,
    channel: int = 0,
) -> Picture:
    """Slices spread over the body (`key_slices`), each with its plane, index, RAS mm and the sides of the patient.

    Nothing is distorted: pixels are square in millimetres, and all slices of a volume share one scale. A grid more than
    5 degrees off the patient's axes is called oblique in the header, and its sides are the nearest ones.

    Args:
        source: A volume of any orientation, or a 2D image, whose frames are spread instead.
        title: What the series is called. Taken as hostile; what the bundled font cannot draw becomes `?`.
        plane: One plane only. None shows all three but those whose slices would be thin strips. Not for an `Image2D`.
        window: None takes what `slice_picture` or `picture_of` chooses.
        tiles: How many at most, 1 to 100; fewer where there are fewer slices.
        channel: Which channel of a `[C, X, Y, Z]` volume.

    Returns:
        The sheet, with the window of its first tile.

    Raises:
        InputError: No such plane or channel, `tiles` out of range, or voxels that are not real numbers.
    """
    if not 1 <= tiles <= _MAX_TILES:
        raise InputError(f"a contact sheet has 1 to {_MAX_TILES} tiles", field="tiles", value=tiles)
    if isinstance(source, Volume):
        shown = _slices_shown(source, plane, window, tiles, channel)
        facts = _volume_facts(source, channel)
    elif plane is None:
        count = len(source.array)
        frames = sorted({(2 * i + 1) * count // (2 * tiles) for i in range(tiles)})
        shown = [picture_of(source, frame, window) for frame in frames]
        facts = _image_facts(source)
    else:
        raise InputError("a 2D image has no planes to choose from", field="plane", value=plane)
    used = shown[0].window
    facts.append(f"window {used.center:.4g} / {used.width:.4g}" if used else "shown as stored")
    name = " · ".join(part for part in (source.modality, title) if part)
    sheet = _drawn(_rows(_to_scale(shown)), [_drawable(name), *facts])
    return Picture(np.asarray(sheet), source.series, window=used)


def with_legend(picture: Picture) -> Picture:
    """The picture with its legend to the right of it: a swatch of each colour and its name, in the legend's order.

    The pixels of the picture stay where they are and keep their `spacing`; columns are added on the right, and rows
    below where the legend is higher. A picture without a legend is returned as it is.
    """
    if not picture.legend:
        return picture
    names = [_fitted(_drawable(name), 240) for name, _ in picture.legend]
    rows, columns = picture.pixels.shape[:2]
    lines = min(len(names), max(10, (rows - 2 * _GAP) // _LINE))  # before the next column of the legend
    step = 2 * _GAP + _LINE + math.ceil(max(_FONT.getlength(name) for name in names))
    size = (columns + _GAP + step * math.ceil(len(names) / lines), max(rows, _LINE * lines + 2 * _GAP))
    canvas = Image.new("RGB", size)
    canvas.paste(picture.to_pil(), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for place, (name, (_, color)) in enumerate(zip(names, picture.legend, strict=True)):
        left, top = columns + _GAP + place // lines * step, _GAP + place % lines * _LINE
        draw.rectangle((left, top + 2, left + _LINE - 5, top + _LINE - 3), fill=color)
        draw.text((left + _LINE, top + _LINE / 2), name, _WHITE, _FONT, anchor="lm")
    return replace(picture, pixels=np.asarray(canvas))


def _slices_shown(volume: Volume, plane: str | None, window: Window | None, tiles: int, channel: int) -> list[Picture]:
    planes = [plane] if plane else _planes_worth_showing(volume)[:tiles]
    window = window or slice_picture(volume, planes[0], channel=channel).window
    shares = [tiles // len(planes) + (place < tiles % len(planes)) for place in range(len(planes))]
    return [
        slice_picture(volume, name, index=index, window=window, channel=channel)
        for name, share in zip(planes, shares, strict=True)
        for index in key_slices(volume, name, share, channel=channel)
    ]


def _planes_worth_showing(volume: Volume) -> list[str]:
    """Planes whose slices are at most 8 times as long as wide, in mm; at least the one nearest to square."""
    canonical = volume.canonical()
    extent = np.multiply(canonical.shape, canonical.spacing)
    sides = {plane: np.delete(extent, PLANES[plane]) for plane in ("axial", "coronal", "sagittal")}
    length = {plane: two.max() / two.min() for plane, two in sides.items()}
    return [plane for plane in length if length[plane] <= max(8, min(length.values()))]


def _volume_facts(volume: Volume, channel: int) -> list[str]:
    axes, _ = nearest_axes(volume.affine)
    cosines = [abs(volume.affine[world, axis]) / volume.spacing[axis] for world, axis in enumerate(axes)]
    tilt = math.degrees(math.acos(min(1.0, *cosines)))
    facts = [
        "{} x {} x {} voxels".format(*volume.shape) + f" {volume.orientation}",
        "{:.3g} x {:.3g} x {:.3g} mm".format(*volume.spacing),
    ]
    if volume.array.ndim == 4:
        facts.append(f"channel {channel} of 0-{len(volume.array) - 1}")
    if tilt > 5:
        facts.append(f"oblique by {tilt:.0f}°, sides are the nearest")
    return facts


def _image_facts(image: Image2D) -> list[str]:
    frames, rows, columns = image.array.shape[:3]
    facts = [f"{frames} frames"] if frames > 1 else []
    facts.append(f"{columns} x {rows} pixels")
    facts.append("{1:.3g} x {0:.3g} mm".format(*image.spacing) if image.spacing else "pixel size unknown")
    return facts


def _rows(shown: list[Picture]) -> list[list[Picture]]:
    """Put tiles into rows of nearly equal length, each plane beginning a new one, for a sheet wider than high."""
    groups = [list(group) for _, group in groupby(shown, key=lambda picture: picture.plane)]
    longest = max(map(len, groups))
    lines = math.ceil(longest / min(longest, math.ceil(math.sqrt(1.4 * len(shown)))))
    columns = math.ceil(longest / lines)
    return [group[start : start + columns] for group in groups for start in range(0, len(group), columns)]


def _drawn(rows: list[list[Picture]], header: list[str]) -> Image.Image:
    """The header above the rows of tiles, each with its label below it and the patient's sides at its edges."""
    tiles = [tile for row in rows for tile in row]
    cell = max(max(tile.pixels.shape[1], math.ceil(_FONT.getlength(_label(tile)))) for tile in tiles)
    width = max(320, _GAP + max(map(len, rows)) * (cell + _GAP))
    lines = _wrapped(header, width - 2 * _GAP)
    heights = [max(tile.pixels.shape[0] for tile in row) for row in rows]
    top = 2 * _GAP + _LINE * len(lines)
    sheet = Image.new("RGB", (width, top + sum(heights) + (_LINE + _GAP) * len(rows)))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + _LINE * (number + 0.5)), line, _WHITE, _FONT, anchor="lm")
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            high, wide = tile.pixels.shape[:2]
            x = _GAP + column * (cell + _GAP) + (cell - wide) // 2
            y = top + (height - high) // 2
            sheet.paste(tile.to_pil(), (x, y))
            _mark_sides(draw, tile.plane, (x, y, x + wide, y + high))
            draw.text((x + wide / 2, top + height + _LINE / 2), _label(tile), _YELLOW, _FONT, anchor="mm")
        top += height + _LINE + _GAP
    return sheet


def _to_scale(shown: list[Picture]) -> list[Picture]:
    """Resize to square pixels, all of one size in mm, the largest picture filling a tile."""
    side = _TILE if len(shown) > 1 else _LONE_TILE
    extents = [np.multiply(picture.pixels.shape[:2], picture.spacing or (1, 1)) for picture in shown]
    scale = side / np.max(extents)
    return [
        picture.resized(*(max(1, round(mm * scale)) for mm in extent))
        for picture, extent in zip(shown, extents, strict=True)
    ]


def _label(picture: Picture) -> str:
    if picture.plane is None:
        return f"frame {picture.index}"
    return f"{picture.plane} {picture.index} · {picture.position:.1f} mm"


def _mark_sides(draw: ImageDraw.ImageDraw, plane: str | None, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    places = ((left + 3, y, "lm"), (right - 3, y, "rm"), (x, top + 2, "mt"), (x, bottom - 3, "mb"))
    for letter, (x, y, anchor) in zip(_SIDES.get(plane or "", ""), places, strict=False):
        draw.text((x, y), letter, _YELLOW, _FONT, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))


def _wrapped(parts: list[str], width: float) -> list[str]:
    """The first part on a line of its own, the others joined by dots on as few lines as they need."""
    lines = [_fitted(parts[0], width)] if parts[0] else []
    line = ""
    for part in parts[1:]:
        longer = f"{line} · {part}" if line else part
        if line and _FONT.getlength(longer) > width:
            lines.append(line)
            longer = part
        line = longer
    return [*lines, _fitted(line, width)]


def _fitted(text: str, width: float) -> str:
    """`text`, cut with an ellipsis to at most `width` pixels."""
    if _FONT.getlength(text) <= width:
        return text
    while text and _FONT.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _drawable(text: str) -> str:
    """`text` on one line in characters that the font has: accents go, and what is left beyond ASCII becomes `?`."""
    plain = (char for char in unicodedata.normalize("NFKD", printable(text)) if not unicodedata.combining(char))
    return "".join(char if char.isascii() or char in _DRAWABLE else "?" for char in plain)
