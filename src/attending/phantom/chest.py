"""Chest: mediastinum, heart, great vessels, lungs with lobes, airways and vessels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attending.phantom.body import Body
from attending.phantom.canvas import Canvas, Field, Points, Shape, curve, rough, smooth_union
from attending.phantom.patient import Patient
from attending.phantom.skeleton import spine_y

AORTA = [[-6, 22, 42], [-2, 30, 75], [4, 28, 105], [-4, 12, 128], [-16, -14, 132], [-24, -38, 118],
         [-26, -44, 90], [-24, -42, 30],
         [-16, -36, -30], [-8, -26, -80], [-4, -14, -150], [-2, -14, -212]]  # fmt: skip


class Branch(NamedTuple):
    """One straight piece of a tree: ends (canonical mm) and radii."""

    start: Points
    end: Points
    radii: tuple[float, float]


class Heart(NamedTuple):
    """Pose of the heart: centre and size relative to normal (1.0)."""

    center: tuple[float, float, float]
    size: float


def oblique_fissure(y: Field | float) -> Field | float:
    """Height of the oblique fissure at front-back position y, canonical mm."""
    return 34.0 - 1.05 * y


HORIZONTAL_FISSURE = 42.0


def lung_tree(rng: np.random.Generator, side: int, root: Points, depth: int, radius: float) -> list[Branch]:
    """A branching vessel tree from the hilum into one lung."""
    found: list[Branch] = []
    goals = [
        [0.75, -0.15, 1.0],
        [0.9, 0.75, 0.35],
        [0.85, 0.35, -0.35],
        [0.75, -0.35, -0.95],
        [0.55, -0.9, 0.0],
        [0.6, 0.2, -0.9],
    ]
    queue = []
    for goal in goals:
        way = np.array(goal) * [side, 1, 1] + rng.normal(0, 0.12, 3)
        queue.append((root, way / np.linalg.norm(way), radius * float(rng.uniform(0.8, 1.0)), 28.0, depth))
    while queue:
        start, way, r, length, left = queue.pop()
        length *= float(rng.uniform(0.8, 1.2))
        bend = way + rng.normal(0, 0.14, 3)
        middle = start + way * length / 2
        end = middle + bend / np.linalg.norm(bend) * length / 2
        found += [Branch(start, middle, (r, r * 0.95)), Branch(middle, end, (r * 0.95, r * 0.85))]
        if left == 0:
            continue
        across = np.cross(way, rng.normal(0, 1, 3))
        across /= np.linalg.norm(across)
        for sign, spread in ((1, float(rng.uniform(0.25, 0.5))), (-1, float(rng.uniform(0.45, 0.85)))):
            turn = way + sign * spread * across
            queue.append((end, turn / np.linalg.norm(turn), r * (0.80 if sign > 0 else 0.70), length * 0.82, left - 1))
    return found


def mediastinum(canvas: Canvas, heart: Heart) -> Field:
    """Signed distance to all that lies between the lungs."""
    x, y, _z = canvas.x, canvas.y, canvas.z
    zs = canvas.grid.axis(2) / canvas.warp.scale[2]
    wide = np.interp(zs, [-60, 20, 70, 100, 140, 175, 210], [25, 25, 30, 27, 25, 26, 30]).astype(np.float32)
    middle = np.interp(zs, [-60, 40, 110, 200], [-12, -6, 0, -2]).astype(np.float32)
    deep = np.interp(zs, [-60, 20, 70, 140, 200], [40, 42, 46, 44, 34]).astype(np.float32)
    core = (np.sqrt(((x + 2) / wide) ** 2 + ((y - middle) / deep) ** 2) - 1) * np.minimum(wide, deep)
    front = (
        np.abs(x + np.float32(3)) - np.float32(5) - np.clip((y - 66) / 3, 0, 30)
    )  # behind the sternum the lungs nearly meet
    front = np.maximum(front, -y + np.float32(10))
    spine = np.interp(zs, *np.array([(h, spine_y(h)) for h in np.linspace(-120, 220, 35)]).T).astype(np.float32)
    column = np.sqrt((x / 1.25) ** 2 + (y - spine) ** 2) - 20
    total = np.minimum(np.minimum(core, front), np.minimum(column, np.maximum(np.abs(x) - 18, y - spine)))
    for shape in (_sac(canvas, heart), canvas.tube(curve(AORTA, 48), 15.0)):
        part = total[shape.region]
        mix = np.maximum(np.float32(8) - np.abs(part - shape.distance), 0)
        part[...] = np.minimum(part, shape.distance) - mix * mix / np.float32(32)
    return np.asarray(total, np.float32)


def _axes(yaw: float, roll: float) -> Points:
    """Rotation about the long axis of the body, then about the front-back axis (degrees)."""
    a, b = np.radians([yaw, roll])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    lean = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return np.asarray(turn @ lean)


def _sac(canvas: Canvas, heart: Heart) -> Shape:
    """Heart with its fat, as the lungs see it."""
    cx, cy, cz = heart.center
    s = heart.size
    left = canvas.ellipsoid([cx - 18 * s, cy + 6, cz - 12], [54 * s, 42 * s, 46 * s], _axes(-28, 24), pad=22)
    right = canvas.ellipsoid([cx + 28 * s, cy - 2, cz + 6], [30 * s, 36 * s, 42 * s], pad=22)
    base = canvas.ellipsoid([cx, cy + 2, cz + 42], [34, 30, 30], pad=22)
    return smooth_union([left, right, base], canvas, 22)


def draw_lungs(canvas: Canvas, body: Body, heart: Heart, rng: np.random.Generator, value: dict[str, float]) -> Field:
    """Paint lungs with lobes and fissures; return the signed distance to lung tissue."""
    middle = mediastinum(canvas, heart)
    inside = np.maximum(np.maximum(body.cage + 2.0, -(body.diaphragm - 1.5)), -middle)
    zs = canvas.z
    inside = np.maximum(inside, zs - np.float32(199) + (np.abs(np.abs(canvas.x) - 40) / 9) ** 2)
    share = canvas.coverage(inside)
    # Blood settles: the back of a lying patient's lung is denser.
    tissue = value["lung"] - 0.45 * (canvas.y + 10) + 26 * rough(rng, canvas.grid, 14)
    canvas.value += share * (tissue - canvas.value)
    lower = canvas.z < oblique_fissure(canvas.y)
    right = canvas.x > 0
    lobes = np.where(
        right, np.where(lower, 32, np.where(canvas.z < HORIZONTAL_FISSURE, 31, 30)), np.where(lower, 29, 28)
    )
    lung = inside < 0
    canvas.label[lung] = lobes[lung]
    gap = np.abs(canvas.z - oblique_fissure(canvas.y)) / 1.45
    flat = np.where(right & ~lower, np.abs(canvas.z - HORIZONTAL_FISSURE), 99)
    fissure = canvas.sheet(np.minimum(gap, flat), 0.6) * lung
    canvas.value += fissure * (-300 - canvas.value)
    return np.asarray(inside, np.float32)


def draw_lung_tree(canvas: Canvas, inside: Field, trees: list[Branch], value: float) -> None:
    """Paint vessels inside the lungs, stopping short of the pleura."""
    clear = inside + 3.5
    for branch in trees:
        shape = canvas.tube(np.stack([branch.start, branch.end]), branch.radii)
        if shape.distance.size:
            canvas.paint(shape, value, inside=clear, thin=min(branch.radii))


def draw_airways(canvas: Canvas, rng: np.random.Generator) -> None:
    """Trachea, main and lobar bronchi, and the first segmental ones: walls then air."""
    carina = [0, -8, 96]
    tubes: list[tuple[Points, float, int]] = [(curve([[0, 8, 240], [0, 2, 170], carina], 20), 8.5, 57)]
    for side in (1, -1):
        hilum = np.array([side * 36, -14, 74 if side > 0 else 68])
        tubes.append((curve([carina, [side * 18, -11, 85], hilum], 8), 6.3 if side > 0 else 5.8, 132))
        for way in ([0.7, 0.1, 0.75], [0.75, 0.55, -0.2], [0.5, -0.35, -0.9], [0.7, -0.6, -0.3]):
            direction = np.array(way) * [side, 1, 1] + rng.normal(0, 0.08, 3)
            end = hilum + direction * 38
            tubes.append((np.stack([hilum, hilum + direction * 19 + [0, 0, 1], end]), 3.0, 132))
            for _ in range(2):
                fork = direction + rng.normal(0, 0.35, 3)
                tubes.append((np.stack([end, end + fork * 22]), 1.7, 132))
    for grown, hu in ((True, 20.0), (False, -990.0)):
        for path, radius, label in tubes:
            tube = canvas.tube(path, radius + (1.4 if radius > 2 else 0.8) * grown)
            heart = canvas.label[tube.region] == 115
            tube = Shape(tube.region, np.where(heart, np.float32(9), tube.distance))
            canvas.paint(tube, hu, None if grown else label, thin=radius)


def draw_heart(canvas: Canvas, body: Body, heart: Heart, value: dict[str, float], patient: Patient) -> None:
    """Heart, great vessels and esophagus, over mediastinal fat."""
    above = -(body.diaphragm - 1.0)
    sac = _sac(canvas, heart)
    canvas.paint(sac, value["inner fat"] + 10, inside=above)
    muscle = Shape(sac.region, sac.distance + np.float32(4.5 + 2.0 * min(patient.fat, 2)))
    canvas.paint(muscle, value["heart"], 115, inside=above)
    cx, cy, cz = heart.center
    s = heart.size
    chambers = (
        ([cx - 26 * s, cy + 0, cz - 12], [33 * s, 20 * s, 24 * s], _axes(-28, 24), value["left heart"]),
        ([cx - 4 * s, cy + 24 * s, cz - 14], [30 * s, 12 * s, 24 * s], _axes(-34, 20), value["right heart"]),
        ([cx + 30 * s, cy + 2, cz + 4], [19 * s, 25 * s, 27 * s], None, value["right heart"]),
        ([cx + 2, cy - 26 * s, cz + 22], [29 * s, 16 * s, 20 * s], None, value["left heart"]),
    )
    for center, radii, tilt, hu in chambers:
        shape = canvas.ellipsoid(center, radii, tilt)
        canvas.paint(shape, hu, 115, inside=np.maximum(above, -1e3))
    pulmonary = [[cx - 8, cy + 28, cz + 28], [-16, 34, 78], [-14, 14, 88]]
    arteries = [
        (curve(pulmonary, 14), 12.5), (curve([[-14, 14, 88], [12, 2, 84], [42, -10, 78]], 14), 9.5),
        (curve([[-14, 14, 88], [-28, -4, 90], [-46, -18, 78]], 10), 9.5),
    ]  # fmt: skip
    for side in (1, -1):
        arteries += [(curve([[side * 44, -14, 78], [side * 48, -22, 50], [side * 52, -36, 22]], 10), 5.5)]
        veins = canvas.tube(
            curve([[side * 50, -18, 50], [side * 30, -20, 54], [cx + side * 14, cy - 24, cz + 24]], 10), 6.0
        )
        canvas.paint(veins, value["left heart"], 119)
    for path, radius in arteries:
        canvas.paint(canvas.tube(path, radius), value["right heart"])
    cava = canvas.tube(curve([[28, 14, 175], [29, 14, 120], [cx + 44, 6, cz + 30]], 16), 8.5)
    canvas.paint(cava, value["superior cava"], 125)
    draw_esophagus(canvas)
    _neck_vessels(canvas, value)


def draw_esophagus(canvas: Canvas) -> None:
    """A collapsed muscular tube left of the midline, with a trace of air."""
    path = curve([[-2, -10, 230], [-4, -18, 150], [-6, -26, 90], [-10, -22, 20], [-22, -10, -22], [-40, 4, -34]], 40)
    canvas.paint(canvas.tube(path, 6.2), 48.0, 11)
    canvas.paint(canvas.tube(path[:24], 1.6), -500.0, thin=1.6)


def _neck_vessels(canvas: Canvas, value: dict[str, float]) -> None:
    for path, radius, label, hu in (
        ([[2, 20, 134], [14, 22, 160], [34, 26, 185]], 5.5, 109, "artery"),
        ([[-8, 6, 138], [-14, 10, 170], [-24, 12, 230]], 3.8, 112, "artery"),
        ([[34, 26, 185], [28, 14, 230]], 3.8, 113, "artery"),
        ([[-18, -8, 138], [-26, -4, 170], [-70, 12, 200]], 4.6, 124, "artery"),
        ([[34, 26, 185], [70, 14, 200]], 4.6, 123, "artery"),
        ([[27, 24, 160], [-10, 36, 168], [-38, 32, 186]], 6.0, 110, "superior cava"),
        ([[28, 16, 172], [36, 30, 192]], 6.5, 111, "superior cava"),
    ):  # fmt: skip
        canvas.paint(canvas.tube(curve(path, 12), radius), value[hu], label)
    for side in (1, -1):
        canvas.paint(canvas.ellipsoid([side * 15, 18, 216], [9, 10, 20]), 130.0, 126)


def draw_aorta(canvas: Canvas, patient: Patient, value: dict[str, float]) -> None:
    """Aorta from root to bifurcation with its main branches; calcified plaques with age."""
    path = curve(AORTA, 90)
    widen = 1 + 0.004 * (patient.age - 50)
    radius = np.interp(path[:, 2], [-212, -100, 60, 120], [8.0, 9.5, 12.5, 14.0]) * widen
    canvas.paint(canvas.tube(path, radius + 1.2), 45.0)
    canvas.paint(canvas.tube(path, radius), value["artery"], 6)
    for side in (1, -1):
        iliac = curve([[-2, -14, -210], [side * 22, -18, -250], [side * 46, -12, -290], [side * 62, 22, -340]], 16)
        canvas.paint(canvas.tube(iliac, 5.2), value["artery"], 59 if side > 0 else 58)
    return None
