"""Chest radiograph: perspective projection of the same torso that the CT shows, with its findings' shadows as masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attending.phantom.body import cage_radii
from attending.phantom.canvas import Canvas, Field, Grid, Points, Warp, interpolate
from attending.phantom.finding import Finding
from attending.phantom.lesion import broken_rib
from attending.phantom.patient import Patient
from attending.phantom.random import stream
from attending.phantom.skeleton import bone_hardness, cartilage_path, clavicle_path, rib_path, rib_radius
from attending.phantom.style import Style
from attending.phantom.torso import draw_patient_torso, lung_vessels, torso_warp

SIZE = 512
_VOXEL = 3.0
_WATER = 0.0195  # linear attenuation of water at the mean energy of a chest radiograph, per mm


class Detector(NamedTuple):
    """Where ray and film meet.

    Attributes:
        size: Pixels along each side.
        pixel: mm.
        center: RAS x and z of the central ray, mm.
        plane: RAS y of the detector, in front of the chest, mm.
        distance: Source to detector, mm; the source is behind the patient (PA).
    """

    size: int
    pixel: float
    center: tuple[float, float]
    plane: float
    distance: float

    def axis(self, index: int) -> Field:
        """Pixel centres along x (0) or z (1) on the detector, mm from the central ray."""
        return ((np.arange(self.size) - (self.size - 1) / 2) * self.pixel).astype(np.float32)

    def magnify(self, y: npt.ArrayLike) -> npt.NDArray[Any]:
        """How much larger than life something at depth y (RAS mm) appears."""
        return np.asarray(self.distance / (self.distance - (self.plane - np.asarray(y, float))))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """`[4, 4]` voxel indices of the `[X, 1, Z]` image to RAS mm in the plane of the detector."""
        affine = np.diag([self.pixel, 1.0, self.pixel, 1.0])
        half = (self.size - 1) / 2 * self.pixel
        affine[:3, 3] = self.center[0] - half, self.plane, self.center[1] - half
        return affine


class Radiograph(NamedTuple):
    """A radiograph and what casts its shadows.

    Attributes:
        value: `[size, size]` float32 of 0 to 1, x then z, bright where little gets through.
        masks: One `[size, size]` bool per finding, in their order.
        organs: Shadows of lungs and heart by name.
        volumes: Volume in mL of each finding in the body.
        detector: Geometry.
    """

    value: Field
    masks: list[npt.NDArray[np.bool_]]
    organs: dict[str, npt.NDArray[np.bool_]]
    volumes: list[float]
    detector: Detector


def take_radiograph(
    patient: Patient, seed: int, style: Style, findings: Sequence[Finding], visit: int, size: int = SIZE
) -> Radiograph:
    """A frontal chest radiograph of one patient at one visit."""
    warp = torso_warp(patient, seed)
    sx, sy, sz = warp.scale
    width, height = 424 * sx, 372 * sz
    origin = (-width / 2, -132 * sy - 8 * patient.fat, -142 * sz)
    shape = tuple(int(np.ceil(w / _VOXEL)) for w in (width, 262 * sy + 26 * patient.fat, height))
    grid = Grid(shape, (_VOXEL,) * 3, origin)  # type: ignore[arg-type]
    canvas = Canvas(grid, warp)
    instance = draw_patient_torso(canvas, patient, seed, "none", findings, radiograph=True)
    detector = _detector(patient, warp, style, stream(seed, "pose", visit), size)
    path = _integrate(_attenuation(canvas.value), grid, detector)
    path += _thin_structures(patient, seed, warp, detector, findings)
    value = _develop(path, style, stream(seed, "film", style.name, visit), detector)
    masks = [_shadow(instance == i + 1, grid, detector) for i in range(len(findings))]
    lungs = [
        (canvas.label >= 28) & (canvas.label <= 32)
        | (canvas.label >= 141) & (canvas.label <= 145)
        | (canvas.label == 23)
    ]
    right = (canvas.x > 0) & lungs[0]
    organs = {
        "right lung": _shadow(right, grid, detector),
        "left lung": _shadow(lungs[0] & ~right, grid, detector),
        "heart": _shadow(canvas.label == 115, grid, detector),
    }
    volumes = [float((instance == i + 1).sum() * _VOXEL**3 / 1000) for i in range(len(findings))]
    return Radiograph(value, masks, organs, volumes, detector)


def _detector(patient: Patient, warp: Warp, style: Style, rng: np.random.Generator, size: int) -> Detector:
    sx, sy, sz = (float(s) for s in warp.scale)
    field = max(380 * sx, 372 * sz) * float(rng.uniform(0.95, 1.02))
    center = (float(rng.normal(0, 4)), float((46 + rng.normal(0, 5)) * sz))
    plane = 115 * sy + 25 * patient.fat
    return Detector(
        size, round(field / size, 4), (round(center[0], 2), round(center[1], 2)), round(plane, 2), style.cxr["distance"]
    )


def _attenuation(value: Field) -> Field:
    """HU to attenuation per mm; bone takes more than its density says, as it does at these energies."""
    return np.float32(_WATER) * (1 + value / 1000 + np.clip(value - 120, 0, None) * np.float32(0.0006))


def _integrate(density: npt.NDArray[Any], grid: Grid, detector: Detector) -> Field:
    """Sum of `density` (per mm) along every ray: slab by slab from back to front, each magnified by its depth."""
    depth = grid.axis(1)
    total = np.zeros((detector.size, detector.size), np.float32)
    hit = np.flatnonzero(density.any(axis=(0, 2)))
    for j in hit:
        scale = float(detector.magnify(depth[j]))
        slab = density[:, j, :].astype(np.float32)
        for axis, world in ((0, 0), (1, 2)):
            place = (detector.axis(axis) / scale - grid.origin[world] + detector.center[axis]) / grid.spacing[world]
            slab = interpolate(slab, axis, place)
        total += slab
    return total * np.float32(grid.spacing[1])


def _shadow(mask: npt.NDArray[np.bool_], grid: Grid, detector: Detector) -> npt.NDArray[np.bool_]:
    """Pixels whose ray crosses at least half a voxel of a region."""
    return _integrate(mask, grid, detector) > 0.5 * grid.spacing[1]


def _thin_structures(patient: Patient, seed: int, warp: Warp, detector: Detector, findings: Sequence[Finding]) -> Field:
    """Ribs, collarbones and lung vessels from their centre lines: sharper than voxels of 3 mm can be."""
    broken = {(n, s): pieces for n, s, pieces, _ in (broken_rib(f) for f in findings if f.kind == "fracture")}
    hard = bone_hardness(patient)
    clouds: list[tuple[Points, npt.NDArray[Any]]] = []
    for side in (1, -1):
        for number in range(1, 13):
            for piece in broken.get((number, side), [rib_path(number, side)]):
                clouds.append(_tube_cloud(warp, piece, rib_radius(number), 1.72, 900 * hard, 320 * hard, 2.0))
            cartilage = cartilage_path(number, side)
            if cartilage is not None and patient.age > 45:
                clouds.append(_tube_cloud(warp, cartilage, 5.0, 1.4, 5.0 * (patient.age - 45), 40.0, 2.0))
        clouds.append(_tube_cloud(warp, clavicle_path(side), 6.0, 1.0, 850 * hard, 330 * hard, 2.6))
    dead = [f for f in findings if f.kind == "pneumothorax"]
    for branch in lung_vessels(seed):
        if not _hidden(branch.end, dead):
            clouds.append(
                _tube_cloud(
                    warp, np.stack([branch.start, branch.end]), branch.radii[1], 1.0, 880.0, 880.0, branch.radii[1]
                )
            )
    return _splat(np.concatenate([c[0] for c in clouds]), np.concatenate([c[1] for c in clouds]), detector)


def _hidden(point: Points, gas: Sequence[Finding]) -> bool:
    """Whether a vessel would run where a pneumothorax has pushed the lung away, or outside the lungs."""
    side, front, back = (float(r) for r in cage_radii(float(point[2])))
    depth = front if point[1] > 0 else back
    edge = 1 - float(np.hypot(point[0] / side, point[1] / depth))
    reach = 0.06
    for finding in gas:
        if (point[0] > 0) == (finding.side == "right"):
            reach = max(reach, finding.size * (0.35 + 0.75 * float(np.clip((point[2] - 20) / 160, 0, 1))) / side)
    top = 185 - 60 * (abs(abs(float(point[0])) - 50) / 60) ** 2
    dome = -88 * ((((abs(float(point[0])) - 68) / 92) ** 2 + ((float(point[1]) - 8) / 98) ** 2) ** 1.15)
    return edge < reach or float(point[2]) > top or float(point[2]) < dome + (4 if point[0] > 0 else -8)


@cache
def _ring(turns: int) -> Points:
    angle = np.arange(turns) * (2 * np.pi / turns)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _tube_cloud(
    warp: Warp, path: Points, radius: float, tall: float, shell: float, core: float, thick: float
) -> tuple[Points, npt.NDArray[Any]]:
    """Points along a tube that carry its mass (HU above its surroundings times mm^3): a shell and a core."""
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    count = max(2, int(length / (1.0 if radius > 2.5 else 1.6)))
    place = np.linspace(0, len(path) - 1, count)
    first = np.minimum(place.astype(int), len(path) - 2)
    line = path[first] + (path[first + 1] - path[first]) * (place - first)[:, None]
    way = np.gradient(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
    up = np.array([0.0, 0.0, 1.0]) - way * way[:, 2:3]
    up /= np.linalg.norm(up, axis=1, keepdims=True) + 1e-9
    out = np.cross(way, up)
    world = warp.to_world(line)
    step = length / count
    points, mass = [], []
    outer, inner = np.pi * radius**2 * tall, np.pi * max(radius - thick, 0) ** 2 * tall
    for reach, area, hu, turns in (
        (radius - thick * 0.4, outer - inner, shell, 20 if radius > 2.5 else 6),
        (radius * 0.4, inner, core, 8),
    ):
        if area <= 0:
            continue
        ring = _ring(turns) * reach
        points.append(
            (world[:, None] + ring[None, :, :1] * out[:, None] + ring[None, :, 1:] * tall * up[:, None]).reshape(-1, 3)
        )
        mass.append(np.full(count * turns, hu * area * step / turns))
    return np.concatenate(points), np.concatenate(mass)


def _splat(points: Points, mass: npt.NDArray[Any], detector: Detector) -> Field:
    """Attenuation that point masses add to each pixel."""
    from scipy.ndimage import gaussian_filter

    scale = detector.magnify(points[:, 1])
    n = detector.size
    u = (points[:, 0] - detector.center[0]) * scale / detector.pixel + (n - 1) / 2
    v = (points[:, 2] - detector.center[1]) * scale / detector.pixel + (n - 1) / 2
    keep = (u > 0) & (u < n - 1) & (v > 0) & (v < n - 1)
    u, v = u[keep], v[keep]
    amount = mass[keep] * (scale[keep] / detector.pixel) ** 2 * _WATER / 1000
    i, j = u.astype(np.intp), v.astype(np.intp)
    du, dv = u - i, v - j
    total = np.zeros(n * n)
    for di, dj, share in ((0, 0, (1 - du) * (1 - dv)), (1, 0, du * (1 - dv)), (0, 1, (1 - du) * dv), (1, 1, du * dv)):
        total += np.bincount((i + di) * n + j + dj, amount * share, n * n)
    return np.asarray(gaussian_filter(total.reshape(n, n).astype(np.float32), 0.9), np.float32)


def _develop(path: Field, style: Style, rng: np.random.Generator, detector: Detector) -> Field:
    """Attenuation to picture: beam hardening, scatter, noise, and the look of film or of a digital system."""
    from scipy.ndimage import gaussian_filter

    look = style.cxr
    hard = path / (1 + np.float32(0.035) * path)  # the beam hardens, so thick parts stop less than their length says
    light = np.exp(-hard)
    light = light + np.float32(0.10) * gaussian_filter(light, 0.06 * detector.size, truncate=2.0) + np.float32(0.004)
    light *= 1 + np.float32(look["noise"]) * rng.standard_normal(path.shape, dtype=np.float32) / np.sqrt(
        np.clip(light, 0.02, 1) * 3
    )
    density = -np.log(np.clip(light, 1e-4, None))
    low, high = np.percentile(density[density > 0.35], [2, 98.5]) if (density > 0.35).any() else (0.0, 1.0)
    value = (density - low) / (high - low)
    if look["sharpen"]:
        value = value + np.float32(0.35 * look["sharpen"]) * (value - gaussian_filter(value, 0.004 * detector.size))
        value = value + np.float32(0.22 * look["sharpen"]) * (
            value - gaussian_filter(value, 0.05 * detector.size, truncate=2.0)
        )
    if look["look"] == "film":  # characteristic curve: toe, straight part, shoulder
        value = 1 / (1 + np.exp(-5.2 * (value - 0.5)))
    else:
        value = 0.5 + 0.5 * np.tanh(1.5 * (value - 0.5)) / np.tanh(0.85)
    if look["lines"]:
        value = value + np.float32(look["lines"]) * np.sin(np.arange(detector.size, dtype=np.float32) * 2.1)[:, None]
    edge = int(look["collimation"] * detector.size * (0.6 + 0.8 * rng.random()))
    if edge:
        value[:edge] = value[-edge:] = 0
    value = np.clip(value, 0, 1)
    _marker(value, look)
    return np.asarray(value, np.float32)


def _marker(value: Field, look: dict[str, Any]) -> None:
    """Burn the technician's marker in, as it reads on the displayed picture."""
    from PIL import Image, ImageDraw, ImageFont

    n = value.shape[0]
    size = max(10, n // 22)
    sheet = Image.new("L", (n, n))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size)
    wide = draw.textlength(look["marker"], font=font)
    left = n * 0.04 if look["corner"] == "left" else n * 0.96 - wide
    draw.text((left, n * 0.04), look["marker"], fill=255, font=font)
    # Displayed rows run down from superior and columns from the patient's right (+x).
    ink = np.asarray(sheet, np.float32).T[::-1, ::-1] / 255
    np.maximum(value, ink * np.float32(0.97), out=value)
