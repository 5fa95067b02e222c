"""Skeleton of the trunk: spine, ribs, sternum, shoulder girdle, pelvis, and the muscles that follow the spine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attending.phantom.body import cage_radii
from attending.phantom.canvas import Canvas, Points, Shape, curve, smooth_union
from attending.phantom.patient import Patient

_THORACIC, _LUMBAR, _SACRUM_TOP = 24.0, 34.0, -248.0


class Vertebra(NamedTuple):
    """One vertebra: its name, label id (VISTA3D) and the centre and height of its body, canonical mm."""

    name: str
    label: int
    center: tuple[float, float, float]
    height: float


def spine_y(z: float) -> float:
    """Front-back position of the centre of the vertebral bodies: kyphosis above, lordosis below."""
    return float(
        np.interp(
            z, [-340, -290, -248, -170, -80, 0, 80, 150, 200, 240], [-78, -66, -46, -34, -46, -60, -66, -56, -38, -26]
        )
    )


def vertebrae() -> list[Vertebra]:
    """T1 to L5, top down."""
    found, top = [], 206.0
    for i in range(17):
        step = _THORACIC if i < 12 else _LUMBAR
        step *= 1 + 0.01 * (i - 6) if i < 12 else 1.0
        name, label = (f"T{i + 1}", 49 - i) if i < 12 else (f"L{i - 11}", 37 - (i - 12))
        z = top - step / 2
        found.append(Vertebra(name, label, (0.0, spine_y(z), z), step))
        top -= step
    return found


def rib_path(number: int, side: int) -> Points:
    """Centre line of rib `number` (1 to 12) on `side` (+1 right, -1 left), from the spine forward, canonical mm."""
    start = vertebrae()[number - 1].center
    end = {1: 150, 11: 95, 12: 68}.get(number, 158 - 2.2 * max(0, number - 5))
    angle = np.radians(np.linspace(14, end, 34))
    drop = np.interp(number, [1, 3, 7, 10, 12], [34, 72, 122, 118, 62])
    z = start[2] + 6 - drop * (0.18 * np.sin(angle) + (1 - np.cos(angle)) / 2 * 1.15)
    a, front, back = cage_radii(z)
    # Angle runs from straight back to straight front, so the path hugs the inner chest wall at its own height.
    depth = np.where(np.cos(angle) > 0, back, front)
    s, c = np.abs(np.sin(angle)), np.abs(np.cos(angle))
    u, v = s / a, c / depth
    r = 1 / np.sqrt(np.sqrt(u**4 + v**4 + 1.3 * u * u * v * v)) + 3.5
    x, y = side * r * s, -np.sign(np.cos(angle)) * r * c
    path = np.stack([x, y, z], 1)
    neck = np.array([[side * 17.0, start[1] - 5, start[2] + 4], [side * 28.0, start[1] - 16, start[2] + 5]])
    return curve(np.vstack([neck, path[3::3]]), 46)


def cartilage_path(number: int, side: int) -> Points | None:
    """Costal cartilage of ribs 1 to 10, from the rib's front end to the sternum."""
    if number > 10:
        return None
    start = rib_path(number, side)[-1]
    z = float(np.interp(number, [1, 2, 7, 10], [168, 140, 28, 8]))
    goal = np.array([side * (15 if number < 8 else 22), float(cage_radii(z)[1]) + 6, z])
    middle = (start + goal) / 2 + np.array([side * 3, 5, -4 if number > 4 else 0])
    return curve(np.stack([start, middle, goal]), 10)


def draw_skeleton(
    canvas: Canvas,
    patient: Patient,
    value: dict[str, float],
    broken: dict[tuple[int, int], list[Points]],
    thin: bool = True,
) -> None:
    """Paint every bone and the muscles along the spine.

    Args:
        canvas: Where to paint.
        patient: Age sets the density of bone.
        value: HU of tissues.
        broken: Centre lines of the pieces of broken ribs, by number and side.
        thin: Also the ribs and collarbones.
    """
    hardness = bone_hardness(patient)
    _back_muscles(canvas, value)
    for vertebra in vertebrae():
        _vertebra(canvas, vertebra, hardness, value)
    _sacrum_and_hips(canvas, hardness)
    for side in (1, -1):
        for number in range(1, 13) if thin else ():
            cartilage = cartilage_path(number, side)
            if cartilage is not None:
                canvas.paint(canvas.tube(cartilage, 5.2, flat=0.7), 110 + 2.2 * max(0, patient.age - 50), 114)
            for piece in broken.get((number, side), [rib_path(number, side)]):
                tube = canvas.tube(piece, rib_radius(number), flat=0.58)
                _bone(canvas, tube, hardness, (74 if side > 0 else 62) + number, 2.2)
        _shoulder(canvas, side, hardness, thin)
    _sternum(canvas, hardness)


def bone_hardness(patient: Patient) -> float:
    """Density of bone relative to middle age."""
    return float(np.interp(patient.age, [25, 85], [1.15, 0.75]))


def rib_radius(number: int) -> float:
    """Half thickness of a rib, mm; its height is 1.7 times that."""
    return 3.6 if number < 11 else 3.0


def _bone(canvas: Canvas, shape: Shape, hardness: float, label: int, shell: float = 2.5, marrow: float = 190.0) -> None:
    """Dense shell around cancellous bone."""
    canvas.paint(shape, 620 * hardness, label)
    canvas.paint(Shape(shape.region, shape.distance + np.float32(shell)), marrow * hardness)


def _vertebra(canvas: Canvas, vertebra: Vertebra, hardness: float, value: dict[str, float]) -> None:
    """Body with end plates, disc above, canal, arch and processes."""
    (_, y, z), height = vertebra.center, vertebra.height
    wide = float(np.interp(z, [-240, -80, 60, 200], [25, 20, 15, 14]))
    deep = float(np.interp(z, [-240, -80, 60, 200], [17.5, 15, 13, 10]))
    pad = 30.0
    region = canvas.region([-wide - pad, y - 75, z - height], [wide + pad, y + deep + 5, z + height])
    cx, cy, cz = canvas.coordinates(region)
    # Waisted cylinder, hollowed behind for the canal.
    waist = 1 - 0.10 * np.cos(np.clip((cz - z) / height, -0.5, 0.5) * np.pi)
    ring = np.sqrt((cx / (wide * waist)) ** 2 + ((cy - y) / (deep * waist)) ** 2)
    ring = (ring - 1) * np.float32((wide + deep) / 2)
    canvas.paint(Shape(region, np.maximum(ring, np.abs(cz - z) - height / 2)), 85.0)
    block = np.maximum(ring, np.abs(cz - z) - np.float32(height / 2 - 3.2))
    back = y - deep - 7.5
    # Arch: pedicles and laminae as a ring round the canal, then the processes.
    arch = np.abs(np.sqrt((cx / 1.15) ** 2 + (cy - back) ** 2) - 11.5) - 3.6
    arch = np.maximum(arch, np.abs(cz - z - 1) - np.float32(height * 0.30))
    canvas.paint(Shape(region, arch), 420 * hardness, vertebra.label)
    lumbar = vertebra.name[0] == "L"
    spinous = [[0, back - 12, z - 2], [0, back - (36 if lumbar else 30), z - (9 if lumbar else 20)]]
    canvas.paint(canvas.tube(spinous, [3.6, 4.4], flat=0.42 if lumbar else 0.6), 380 * hardness, vertebra.label)
    for side in (1, -1):
        across = [[side * 12, back - 2, z + 3], [side * (38 if lumbar else 30), back - (6 if lumbar else 14), z + 4]]
        canvas.paint(canvas.tube(across, [4.5, 3.2]), 380 * hardness, vertebra.label)
    _bone(canvas, Shape(region, block), hardness, vertebra.label, 1.8, 165.0)
    # The canal is open all the way down: paint it over this vertebra and the gap above it.
    canal = np.sqrt((cx / 1.2) ** 2 + (cy - back) ** 2) - 8.2
    canal = np.maximum(canal, np.abs(cz - z) - np.float32(height / 2 + 1))
    canvas.paint(Shape(region, canal), value["csf"])
    cord = np.sqrt((cx / 1.25) ** 2 + (cy - back) ** 2) - (5.0 if z > -110 else 2.6)
    canvas.paint(Shape(region, np.maximum(cord, np.abs(cz - z) - np.float32(height / 2 + 1))), 42.0, 121)


def _back_muscles(canvas: Canvas, value: dict[str, float]) -> None:
    """Erector spinae behind, psoas beside the lumbar spine; thin fat between them and the rest."""
    for side, erector, psoas in ((1, 105, 107), (-1, 104, 106)):
        heights = range(-330, 231, 40)
        radius = [19 if z < -40 else 13 for z in heights]
        columns = [
            canvas.tube([[side * x, spine_y(z) - y, z] for z in heights], radius) for x, y in ((19, 37), (41, 40))
        ]
        column = smooth_union(columns, canvas, 12)
        canvas.paint(Shape(column.region, column.distance - np.float32(1.2)), value["fat"])
        canvas.paint(column, value["muscle"] + 3, erector)
        run = curve(
            [[side * 24, spine_y(-95) - 3, -95], [side * 38, -38, -170], [side * 52, -30, -235], [side * 70, 0, -320]],
            24,
        )
        canvas.paint(canvas.tube(run, np.interp(run[:, 2], [-320, -220, -95], [20, 20, 7])), value["muscle"] + 3, psoas)
        quadratus = canvas.tube([[side * 58, -58, -95], [side * 68, -62, -215]], [8, 13])
        canvas.paint(quadratus, value["muscle"])


def _sacrum_and_hips(canvas: Canvas, hardness: float) -> None:
    for z in np.arange(-252.0, -345.0, -9.0):
        wide = float(np.interp(z, [-345, -300, -252], [18, 40, 52]))
        y = spine_y(z)
        shape = canvas.tube(
            [[-wide, y - 14, z], [-wide / 2, y, z], [0, y + 4, z], [wide / 2, y, z], [wide, y - 14, z]],
            [9, 11, 12, 11, 9],
        )
        _bone(canvas, shape, hardness * 0.85, 97, 2.5)
    for side, label in ((1, 96), (-1, 95)):
        for z in np.arange(-212.0, -345.0, -6.0):
            low = float(np.interp(z, [-345, -212], [0.0, 1.0]))
            lateral, front = 96 + 28 * low, float(np.interp(z, [-345, -290, -212], [40, 55, -5]))
            rear = [side * (54 if z < -240 else 66 + 0.9 * (z + 240)), spine_y(z) - 22 + 8 * low, z]
            if z > -225:
                rear = [side * 92, -45 + (z + 225) * 1.5, z]
            wing = curve(
                [rear, [side * (lateral * 0.82), (rear[1] + front) / 2 - 14, z], [side * lateral, front, z]], 12
            )
            shape = canvas.tube(wing, np.interp(np.linspace(0, 1, 12), [0, 0.5, 1], [7, 3.8, 6]))
            _bone(canvas, shape, hardness, label, 2.2)
        _bone(canvas, canvas.ellipsoid([side * 98, 5, -335], [26, 26, 26]), hardness, 94 if side > 0 else 93)


def clavicle_path(side: int) -> Points:
    """Centre line of a clavicle from the sternum outwards, canonical mm."""
    return curve([[side * 22, 50, 176], [side * 62, 52, 188], [side * 105, 22, 200], [side * 142, 4, 204]], 22)


def _shoulder(canvas: Canvas, side: int, hardness: float, thin: bool) -> None:
    clavicle, scapula, humerus = (92, 90, 88) if side > 0 else (91, 89, 87)
    if thin:
        _bone(canvas, canvas.tube(clavicle_path(side), 6.0), hardness, clavicle, 2.4)
    for z in np.arange(196.0, 62.0, -5.0):  # the blade: a thin curved sheet along the back of the chest
        share = float(np.interp(z, [62, 196], [0, 1]))
        inner = np.array([side * (96 - 22 * share), -88 + 12 * share, z])
        outer = np.array([side * (102 + 38 * share), -66 + 24 * share, z])
        sheet = curve([inner, (inner + outer) / 2 + np.array([0, -5, 0]), outer], 7)
        canvas.paint(canvas.tube(sheet, np.linspace(2.4, 4.4, 7)), 430 * hardness, scapula)
    spine = curve([[side * 84, -88, 176], [side * 115, -78, 192], [side * 150, -38, 206]], 12)
    _bone(canvas, canvas.tube(spine, 5.0), hardness, scapula, 2.2)
    _bone(canvas, canvas.ellipsoid([side * 160, -22, 186], [23, 23, 24]), hardness, humerus, 2.5)


def _sternum(canvas: Canvas, hardness: float) -> None:
    path = curve([[0, 46, 172], [0, 62, 135], [0, 78, 90], [0, 88, 40], [0, 92, 12]], 24)
    half = np.interp(path[:, 2], [12, 40, 110, 135, 172], [5, 15, 14, 18, 26])
    for point, wide in zip(path, half, strict=True):
        bar = canvas.tube([point - np.array([wide - 5, 0, 0]), point + np.array([wide - 5, 0, 0])], 5.5)
        canvas.paint(bar, 330 * hardness, 122)
