"""Abdomen: solid organs, their vessels, stomach, bowel and bladder."""

from __future__ import annotations

import numpy as np

from attending.phantom.body import Body
from attending.phantom.canvas import Canvas, Field, Points, Shape, curve, rough, smooth_union
from attending.phantom.chest import Branch
from attending.phantom.skeleton import spine_y

PANCREAS = [
    [40, 8, -165],
    [38, 12, -146],
    [22, 26, -130],
    [2, 30, -118],
    [-28, 22, -112],
    [-62, -2, -102],
    [-88, -18, -96],
]
CAVA = [[24, -6, -8], [24, -10, -60], [20, -14, -110], [17, -14, -160], [15, -16, -212]]


def organ_plan(rng: np.random.Generator) -> dict[str, float]:
    """Sizes of one patient's organs relative to the canonical ones."""
    names = ("liver", "spleen", "right kidney", "left kidney", "pancreas", "stomach", "bladder", "gallbladder")
    return {name: float(np.clip(rng.normal(1.0, 0.08), 0.82, 1.16)) for name in names}


def draw_abdomen(
    canvas: Canvas, body: Body, rng: np.random.Generator, value: dict[str, float], upper_only: bool = False
) -> None:
    """Paint every abdominal organ, back to front; `upper_only` stops at those a chest radiograph shows."""
    size = organ_plan(rng)
    # Organs lie inside the wall and under the diaphragm, off the psoas and spine.
    room = np.maximum(body.cage + 2.5, body.diaphragm + 3.0)
    room = np.maximum(room, _spine_clear(canvas))
    texture = rough(rng, canvas.grid, 7)
    if upper_only:
        canvas.paint(liver_shape(canvas, size["liver"]), value["liver"], 1, inside=room)
        _spleen(canvas, size["spleen"], room, value, texture)
        _stomach(canvas, size["stomach"], room, value, texture, erect=True)
        return
    for side in (1, -1):
        _kidney(canvas, side, size["right kidney" if side > 0 else "left kidney"], room, value, rng)
    _spleen(canvas, size["spleen"], room, value, texture)
    _liver(canvas, size["liver"], room, value, texture, rng)
    _cava(canvas, value)
    _pancreas(canvas, size["pancreas"], value, texture)
    _stomach(canvas, size["stomach"], room, value, texture)
    _small_bowel(canvas, rng, room, value)
    _colon(canvas, rng, room, value)
    _gallbladder(canvas, size["gallbladder"], value)
    bladder = canvas.ellipsoid([0, 28, -338], [42 * size["bladder"], 34, 34])
    canvas.paint(Shape(bladder.region, bladder.distance - 3), 45.0)
    canvas.paint(bladder, 8.0, 15)
    _mesentery(canvas, rng, value)


def _spine_clear(canvas: Canvas) -> Field:
    """Signed distance that is negative clear of the lumbar spine and its muscles."""
    zs = canvas.grid.axis(2) / canvas.warp.scale[2]
    y = np.interp(zs, *np.array([(h, spine_y(h)) for h in np.linspace(-340, 60, 41)]).T).astype(np.float32)
    wide = np.interp(zs, [-340, -220, -95, 60], [70, 52, 30, 26]).astype(np.float32)
    ring = np.sqrt((canvas.x / wide) ** 2 + ((canvas.y - y) / 21) ** 2)
    return np.asarray((1 - ring) * 20 + 2, np.float32)


def _turn(axis: int, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    i, j = [k for k in range(3) if k != axis]
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = np.cos(a)
    turn[i, j], turn[j, i] = -np.sin(a), np.sin(a)
    return turn


def kidney_pose(side: int, size: float) -> tuple[Points, Points, np.ndarray]:
    """Centre, radii (canonical mm) and rotation of a kidney; +1 right, -1 left."""
    center = np.array([side * 65.0, -41.0, -140.0 if side > 0 else -126.0])
    return center, np.array([28.0, 30.0, 58.0]) * size, _turn(2, side * 32) @ _turn(1, side * 13)


def _kidney(
    canvas: Canvas, side: int, size: float, room: Field, value: dict[str, float], rng: np.random.Generator
) -> None:
    center, radii, tilt = kidney_pose(side, size)
    kidney = canvas.ellipsoid(center, radii, tilt)
    hilum = center + tilt @ np.array([-side * 22.0, 6.0, 0.0])
    notch = canvas.tube(
        np.stack(
            [center + tilt @ np.array([-side * 8.0, 2, -16]), hilum, center + tilt @ np.array([-side * 8.0, 2, 16])]
        ),
        8.5,
    )
    region = kidney.region
    fat = np.full(canvas.grid.shape, 1e3, np.float32)
    fat[notch.region] = notch.distance
    kidney = Shape(region, np.maximum(kidney.distance, -fat[region]))
    label = 5 if side > 0 else 14
    canvas.paint(kidney, value["renal cortex"], label, inside=room)
    # Pyramids: medulla in lobes between columns of cortex, seen while contrast is in the cortex.
    x, y, z = (c - np.float32(v) for c, v in zip(canvas.coordinates(region), center, strict=True))
    angle = np.arctan2(y, x)
    lobes = np.cos(angle * 5 + z / 9) * 2.6
    medulla = np.maximum(kidney.distance + 7.5, np.asarray(lobes + 0.6, np.float32))
    canvas.paint(Shape(region, medulla), value["renal medulla"], inside=room)
    canvas.paint(notch, value["inner fat"], inside=None)
    drain = np.stack([center + tilt @ np.array([-side * 9.0, 2, 0]), hilum, hilum])
    drain[1:] += [[-side * 12, 0, -6], [-side * 16, 2, -50]]
    canvas.paint(canvas.tube(drain, [6, 4.5, 1.8]), 6.0 if value["ureter"] == 0 else value["ureter"])
    aorta_side = np.array([-2 if side < 0 else 18, -14, center[2] + 4])
    between = (hilum + aorta_side) / 2
    vein = np.stack([hilum, between, aorta_side]) + np.array([[side * 3, 2, 0], [0, 8, 2], [0, 8, 0]])
    canvas.paint(canvas.tube(curve(vein, 10), 4.2), value["vein"])
    artery = np.stack([hilum, between, [-3, -15, center[2] + 14]]) + np.array([[side * 2, -3, 4], [0, 0, 6], [0, 0, 0]])
    canvas.paint(canvas.tube(curve(artery, 10), 2.6), value["artery"], thin=2.6)
    gland = 8 if side > 0 else 9
    top = center + tilt @ np.array([-side * 6, 8, 56])
    for leg in ([side * 3, -16, -10], [side * 13, -12, -10]):
        canvas.paint(canvas.tube(np.stack([top, top + leg]), 2.6), 60.0, gland, inside=room)


def _spleen(canvas: Canvas, size: float, room: Field, value: dict[str, float], texture: Field) -> None:
    spleen = canvas.ellipsoid([-98, -38, -74], np.array([46, 60, 62]) * size, _turn(2, -24))
    hollow = canvas.ellipsoid([-58, 0, -74], [42, 42, 74])
    cut = np.full(canvas.grid.shape, -1e3, np.float32)
    cut[hollow.region] = -hollow.distance
    distance = np.maximum(spleen.distance, cut[spleen.region])
    moire = value["moire"] * np.sin(canvas.x[spleen.region] / 5 + 2.5 * texture[spleen.region]) * 16
    hu = np.asarray(value["spleen"] + 3 * texture[spleen.region] + moire, np.float32)
    canvas.paint(Shape(spleen.region, distance), hu, 3, inside=room)


def liver_shape(canvas: Canvas, size: float) -> Shape:
    """Right lobe, left lobe and tip of the liver, before they are cut by wall and diaphragm."""
    right = canvas.ellipsoid([74, -4, -66], np.array([84, 90, 84]) * size, pad=24)
    left = canvas.ellipsoid([2, 42, -48], np.array([88, 40, 38]) * size, _turn(1, 8), pad=24)
    tip = canvas.ellipsoid([102, -8, -132], np.array([38, 60, 62]) * size, pad=24)
    return smooth_union([right, left, tip], canvas, 24)


def liver_vessels(rng: np.random.Generator) -> tuple[list[Branch], list[Branch]]:
    """Portal tree from the porta hepatis, and the three hepatic veins towards the cava."""
    portal: list[Branch] = []
    queue = [(np.array([28.0, 18.0, -92.0]), np.array(way) / np.linalg.norm(way), 5.0, 30.0, 3)
             for way in ([0.9, -0.1, 0.35], [-0.5, 0.6, 0.5], [0.8, -0.3, -0.5])]  # fmt: skip
    while queue:
        start, way, r, length, left = queue.pop()
        end = start + (way + rng.normal(0, 0.12, 3)) * length
        portal.append(Branch(start, end, (r, r * 0.8)))
        if left:
            across = np.cross(way, rng.normal(0, 1, 3))
            across /= np.linalg.norm(across)
            for sign in (1, -1):
                turn = way + sign * rng.uniform(0.3, 0.75) * across
                queue.append((end, turn / np.linalg.norm(turn), r * 0.68, length * 0.86, left - 1))
    veins: list[Branch] = []
    top = np.array([25.0, -8.0, -20.0])
    for goal in ([104, -40, -58], [64, 34, -62], [2, 44, -48]):
        path = curve([top, (top + goal) / 2 + rng.normal(0, 4, 3) + [0, 0, 6], goal], 7)
        radius = np.linspace(4.6, 1.6, 7)
        veins += [
            Branch(a, b, (float(p), float(q)))
            for a, b, p, q in zip(path[:-1], path[1:], radius[:-1], radius[1:], strict=True)
        ]
        for k in (2, 3, 4):
            twig = path[k] + rng.normal(0, 1, 3) * 16
            veins.append(Branch(path[k], twig, (radius[k] * 0.6, 1.0)))
    return portal, veins


def _liver(
    canvas: Canvas, size: float, room: Field, value: dict[str, float], texture: Field, rng: np.random.Generator
) -> None:
    liver = liver_shape(canvas, size)
    kidney_center, kidney_radii, tilt = kidney_pose(1, 1.0)
    cuts = [
        canvas.ellipsoid(kidney_center + np.array([2, -4, 0]), kidney_radii + 7, tilt),
        canvas.tube(curve(CAVA, 12), 12.0),
        canvas.tube([[24, -4, -104], [26, 22, -96], [4, 26, -82]], 11.0),  # porta hepatis
        canvas.tube([[8, 84, -60], [10, 58, -84], [22, 36, -104]], 5.0),  # ligamentum teres
        canvas.ellipsoid([52, 46, -120], [20, 30, 36]),
        canvas.ellipsoid([-60, -6, -60], [52, 56, 56]),
    ]
    keep = np.full(canvas.grid.shape, -1e3, np.float32)
    for cut in cuts:
        part = keep[cut.region]
        np.maximum(part, -cut.distance, out=part)
    bumps = 1.6 * rough(rng, canvas.grid, 45)[liver.region]
    distance = np.maximum(liver.distance + bumps, keep[liver.region])
    inside = np.full(canvas.grid.shape, 1e3, np.float32)
    inside[liver.region] = np.maximum(distance, room[liver.region])
    canvas.paint(Shape(liver.region, distance), value["liver"] + 2.5 * texture[liver.region], 1, inside=room)
    portal, veins = liver_vessels(rng)
    for branches, hu in ((portal, value["portal"]), (veins, value["hepatic vein"])):
        for branch in branches:
            tube = canvas.tube(np.stack([branch.start, branch.end]), branch.radii)
            if tube.distance.size:
                canvas.paint(tube, hu, inside=inside + 2.0, thin=min(branch.radii))
    trunk = curve([[18, 24, -132], [22, 18, -112], [28, 16, -94]], 8)
    canvas.paint(canvas.tube(trunk, 6.0), value["portal"], 17)
    splenic = curve([[18, 24, -132], [-10, 22, -122], [-55, -6, -104], [-90, -24, -86]], 16)
    canvas.paint(canvas.tube(splenic, 4.0), value["portal"], 17)


def _cava(canvas: Canvas, value: dict[str, float]) -> None:
    path = curve(CAVA, 30)
    radius = np.interp(path[:, 2], [-212, -120, -20], [9.0, 10.0, 12.0])
    upper = canvas.tube(path, radius)
    canvas.paint(upper, value["cava"], 7)
    for side in (1, -1):
        iliac = curve([[15, -16, -208], [6 + side * 20, -24, -250], [side * 44, -20, -290], [side * 60, 14, -340]], 14)
        canvas.paint(canvas.tube(iliac, 6.0), value["cava"] - 10, 61 if side > 0 else 60)


def _pancreas(canvas: Canvas, size: float, value: dict[str, float], texture: Field) -> None:
    path = curve(PANCREAS, 40)
    radius = np.interp(np.linspace(0, 1, 40), [0, 0.15, 0.4, 0.6, 1], [12, 16.5, 9.5, 12, 9.5]) * size
    gland = canvas.tube(path, radius)
    lobules = gland.distance + 1.5 * texture[gland.region]
    canvas.paint(Shape(gland.region, lobules), value["pancreas"], 4)


def _stomach(
    canvas: Canvas, size: float, room: Field, value: dict[str, float], texture: Field, erect: bool = False
) -> None:
    path = curve([[-58, -8, -36], [-62, 6, -58], [-64, 30, -92], [-50, 54, -126], [-18, 62, -140], [18, 52, -128]], 36)
    radius = np.interp(np.linspace(0, 1, 36), [0, 0.2, 0.5, 0.75, 1], [27, 33, 27, 20, 9]) * size
    wall = canvas.tube(path, radius)
    canvas.paint(wall, value["gut wall"], 12, inside=room)
    lumen = np.maximum(wall.distance + 4.0 + 0.7 * texture[wall.region], room[wall.region] + 4)
    above = canvas.z[wall.region] + 42 if erect else canvas.y[wall.region] - 38  # gas rises
    canvas.paint(Shape(wall.region, lumen), 18 + 5 * texture[wall.region])
    canvas.paint(Shape(wall.region, np.maximum(lumen, -above)), -985.0)
    loop = curve(
        [[20, 50, -128], [42, 32, -130], [56, 6, -150], [48, -4, -184], [14, 2, -196], [-18, 4, -186], [-34, 12, -164]],
        34,
    )
    tube = canvas.tube(loop, 11.0)
    canvas.paint(tube, value["gut wall"], 13, inside=room)
    canvas.paint(Shape(tube.region, tube.distance + 3.2), 22.0)
    canvas.paint(Shape(tube.region, np.maximum(tube.distance + 3.2, 36 - canvas.y[tube.region])), -900.0)


def _small_bowel(canvas: Canvas, rng: np.random.Generator, room: Field, value: dict[str, float]) -> None:
    """Loops that fill the middle of the abdomen: columns that run up and down, back layers first."""
    for layer, y in enumerate((4.0, 32.0, 60.0)):
        points = []
        half = 86.0 - 6 * layer
        for column, x in enumerate(np.arange(half, -half - 1, -27.0)):
            low, high = -306.0, -168.0 - 12 * layer + rng.normal(0, 8)
            zs = np.linspace(low, high, 5) if column % 2 else np.linspace(high, low, 5)
            points += [[x + rng.normal(0, 9), y + rng.normal(0, 8), z + rng.normal(0, 5)] for z in zs]
        path = curve(points, 7 * len(points))
        along = np.linspace(0, 60, len(path))
        radius = 12.2 + 1.5 * np.sin(along) + 1.2 * np.sin(along * 2.7 + layer)
        loop = canvas.tube(path, radius)
        distance = np.maximum(loop.distance, room[loop.region] + 1)
        canvas.paint(Shape(loop.region, distance), value["gut wall"], 19)
        # Content goes by place, so that whole loops share it: collapsed, fluid, or gas above a level.
        wave = np.sin(canvas.x[loop.region] / 27 + layer * 2) + np.cos(canvas.z[loop.region] / 31 + layer)
        lumen = distance + np.clip(3.4 + 2.6 * wave, 2.4, 7.5)
        canvas.paint(Shape(loop.region, lumen), 20.0)
        canvas.paint(
            Shape(loop.region, np.maximum(np.maximum(lumen, wave + 1.0), y + 3 - canvas.y[loop.region])), -900.0
        )


def _colon(canvas: Canvas, rng: np.random.Generator, room: Field, value: dict[str, float]) -> None:
    sag = rng.uniform(0, 30)
    path = curve([[92, -6, -262], [106, -18, -220], [106, -20, -178], [92, 20, -164], [60, 62, -168],
                  [0, 70, -172 - sag], [-62, 60, -158],
                  [-98, 14, -118], [-112, -18, -104], [-112, -30, -150], [-110, -24, -220], [-96, -4, -262],
                  [-58, 20, -300], [-22, -8, -318],
                  [-4, -34, -330]], 220)  # fmt: skip
    t = np.linspace(0, 1, len(path))
    radius = np.interp(t, [0, 0.1, 0.35, 0.6, 0.8, 1], [25, 24, 21, 19, 14, 13]) + 2.2 * np.sin(t * 210)
    colon = canvas.tube(path, radius)
    canvas.paint(colon, value["gut wall"], 62, inside=room)
    lumen = np.maximum(colon.distance + 2.6, room[colon.region] + 2.6)
    stool = rough(rng, canvas.grid, 5)[colon.region]
    content = np.where(stool > 1.0, -350, 45 + 35 * stool).astype(np.float32)
    canvas.paint(Shape(colon.region, lumen), content)
    middle = np.interp(np.abs(canvas.x[colon.region]), [0, 60, 105], [62, 50, -14])
    gas = np.maximum(lumen, np.asarray(middle, np.float32) + 6 - canvas.y[colon.region])
    canvas.paint(Shape(colon.region, gas), -960.0)


def _gallbladder(canvas: Canvas, size: float, value: dict[str, float]) -> None:
    bag = canvas.ellipsoid([54, 46, -122], np.array([14, 20, 28]) * size, _turn(0, 20))
    canvas.paint(Shape(bag.region, bag.distance - 1.6), 60.0)
    canvas.paint(bag, 10.0, 10)


def _mesentery(canvas: Canvas, rng: np.random.Generator, value: dict[str, float]) -> None:
    root = np.array([-2.0, 2.0, -140.0])
    canvas.paint(
        canvas.tube([[-4, -12, -112], [-2, 8, -132], [0, 14, -190], [4, 18, -240]], [4.0, 3.8, 3.4, 2.4]),
        value["artery"],
    )
    canvas.paint(canvas.tube([[14, 20, -134], [12, 16, -190], [16, 20, -240]], [5.2, 4.8, 3.4]), value["portal"], 17)
    canvas.paint(canvas.tube([[-4, -10, -98], [0, 8, -100], [20, 16, -104]], [3.8, 3.4, 2.4]), value["artery"])
    for _ in range(46):
        start = root + np.array([rng.uniform(-6, 14), 10, rng.uniform(-100, -10)])
        end = start + np.array([rng.uniform(-62, 62), rng.uniform(0, 48), rng.uniform(-42, 12)])
        canvas.paint(
            canvas.tube(curve([start, (start + end) / 2 + rng.normal(0, 6, 3), end], 6), 1.5),
            value["vein"] - 20,
            thin=1.3,
        )
