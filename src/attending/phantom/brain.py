"""Brain: soft tissue maps of a head, with folded cortex, ventricles, deep grey matter, skull and face."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attending.phantom.canvas import Canvas, Field, Points, Shape, curve, smooth_union
from attending.phantom.finding import Finding
from attending.phantom.patient import Patient
from attending.phantom.random import stream

TISSUES = ("air", "csf", "grey matter", "white matter", "deep grey matter", "fat", "muscle", "bone", "marrow",
           "skin", "vitreous", "vessel", "necrosis", "enhancing tumor", "edema")  # fmt: skip
"""Tissues by id; every voxel is a mixture of them."""
TISSUE = {name: i for i, name in enumerate(TISSUES)}

_LOBES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "frontal lobe": ((34, 42, 26), (6, 8, 8)), "parietal lobe": ((36, -34, 40), (6, 8, 6)),
    "temporal lobe": ((44, -6, -14), (4, 8, 4)), "occipital lobe": ((28, -62, 16), (5, 5, 6)),
}  # fmt: skip


class Mixture:
    """Tissue shares of every voxel, kept as two: the tissue painted last and the one under it.

    Attributes:
        top: `[X, Y, Z]` uint8 tissue id on top.
        under: `[X, Y, Z]` uint8 tissue id below.
        share: `[X, Y, Z]` float32 share of `top`.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.top = np.zeros(canvas.grid.shape, np.uint8)
        self.under = np.zeros(canvas.grid.shape, np.uint8)
        self.share = np.ones(canvas.grid.shape, np.float32)

    def paint(self, shape: Shape, tissue: str, inside: Field | None = None) -> None:
        """Lay a tissue over what is there, with soft edges."""
        distance = shape.distance if inside is None else np.maximum(shape.distance, inside[shape.region])
        cover = self.canvas.coverage(distance)
        hit = cover > 0
        top, under, share = self.top[shape.region], self.under[shape.region], self.share[shape.region]
        main = np.where(share >= 0.5, top, under)
        under[hit] = main[hit]
        top[hit] = TISSUE[tissue]
        share[hit] = cover[hit]

    def signal(self, table: dict[str, float]) -> Field:
        """Signal of every voxel, given that of each tissue."""
        values = np.array([table[name] for name in TISSUES], np.float32)
        over, low = values[self.top], values[self.under]
        return np.asarray(low + self.share * (over - low), np.float32)

    def main(self) -> np.ndarray:
        """`[X, Y, Z]` uint8: the tissue that fills most of each voxel."""
        return np.where(self.share >= 0.5, self.top, self.under)


class Head(NamedTuple):
    """A drawn head: tissues, BraTS labels (1, 2, 4) and the signed distance to the brain's surface."""

    mixture: Mixture
    tumor: np.ndarray
    brain: Field


def tumor_center(finding: Finding) -> Points:
    """Centre of a brain tumour, canonical mm."""
    middle, half = _LOBES[finding.place]
    side = 1 if finding.side == "right" else -1
    point = np.asarray(middle) + stream(finding.seed, "center").uniform(-1, 1, 3) * half
    return np.asarray(point * [side, 1, 1])


def draw_head(canvas: Canvas, patient: Patient, seed: int, tumor: Finding | None) -> Head:
    """Paint a head with or without a tumour."""
    rng = stream(seed, "brain")
    atrophy = float(np.interp(patient.age, [25, 90], [0.0, 1.0])) * float(rng.uniform(0.6, 1.2))
    if tumor is not None:
        _push(canvas, tumor_center(tumor), tumor.size / 2)
    mixture = Mixture(canvas)
    floor = _floor(canvas)
    vault = _head_outside(canvas, mixture, floor)
    surface = _brain_surface(canvas, floor)
    deep = _cortex(canvas, mixture, surface, rng, atrophy)
    _cerebellum(canvas, mixture)
    _inside(canvas, mixture, atrophy)
    _vessels(canvas, mixture, vault)
    labels = np.zeros(canvas.grid.shape, np.uint8)
    if tumor is not None:
        _tumor(canvas, mixture, tumor, surface, deep, labels)
    return Head(mixture, labels, surface)


def _push(canvas: Canvas, center: Points, radius: float) -> None:
    """Mass effect: shift the coordinates in which everything is drawn away from a tumour."""
    x, y, z = canvas.x, canvas.y, canvas.z
    d = [c - np.float32(v) for c, v in zip((x, y, z), center, strict=True)]
    far = np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2) + np.float32(1)
    pull = np.float32(radius * 0.36) * np.exp(-((far / (2.1 * radius)) ** 2)) * np.clip(far / radius, 0, 1) / far
    for field, part in zip((x, y, z), d, strict=True):
        field -= pull * part


def _floor(canvas: Canvas) -> Field:
    """Height of the skull base: orbits in front, sella, clivus, posterior fossa; lower under the temporal lobes."""
    y, side = canvas.y, np.abs(canvas.x)
    middle = np.interp(y, [-95, -42, -24, -10, 8, 26, 90], [-64, -68, -58, -36, -27, -19, -12]).astype(np.float32)
    lateral = np.interp(y, [-95, -46, -34, 34, 46, 90], [-64, -60, -40, -42, -16, -12]).astype(np.float32)
    share = np.clip((side - 17) / 9, 0, 1)
    return np.asarray(middle + (lateral - middle) * share, np.float32)


def _vault(canvas: Canvas, floor: Field, grow: float) -> Shape:
    """Inside of the skull, grown by some mm."""
    parts = [
        canvas.ellipsoid([0, -3, 13], np.array([68, 86, 63]) + grow, pad=14),
        canvas.ellipsoid([0, -54, -36], np.array([56, 38, 34]) + grow, pad=14),
        canvas.ellipsoid([40, 6, -20], np.array([28, 44, 24]) + grow, pad=14),
        canvas.ellipsoid([-40, 6, -20], np.array([28, 44, 24]) + grow, pad=14),
    ]
    shape = smooth_union(parts, canvas, 14)
    base = floor[shape.region] - np.float32(grow) - canvas.z[shape.region]
    return Shape(shape.region, np.maximum(shape.distance, np.asarray(base, np.float32)))


def _whole(canvas: Canvas, shape: Shape) -> Field:
    field = np.full(canvas.grid.shape, np.float32(1e3))
    field[shape.region] = shape.distance
    return field


def _head_outside(canvas: Canvas, mixture: Mixture, floor: Field) -> Shape:
    """Scalp, skull, face, eyes and neck; returns the inside of the skull."""
    vault = _vault(canvas, floor, 1.0)
    outer = _vault(canvas, floor, 1.0 + 7.0)
    scalp = _vault(canvas, floor, 1.0 + 12.5)
    face = canvas.ellipsoid([0, 46, -62], [60, 50, 62], pad=26)
    neck = canvas.tube([[0, -38, -60], [0, -42, -140]], [58, 56], pad=26)
    nose = canvas.tube([[0, 92, -30], [0, 108, -58]], [7, 13], pad=26)
    skin = smooth_union([scalp, face, neck, nose], canvas, 26)
    mixture.paint(skin, "skin")
    mixture.paint(Shape(skin.region, skin.distance + 2.2), "fat")
    for side in (1, -1):
        mixture.paint(canvas.tube([[side * 66, 34, 8], [side * 60, 40, -60]], [7, 13]), "muscle")
        mixture.paint(canvas.tube([[side * 26, -72, -66], [side * 30, -66, -130]], [22, 24]), "muscle")
        mixture.paint(canvas.tube([[side * 44, 24, -70], [side * 40, 20, -110]], [14, 14]), "muscle")
        mixture.paint(canvas.ellipsoid([side * 82, -16, -36], [6, 15, 26]), "skin")
    core = canvas.tube([[0, 14, -60], [0, 6, -130]], [30, 28])
    mixture.paint(core, "muscle")
    mixture.paint(canvas.ellipsoid([0, 60, -70], [36, 30, 22]), "muscle")  # tongue and palate
    mixture.paint(outer, "bone")
    mixture.paint(Shape(outer.region, outer.distance + 2.4), "marrow")
    mixture.paint(Shape(vault.region, vault.distance - 2.2), "bone")
    for side in (1, -1):
        mixture.paint(canvas.ellipsoid([side * 32, 66, -28], [21, 24, 19]), "fat")
        mixture.paint(canvas.tube([[side * 31, 62, -28], [side * 14, 32, -22]], 2.6), "white matter")
        for dx, dz in ((9, 0), (-9, 0), (0, 9), (0, -9)):
            mixture.paint(
                canvas.tube([[side * 31 + dx, 66, -28 + dz], [side * 18 + dx / 3, 36, -24 + dz / 3]], 1.9), "muscle"
            )
        mixture.paint(canvas.ellipsoid([side * 31, 77, -28], [12.2, 12.2, 12.2]), "vitreous")
        mixture.paint(canvas.ellipsoid([side * 31, 86.5, -28], [4.6, 2.2, 4.6]), "muscle")
        mixture.paint(canvas.ellipsoid([side * 32, 58, -62], [15, 19, 17]), "air")  # maxillary sinus
        mixture.paint(canvas.tube([[side * 5, 88, -66], [side * 6, 40, -58]], [4, 6]), "air")
        mixture.paint(canvas.ellipsoid([side * 12, 24, -40], [9, 11, 9]), "air")  # sphenoid sinus
        mixture.paint(canvas.ellipsoid([side * 10, 92, 0], [10, 4, 9]), "air")  # frontal sinus
        for k in range(5):
            mixture.paint(
                canvas.ellipsoid([side * (54 + 3 * (k % 2)), -26 - 4 * k, -42 - 4 * (k % 3)], [3.5, 3.5, 4.5]), "air"
            )  # mastoid
    mixture.paint(vault, "csf")
    return vault


def _brain_surface(canvas: Canvas, floor: Field) -> Field:
    """Signed distance to the hemispheres, without their folds."""
    whole = smooth_union([
        canvas.ellipsoid([0, -3, 14], [66.5, 84, 60.5], pad=14),
        canvas.ellipsoid([40, 6, -19], [26.5, 42, 22.5], pad=14),
        canvas.ellipsoid([-40, 6, -19], [26.5, 42, 22.5], pad=14),
    ], canvas, 14)  # fmt: skip
    total = np.maximum(_whole(canvas, whole), np.float32(1.0) - np.abs(canvas.x))
    # The tentorium keeps the hemispheres off the cerebellum.
    tent = np.interp(canvas.y, [-90, -44, -30, -16], [-7, -13, -24, -70]).astype(np.float32) - 0.10 * np.abs(canvas.x)
    return np.asarray(np.maximum(total, np.maximum(floor + 1.5, tent) - canvas.z), np.float32)


def _labyrinth(canvas: Canvas, rng: np.random.Generator, length: float, waves: int) -> Field:
    """Random field with one wavelength: its zero lines wander like sulci. Unit variance."""
    way = rng.normal(0, 1, (waves, 3))
    way *= 2 * np.pi / (length * rng.uniform(0.85, 1.2, (waves, 1)) * np.linalg.norm(way, axis=1, keepdims=True))
    phase = rng.uniform(0, 2 * np.pi, waves)
    axes = [canvas.grid.axis(i) for i in range(3)]
    total = np.zeros(canvas.grid.shape, np.float32)
    for k, p in zip(way, phase, strict=True):  # cos(a + b) by products of one-dimensional factors
        ex, ey, ez = (np.exp(1j * (axes[i] * k[i] + (p if i == 0 else 0))).astype(np.complex64) for i in range(3))
        plane = (ey[:, None] * ez[None, :]).astype(np.complex64)
        total += ex.real[:, None, None] * plane.real[None] - ex.imag[:, None, None] * plane.imag[None]
    return total * np.float32(np.sqrt(2 / waves))


def _cortex(canvas: Canvas, mixture: Mixture, surface: Field, rng: np.random.Generator, atrophy: float) -> Field:
    """Grey ribbon along surface and sulci, white matter within; returns the depth below the nearest fluid, mm."""
    field = _labyrinth(canvas, rng, 24.0, 14)
    depth = -surface
    reach = np.float32(19.0)
    beside = np.abs(field) * np.float32(24.0 / (2 * np.pi)) * np.float32(1.15)
    sulcus = np.sqrt(beside**2 + np.maximum(depth - reach, 0) ** 2)
    sylvian = np.sqrt(
        ((canvas.z - 3 + 0.45 * canvas.y) * np.float32(0.9)) ** 2
        + np.maximum(np.float32(37) - np.abs(canvas.x), 0) ** 2
    )
    sylvian = np.sqrt(sylvian**2 + np.maximum(np.abs(canvas.y) - 32, 0) ** 2)
    near = np.minimum(np.minimum(depth, sulcus), sylvian)
    wide = np.float32(0.3 + 0.6 * atrophy)
    full = (slice(None),) * 3
    mixture.paint(Shape(full, -(near - wide)), "grey matter", inside=surface)
    mixture.paint(Shape(full, -(near - wide - np.float32(3.1 - 0.3 * atrophy))), "white matter", inside=surface)
    return np.asarray(near, np.float32)


def _cerebellum(canvas: Canvas, mixture: Mixture) -> None:
    lobes = [canvas.ellipsoid([side * 25, -57, -40], [30, 31, 24]) for side in (1, -1)]
    body = smooth_union([*lobes, canvas.ellipsoid([0, -60, -38], [14, 27, 24])], canvas, 8)
    mixture.paint(body, "grey matter")
    x, y, z = canvas.coordinates(body.region)
    fan = np.sqrt((y + 44) ** 2 + (z + 40) ** 2 + (0.4 * x) ** 2)
    folia = np.float32(0.25) * canvas.soft + np.abs(
        (fan % np.float32(5.0)) - np.float32(2.5)
    )  # lines far thinner than a voxel
    mixture.paint(Shape(body.region, np.maximum(body.distance + 0.6, folia)), "csf")
    arbor = np.minimum(body.distance + 12 + 3.5 * np.sin(fan / 2.0), 99)
    mixture.paint(Shape(body.region, arbor), "white matter")
    stem = canvas.tube(curve([[0, -12, 2], [0, -20, -14], [0, -22, -34], [0, -32, -58], [0, -38, -120]], 20),
                       np.interp(np.linspace(0, 1, 20), [0, 0.2, 0.35, 0.6, 1], [13, 13, 15, 8.5, 6.5]))  # fmt: skip
    mixture.paint(Shape(stem.region, stem.distance - 2.0), "csf", inside=_below(canvas))
    mixture.paint(stem, "white matter")


def _below(canvas: Canvas) -> Field:
    return np.asarray(canvas.z + 24, np.float32)


def _inside(canvas: Canvas, mixture: Mixture, atrophy: float) -> None:
    """Corpus callosum, deep grey matter, ventricles."""
    bridge = curve([[0, 32, 0], [0, 36, 12], [0, 22, 25], [0, -8, 28], [0, -36, 22], [0, -40, 10]], 24)
    for x in np.linspace(-14, 14, 8):
        lift = np.array([x, 0, abs(x) * 0.25])
        mixture.paint(
            canvas.tube(bridge + lift, np.interp(np.linspace(0, 1, 24), [0, 0.2, 0.6, 1], [5, 4, 3.4, 5.5])),
            "white matter",
        )
    grow = 1 + 0.45 * atrophy
    for side in (1, -1):
        mixture.paint(canvas.ellipsoid([side * 13, -14, 8], [9.5, 15, 9.5]), "deep grey matter")  # thalamus
        caudate = curve([[side * 12, 26, 6], [side * 15, 14, 16], [side * 18, -10, 24], [side * 22, -30, 18]], 16)
        mixture.paint(canvas.tube(caudate, np.linspace(7.0, 2.2, 16)), "deep grey matter")
        putamen = canvas.ellipsoid([side * 26, 6, 4], [6, 18, 10.5])
        mixture.paint(putamen, "deep grey matter")
        horn = curve(
            [
                [side * 9, 33, 6],
                [side * 8, 16, 16],
                [side * 11, -12, 22],
                [side * 20, -34, 16],
                [side * 27, -38, 2],
                [side * 32, -16, -12],
            ],
            40,
        )
        width = np.interp(np.linspace(0, 1, 40), [0, 0.15, 0.45, 0.62, 0.75, 1], [2.2, 4.2, 4.2, 6.4, 4.0, 1.8]) * grow
        mixture.paint(canvas.tube(horn, width), "csf")
        tail = curve([[side * 21, -36, 13], [side * 23, -50, 10], [side * 22, -62, 8]], 10)
        mixture.paint(canvas.tube(tail, np.linspace(5.0, 1.4, 10) * grow), "csf")
        plexus = canvas.ellipsoid([side * 22, -36, 10], [2.6, 5, 4])
        mixture.paint(plexus, "vessel")
    third = canvas.ellipsoid([0, -8, 4], [1.6 * grow, 14, 11])
    mixture.paint(third, "csf")
    mixture.paint(canvas.tube([[0, -26, -4], [0, -34, -22]], 1.5), "csf")
    mixture.paint(canvas.ellipsoid([0, -40, -34], [6.5 * grow, 4.5, 9]), "csf")  # fourth ventricle
    mixture.paint(canvas.ellipsoid([0, 12, -22], [14, 9, 6]), "csf")  # suprasellar cistern
    mixture.paint(canvas.ellipsoid([0, 14, -34], [6, 5, 4]), "vessel")  # pituitary enhances


def _vessels(canvas: Canvas, mixture: Mixture, vault: Shape) -> None:
    """Dural sinuses and large arteries: dark or bright by sequence."""
    sagittal = curve([[0, 72, 34], [0, 40, 66], [0, -4, 76.5], [0, -50, 64], [0, -84, 28], [0, -90, 2]], 40)
    mixture.paint(canvas.tube(sagittal, np.linspace(2.0, 4.2, 40)), "vessel")
    for side in (1, -1):
        transverse = curve([[0, -91, 0], [side * 34, -80, -10], [side * 52, -52, -18], [side * 48, -36, -40]], 20)
        mixture.paint(canvas.tube(transverse, 3.6), "vessel")
        mixture.paint(canvas.tube([[side * 12, 14, -62], [side * 12, 16, -28]], 2.6), "vessel")
        mixture.paint(
            canvas.tube(curve([[side * 9, 12, -20], [side * 26, 14, -16], [side * 42, 8, -6]], 10), 1.6), "vessel"
        )
    mixture.paint(canvas.tube([[0, -6, -52], [0, -5, -18]], 1.9), "vessel")


def _tumor(canvas: Canvas, mixture: Mixture, tumor: Finding, surface: Field, near: Field, labels: np.ndarray) -> None:
    """Necrotic core, enhancing rim and oedema that follows white matter."""
    rng = stream(tumor.seed, "shape")
    center, radius = tumor_center(tumor), tumor.size / 2
    region = canvas.region(center - radius * 1.1 - 26, center + radius * 1.1 + 26)
    x, y, z = (c - np.float32(v) for c, v in zip(canvas.coordinates(region), center, strict=True))
    stretch = np.clip(rng.normal(1, 0.1, 3), 0.85, 1.0)
    far = np.sqrt((x / stretch[0]) ** 2 + (y / stretch[1]) ** 2 + (z / stretch[2]) ** 2)
    bumps = np.zeros(far.shape, np.float32)
    for scale, size in ((2.0, 0.05), (2.0, 0.05), (3.4, 0.035), (3.4, 0.035), (5.5, 0.02)):
        k = rng.normal(0, 1, 3)
        k *= scale / (radius * np.linalg.norm(k))
        bumps += np.float32(size * radius) * np.cos(
            x * np.float32(k[0]) + y * np.float32(k[1]) + z * np.float32(k[2]) + np.float32(rng.uniform(0, 6.28))
        )
    edge = surface[region] + 0.5
    core = np.maximum(far - np.float32(radius) + bumps, edge)
    rim = np.float32(max(3.2, 0.24 * radius)) * (
        1 + 0.35 * np.sin(np.arctan2(y, x) * 2 + np.float32(rng.uniform(0, 6)))
    )
    dead = np.maximum(core + rim, -(core + 50)) if tumor.density == "necrotic" else core + np.float32(radius * 0.72)
    spread = np.float32(rng.uniform(7, 16))
    fingers = far - np.float32(radius) - spread + 2.2 * bumps + np.clip(3.6 - near[region], 0, 4) * np.float32(2.6)
    swell = np.maximum(fingers, edge + 1.5)
    main = mixture.main()[region]
    swell = np.where(
        np.isin(main, [TISSUE["white matter"], TISSUE["grey matter"], TISSUE["deep grey matter"]]),
        swell,
        np.maximum(swell, np.float32(1)),
    )
    for distance, tissue, label in ((swell, "edema", 2), (core, "enhancing tumor", 4), (dead, "necrosis", 1)):
        mixture.paint(Shape(region, np.asarray(distance, np.float32)), tissue)
        labels[region][distance < 0] = label
