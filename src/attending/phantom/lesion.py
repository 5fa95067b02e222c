"""Lesions and chest findings, painted into a torso; each leaves its own number in an instance map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.phantom.abdomen import kidney_pose
from attending.phantom.body import Body
from attending.phantom.canvas import Canvas, Field, Points, Shape, curve
from attending.phantom.finding import Finding
from attending.phantom.random import stream
from attending.phantom.skeleton import rib_path

Instances = npt.NDArray[np.uint8]

# Where the centre of a lesion may lie: centre of a box and its half widths, canonical mm.
_BOXES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "segment II": ((-18, 42, -38), (12, 8, 6)), "segment III": ((-12, 48, -56), (12, 8, 6)),
    "segment IV": ((22, 40, -56), (10, 10, 12)),
    "segment V": ((72, 30, -98), (12, 10, 10)), "segment VI": ((92, -22, -114), (10, 14, 10)),
    "segment VII": ((88, -36, -52), (12, 14, 12)),
    "segment VIII": ((70, 16, -42), (14, 14, 12)),
    "right upper lobe": ((72, 8, 120), (18, 24, 24)), "right middle lobe": ((72, 48, 22), (18, 10, 10)),
    "right lower lobe": ((74, -45, 25), (18, 16, 26)),
    "left upper lobe": ((-72, 18, 115), (18, 22, 28)), "left lower lobe": ((-76, -48, 25), (16, 14, 26)),
    "head": ((38, 10, -150), (3, 2, 4)), "body": ((-10, 26, -115), (7, 2, 2)), "tail": ((-72, -8, -100), (6, 3, 2)),
}  # fmt: skip
_POLES = {"upper pole": 34.0, "interpolar region": 0.0, "lower pole": -34.0}
FOCAL: dict[str, tuple[int, ...]] = {
    "liver lesion": (1,),
    "lung nodule": (28, 29, 30, 31, 32),
    "kidney lesion": (5, 14),
    "pancreas lesion": (4,),
}
"""Labels of the organ that a focal lesion must stay within."""


def lesion_center(finding: Finding, attempt: int = 0) -> Points:
    """Centre of a focal lesion, canonical mm; `attempt` draws another one in the same place."""
    rng = stream(finding.seed, "center", attempt)
    if finding.kind == "kidney lesion":
        side = 1 if finding.side == "right" else -1
        center, _, tilt = kidney_pose(side, 1.0)
        along = _POLES[finding.place]
        # Lateral and a little out, so that it bulges from the cortex and spares the hilum.
        out = 13.0 + min(finding.size, 40) * 0.14
        angle = rng.uniform(-0.7, 0.7)
        offset = np.array([side * out * np.cos(angle), out * np.sin(angle), along + rng.uniform(-5, 5)])
        return np.asarray(center + tilt @ offset, float)
    middle, half = _BOXES[finding.place]
    return np.asarray(middle + rng.uniform(-1, 1, 3) * np.asarray(half), float)


def place_lesions(findings: Sequence[Finding], asked: bool) -> tuple[Finding, ...]:
    """Give every focal lesion a centre clear of the others, the same on all visits and at any resolution.

    Those that find no room are left out, unless they were asked for.

    Raises:
        InputError: A lesion that was asked for does not fit beside the others.
    """
    placed: list[Finding] = []
    taken: list[tuple[Points, float]] = []
    for finding in findings:
        if finding.kind not in FOCAL:
            placed.append(finding)
            continue
        reach = max(finding.size, finding.before) / 2
        for attempt in range(60):
            center = lesion_center(finding, attempt)
            if all(np.linalg.norm(center - other) > reach + r + 10 for other, r in taken):
                x, y, z = (float(v) for v in center)
                placed.append(replace(finding, center=(x, y, z)))
                taken.append((center, reach))
                break
        else:
            if asked:
                problem = (
                    f"{finding.kind} does not fit beside the others; ask for less than {2 * reach:g} mm or for fewer"
                )
                raise InputError(problem, field="place", value=finding.place)
    return tuple(placed)


def lesion_shape(canvas: Canvas, finding: Finding) -> Shape:
    """Signed distance to a focal lesion, its size measured in world mm."""
    rng = stream(finding.seed, "shape")
    radius = finding.size / 2
    radii = radius * np.array([1.0, 1.0, 1.0]) * np.clip(rng.normal(1, 0.07, 3), 0.86, 1.0) / canvas.warp.scale
    shape = canvas.ellipsoid(finding.center, radii)
    if finding.margin == "smooth" or shape.distance.size == 0:
        return shape
    waves = rng.normal(0, 1, (5, 3)) / np.linalg.norm(rng.normal(0, 1, (5, 3)), axis=1, keepdims=True)
    waves *= 3.4 / radius
    phase = rng.uniform(0, 6.28, 5)
    x, y, z = canvas.coordinates(shape.region)
    bumps = sum(
        np.cos(x * np.float32(w[0]) + y * np.float32(w[1]) + z * np.float32(w[2]) + np.float32(p))
        for w, p in zip(waves, phase, strict=True)
    )
    return Shape(shape.region, shape.distance + np.float32(0.05 * radius) * np.asarray(bumps, np.float32))


def _contrast(finding: Finding, value: dict[str, float]) -> float:
    """HU of a focal lesion."""
    if finding.density == "cystic":
        return 8.0
    table = {"liver lesion": {"hypodense": value["liver"] - 48, "hyperdense": value["liver"] + 62},
             "lung nodule": {"solid": 38.0, "ground-glass": -580.0, "calcified": 320.0},
             "kidney lesion": {"solid": min(95.0, value["renal cortex"] - 60)},
             "pancreas lesion": {"hypodense": value["pancreas"] - 48}}  # fmt: skip
    return table[finding.kind][finding.density]


def draw_lesion(canvas: Canvas, finding: Finding, number: int, value: dict[str, float], instances: Instances) -> None:
    """Paint a focal lesion within its organ."""
    shape = lesion_shape(canvas, finding)
    organ = np.isin(canvas.label[shape.region], [*FOCAL[finding.kind], 25, 17])
    distance = shape.distance
    if finding.kind == "kidney lesion":  # an exophytic mass pushes fat aside, but no other organ
        organ = organ | (canvas.label[shape.region] == 0)
    distance = np.where(organ, distance, np.maximum(distance, np.float32(0.5)))
    grain = stream(finding.seed, "grain").standard_normal(distance.shape, dtype=np.float32)
    hu = np.float32(_contrast(finding, value)) + (0 if finding.density == "cystic" else 6) * grain
    if finding.density == "hypodense" and finding.kind == "liver lesion":
        hu = hu + 26 * np.exp(-(((distance + 2.5) / 2.2) ** 2)).astype(np.float32)  # enhancing rim
    canvas.paint(Shape(shape.region, distance), hu)
    mask = distance < 0
    canvas.label[shape.region][mask] = finding.label
    instances[shape.region][mask] = number
    if finding.margin == "spiculated" and finding.density != "ground-glass":
        rng = stream(finding.seed, "spikes")
        for _ in range(16):
            way = rng.normal(0, 1, 3)
            way *= finding.size * rng.uniform(0.65, 0.95) / np.linalg.norm(way)
            spike = canvas.tube(np.stack([finding.center, finding.center + way]), [1.2, 0.4])
            lung = np.isin(canvas.label[spike.region], FOCAL["lung nodule"])
            canvas.paint(Shape(spike.region, np.where(lung, spike.distance, np.float32(2))), 0.0, thin=0.8)


def draw_chest_findings(
    canvas: Canvas,
    body: Body,
    lung: Field,
    findings: Sequence[Finding],
    numbers: dict[str, int],
    instances: Instances,
    erect: bool,
) -> None:
    """Paint the findings that fill or change lung and pleural space, before lung vessels are judged by eye."""
    for finding in findings:
        side = {"right": 1, "left": -1}.get(finding.side, 0)
        region = canvas.region(*_chest_box(side))
        x, y, z = canvas.coordinates(region)
        mine = lung[region]
        if side:
            mine = np.maximum(mine, -side * x)
        wall = body.cage[region]
        if finding.kind == "effusion":
            _fill(canvas, region, _effusion(finding, mine, (x, y, z), wall, erect), 14.0, finding, numbers, instances)
        elif finding.kind == "pneumothorax":
            depth = np.float32(finding.size) * (np.float32(0.35) + np.clip((z - 20) / 160, 0, 1) * 0.75)
            space = np.maximum(mine, -(wall + 2 + depth))
            canvas.value[region] += canvas.sheet(np.where(mine < 1, wall + 2 + depth, 99), 1.8) * (
                40 - canvas.value[region]
            )
            _fill(canvas, region, space, -995.0, finding, numbers, instances)
        elif finding.kind == "consolidation":
            _consolidation(canvas, finding, lung, numbers, instances)
        elif finding.kind == "atelectasis":
            rng = stream(finding.seed, "shape")
            center = np.array([side * 78.0, float(rng.uniform(-20, 20)), float(rng.uniform(14, 34))])
            tilt = np.float32(side * rng.uniform(-0.35, -0.1))
            plate = np.abs(z - center[2] - tilt * (x - center[0])) - np.float32(3.2)
            extent = (np.sqrt(((x - center[0]) / 1.0) ** 2 + ((y - center[1]) / 0.9) ** 2) - finding.size / 2).astype(
                np.float32
            )
            _fill(canvas, region, np.maximum(np.maximum(plate, extent), mine + 2), 20.0, finding, numbers, instances)
        elif finding.kind == "edema":
            _edema(canvas, finding, lung, numbers, instances)


def _chest_box(side: int) -> tuple[list[float], list[float]]:
    return [-150.0 if side <= 0 else -2.0, -115.0, -110.0], [150.0 if side >= 0 else 2.0, 105.0, 215.0]


def _fill(
    canvas: Canvas,
    region: tuple[slice, slice, slice],
    distance: Field,
    hu: float | Field,
    finding: Finding,
    numbers: dict[str, int],
    instances: Instances,
) -> None:
    canvas.paint(Shape(region, np.asarray(distance, np.float32)), hu, finding.label)
    instances[region][distance < 0] = numbers[finding.id]


def _effusion(finding: Finding, mine: Field, place: tuple[Field, Field, Field], wall: Field, erect: bool) -> Field:
    """Fluid in the lowest part of the pleural space, with a meniscus up the wall; `size` is its depth in mm."""
    _x, y, z = place
    rise = np.float32(26) * np.exp(np.clip(wall + 2, -200, 0) / np.float32(9)) * np.float32(min(1.0, finding.size / 60))
    surface = (
        z - (-84 + np.float32(finding.size) + rise)
        if erect
        else y - (-88 + np.float32(finding.size * 0.62) + rise * 0.6)
    )
    return np.asarray(np.maximum(mine, surface), np.float32)


def _blob(canvas: Canvas, finding: Finding, center: Points, radii: npt.ArrayLike) -> Shape:
    """An ellipsoid with a ragged edge that is the same at any resolution."""
    rng = stream(finding.seed, "shape")
    shape = canvas.ellipsoid(center, radii)
    x, y, z = canvas.coordinates(shape.region)
    bumps = np.zeros(shape.distance.shape, np.float32)
    for _ in range(7):
        w = rng.normal(0, 0.11, 3).astype(np.float32)
        bumps += np.cos(x * w[0] + y * w[1] + z * w[2] + np.float32(rng.uniform(0, 6.28)))
    return Shape(shape.region, shape.distance + np.float32(0.045 * finding.size) * bumps)


def _consolidation(
    canvas: Canvas, finding: Finding, lung: Field, numbers: dict[str, int], instances: Instances
) -> None:
    center, _ = _BOXES[finding.place]
    radius = finding.size / 2
    shape = _blob(
        canvas,
        finding,
        np.asarray(center) + stream(finding.seed, "center").uniform(-8, 8, 3),
        [radius, radius * 0.95, radius * 0.85],
    )
    distance = np.maximum(shape.distance, lung[shape.region] + 0.5)
    grain = stream(finding.seed, "grain")
    x, y, z = canvas.coordinates(shape.region)
    mottle = (
        np.sin(x * 0.31 + grain.uniform(0, 6))
        + np.sin(y * 0.27 + grain.uniform(0, 6))
        + np.sin(z * 0.29 + grain.uniform(0, 6))
    )
    hu = np.asarray(
        (25 if finding.density == "dense" else -180) + (30 if finding.density == "dense" else 130) * mottle, np.float32
    )
    ramp = canvas.coverage(distance / np.float32(3.5))  # the edge fades into lung
    part = canvas.value[shape.region]
    part += ramp * np.clip(hu - part, 0, None)
    mask = distance < 0
    canvas.label[shape.region][mask] = finding.label
    instances[shape.region][mask] = numbers[finding.id]
    for k in range(4):  # air bronchograms
        way = stream(finding.seed, "bronchus", k).normal(0, 0.5, 3) + np.array([np.sign(center[0]), 0, 0])
        path = np.stack([np.asarray(center) - way * radius * 0.7, np.asarray(center) + way * radius * 0.6])
        air = canvas.tube(path, [2.2, 1.2])
        inside = np.isin(canvas.label[air.region], [finding.label])
        canvas.paint(Shape(air.region, np.where(inside, air.distance, np.float32(3))), -900.0, thin=1.5)


def _edema(canvas: Canvas, finding: Finding, lung: Field, numbers: dict[str, int], instances: Instances) -> None:
    """Haze that spreads from both hila, with thickened septa."""
    severe = finding.density == "severe"
    reach = np.float32(finding.size)
    for side in (1, -1):
        region = canvas.region(*_chest_box(side))
        x, y, z = canvas.coordinates(region)
        far = np.sqrt((x - side * 46) ** 2 + ((y + 14) / 1.1) ** 2 + ((z - 48) / 1.25) ** 2)
        mine = lung[region]
        share = canvas.coverage(mine)
        haze = (
            np.float32(430 if severe else 270)
            * np.exp(-((far / reach) ** 2))
            * (1 + np.float32(0.35) * np.sin(x / 5 + 2 * np.sin(z / 7)) * np.sin(y / 6))
        )
        part = canvas.value[region]
        air = np.clip((-part - 300) / 400, 0, 1)
        part += share * air * haze
        septa = (
            canvas.sheet(np.abs((z + 0.15 * x) % np.float32(11) - np.float32(5.5)), 0.9)
            * (mine < -1)
            * (mine > -20)
            * (z < 60)
            * (z > -40)
        )
        part += septa * air * np.float32(260)
        mask = (far < reach) & (mine < 0) & (instances[region] == 0)
        instances[region][mask] = numbers[finding.id]
        canvas.label[region][mask] = finding.label


def broken_rib(finding: Finding) -> tuple[int, int, list[Points], Points]:
    """A fractured rib as two pieces: number, side, their centre lines, and the middle of the gap (canonical mm)."""
    number, side = int(finding.place.split()[1]), 1 if finding.side == "right" else -1
    path = curve(rib_path(number, side), 120)
    k = int(stream(finding.seed, "break").uniform(0.42, 0.62) * 120)
    step = finding.size * 0.32
    shift = np.array([-side * step * 0.45, 0.0, -step])
    return number, side, [path[: k - 1], path[k + 1 :] + shift], path[k] + shift / 2
