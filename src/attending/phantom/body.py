"""Body: outline, skin, fat, muscle, and the fields that everything inside is cut by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attending.phantom.canvas import Canvas, Field, rough
from attending.phantom.patient import Patient
from attending.phantom.random import stream

# Half widths and depths (mm) of the canonical trunk by height: to the side, to the front, to the back.
# Height 0 is the top of the right diaphragm; the apex of the lung is at 195, the iliac crest at -210.
_Z = [-340, -300, -250, -220, -180, -120, -60, 0, 50, 100, 150, 180, 205, 235]
_INNER = (
    [105, 112, 120, 124, 124, 128, 134, 134, 129, 116, 88, 60, 38, 30],
    [80, 86, 90, 90, 88, 87, 87, 86, 80, 70, 50, 36, 26, 22],
    [70, 72, 64, 60, 60, 70, 82, 89, 92, 88, 74, 56, 40, 30],
)
_MUSCLE = (
    [172, 168, 152, 140, 137, 142, 149, 151, 150, 153, 168, 182, 172, 92],
    [96, 98, 100, 100, 98, 97, 97, 97, 95, 90, 74, 58, 46, 40],
    [122, 120, 112, 106, 103, 105, 108, 112, 115, 114, 103, 90, 76, 62],
)
_FAT = (
    [26, 26, 24, 22, 19, 15, 12, 11, 11, 13, 13, 12, 10, 8],
    [20, 22, 25, 27, 25, 19, 13, 10, 11, 13, 11, 9, 8, 8],
    [28, 28, 25, 20, 15, 12, 11, 11, 11, 12, 13, 14, 13, 11],
)


class Body(NamedTuple):
    """Signed distances over the whole canvas, mm, negative inside.

    Attributes:
        skin: Outer surface.
        muscle: Outer surface of the muscles.
        cage: Inner surface of chest and abdominal wall.
        diaphragm: Height above the diaphragm, negative below it.
    """

    skin: Field
    muscle: Field
    cage: Field
    diaphragm: Field


def cage_radii(z: float | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, front depth and back depth of the inner chest wall at canonical height z (mm)."""
    return tuple(np.interp(z, _Z, row) for row in _INNER)  # type: ignore[return-value]


def _outline(canvas: Canvas, widths: tuple[np.ndarray, ...], square: float) -> Field:
    """Signed distance to a trunk cross-section between an ellipse (square 0) and a rounded rectangle (1)."""
    side, front, back = (w.astype(np.float32) for w in widths)
    u = np.abs(canvas.x) / side
    v = np.where(canvas.y > 0, canvas.y / front, canvas.y / -back)
    u *= u
    v *= v
    g = np.sqrt(np.sqrt(u * u + v * v + np.float32(2 - 2 * square) * u * v))
    radius = np.sqrt(canvas.x**2 + canvas.y**2)
    return np.asarray(radius - radius / np.maximum(g, np.float32(1e-3)), np.float32)


def draw_body(canvas: Canvas, patient: Patient, value: dict[str, float], seed: int) -> Body:
    """Paint fat, muscle, skin and the inner fat, and return the surfaces."""
    z = canvas.grid.axis(2) / canvas.warp.scale[2]
    inner, muscle, fat = ([np.interp(z, _Z, row) for row in table] for table in (_INNER, _MUSCLE, _FAT))
    woman = patient.sex == "F"
    sway = np.interp(z, [-300, -220, -120, 0], [1.35, 1.2, 1.0, 1.0]) if woman else np.ones_like(z)
    outer = [m + f * patient.fat * (sway if i != 1 else 1.0) for i, (m, f) in enumerate(zip(muscle, fat, strict=True))]
    cage = _outline(canvas, tuple(inner), 0.35)
    flesh = _outline(canvas, tuple(muscle), 0.45)
    skin = _outline(canvas, tuple(outer), 0.40)
    midline = np.exp(-((canvas.x / 22) ** 2)) * (canvas.y < 0)
    flesh += 7 * midline
    skin += np.float32(6 * (0.6 + 0.4 * patient.fat)) * midline  # the furrow over the spine
    if woman:
        skin = np.minimum(skin, _breasts(canvas, patient))
    share = canvas.coverage(skin)
    canvas.value += share * (value["fat"] - canvas.value)
    _muscle_layers(canvas, cage, flesh, value, seed)
    rim = canvas.sheet(skin + 1.0, 2.2)
    canvas.value += rim * (value["skin"] - canvas.value)
    share = canvas.coverage(cage)
    canvas.value += share * (value["inner fat"] - canvas.value)
    return Body(skin, flesh, cage, _diaphragm(canvas))


def _muscle_layers(canvas: Canvas, cage: Field, flesh: Field, value: dict[str, float], seed: int) -> None:
    """Muscle between chest or abdominal wall and fat, with fat planes between its sheets."""
    share = canvas.coverage(flesh)
    canvas.value += share * (value["muscle"] - canvas.value)
    # Sheets of muscle slide on fat; planes wander and break, or the wall would look like an onion.
    side = np.clip((np.abs(canvas.x) - 60) / 25, 0, 1) * (flesh < -2.5)
    wander = rough(stream(seed, "muscle"), canvas.grid, 38)
    for depth, width, bend in ((10.0, 1.6, 1.2), (21.0, 2.6, 4.0), (38.0, 5.0, 9.0)):
        plane = canvas.sheet(cage - np.float32(depth + 1.0) + np.float32(bend) * wander, width)
        plane *= side * np.clip(0.9 + np.float32(0.6) * wander * (1 if depth < 30 else -1), 0, 1)
        canvas.value += plane * (value["fat"] - canvas.value)
    for sign in (1, -1):
        pit = canvas.ellipsoid([sign * 132, -4, 150], [16, 34, 44])  # the axilla
        canvas.paint(pit, value["fat"], inside=flesh + 8)


def _breasts(canvas: Canvas, patient: Patient) -> Field:
    """Signed distance to both breasts, flattened as in a supine patient."""
    size = 0.75 + 0.3 * min(patient.fat, 2.0)
    side = np.abs(canvas.x)
    k = ((side - 82) / (62 * size)) ** 2 + ((canvas.y - 78) / (44 * size)) ** 2 + ((canvas.z - 55) / (62 * size)) ** 2
    return np.asarray((np.sqrt(k) - 1) * 40 * size, np.float32)


def _diaphragm(canvas: Canvas) -> Field:
    """Height above the diaphragm: two domes and the central tendon under the heart."""
    x, y, z = canvas.x, canvas.y, canvas.z
    back = np.where(y < 8, (y - 8) / 92, (y - 8) / 104) ** 2
    right = -88 * (((x - 68) / 92) ** 2 + back) ** 1.15
    left = -14 - 84 * (((x + 70) / 90) ** 2 + back) ** 1.15
    middle = -26 - 60 * ((x / 60) ** 2 + (np.maximum(-y - 20, 0) / 50) ** 2 + (np.maximum(y - 40, 0) / 60) ** 2)
    top = np.maximum(np.maximum(right, left), middle)
    # A height is not a distance on a steep flank: shrink it by the slope, taken from the dome that is on top.
    steep = 1 + 1.4 * np.clip(-top / 60, 0, 1)
    return np.asarray((z - top) / steep, np.float32)
