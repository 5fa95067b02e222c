"""Canvas: draws implicit shapes into a volume with soft edges, in a smoothly deformed patient space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Region = tuple[slice, slice, slice]
PointsLike = npt.ArrayLike | Sequence[object]


class Grid(NamedTuple):
    """A regular grid in RAS mm: voxels along X, Y, Z, their spacing and the centre of voxel (0, 0, 0)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """`[4, 4]` voxel indices to RAS mm."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def axis(self, index: int) -> Field:
        """Voxel centres along one axis, mm."""
        steps = np.arange(self.shape[index], dtype=np.float32)
        return np.float32(self.origin[index]) + steps * np.float32(self.spacing[index])


class Shape(NamedTuple):
    """Signed distance in mm (negative inside) over a box of the canvas."""

    region: Region
    distance: Field


@dataclass(frozen=True)
class Warp:
    """World mm to canonical anatomy mm: scale per axis, then a sum of separable waves.

    Separable waves cost one multiplication a voxel, and are exact at any point, so that curves given by points and
    shapes given by formulas are moved alike.

    Attributes:
        scale: `[3]` patient size over canonical size along R, A, S.
        amplitude: `[K, 3]` displacement of each wave, mm.
        frequency: `[K, 3]` radians per mm along each axis.
        phase: `[K, 3]` radians.
    """

    scale: Points
    amplitude: Points
    frequency: Points
    phase: Points

    @classmethod
    def draw(cls, rng: np.random.Generator, scale: npt.ArrayLike, strength: float, waves: int = 4) -> Warp:
        """A random warp that moves no point further than `strength` mm along an axis; wavelengths of 150 mm or more."""
        length = rng.uniform(150.0, 420.0, (waves, 3))
        weight = rng.uniform(-1.0, 1.0, (waves, 3))
        weight *= strength / np.maximum(np.abs(weight).sum(0), 1e-6)
        return cls(np.asarray(scale, float), weight, 2 * np.pi / length, rng.uniform(0, 2 * np.pi, (waves, 3)))

    @property
    def reach(self) -> float:
        """The furthest any point moves along an axis, mm."""
        return float(np.abs(self.amplitude).sum(0).max())

    def to_world(self, points: npt.ArrayLike) -> Points:
        """Canonical points `[..., 3]` to world mm."""
        canonical = np.asarray(points, float)
        moved = canonical
        for _ in range(4):  # the waves are slow, so the fixed point is reached to micrometres
            waves = np.sin(moved[..., None, :] * self.frequency + self.phase).prod(-1)
            moved = canonical + waves @ self.amplitude
        return moved * self.scale

    def fields(self, grid: Grid) -> list[Field]:
        """Canonical coordinates of every voxel: three `[X, Y, Z]` float32 arrays."""
        axes = [grid.axis(i) / np.float32(self.scale[i]) for i in range(3)]
        fields = [
            np.broadcast_to(axis.reshape([-1 if i == j else 1 for j in range(3)]), grid.shape).copy()
            for i, axis in enumerate(axes)
        ]
        for amplitude, frequency, phase in zip(self.amplitude, self.frequency, self.phase, strict=True):
            sines = [np.sin(axes[i] * frequency[i] + phase[i]).astype(np.float32) for i in range(3)]
            wave = sines[0][:, None, None] * (sines[1][:, None] * sines[2][None, :])
            for field, size in zip(fields, amplitude, strict=True):
                field -= np.float32(size) * wave
        return fields


class Canvas:
    """HU and label arrays with the coordinates to draw in.

    Args:
        grid: The voxels.
        warp: World to canonical anatomy.
        background: Value of empty voxels (HU).

    Attributes:
        value: `[X, Y, Z]` float32.
        label: `[X, Y, Z]` uint8.
        x: Canonical right coordinate of every voxel, mm; likewise `y` (anterior) and `z` (superior).
        soft: Width of a soft edge, mm.
    """

    def __init__(self, grid: Grid, warp: Warp, background: float = -1000.0) -> None:
        self.grid, self.warp = grid, warp
        self.value = np.full(grid.shape, background, np.float32)
        self.label = np.zeros(grid.shape, np.uint8)
        self.x, self.y, self.z = warp.fields(grid)
        self.soft = float(np.mean(np.asarray(grid.spacing) / warp.scale))

    def region(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Region:
        """The voxels that a canonical box can touch once deformed."""
        reach = self.warp.reach + self.soft
        scale, spacing, origin = self.warp.scale, np.asarray(self.grid.spacing), np.asarray(self.grid.origin)
        first = np.floor(((np.asarray(low, float) - reach) * scale - origin) / spacing).astype(int)
        last = np.ceil(((np.asarray(high, float) + reach) * scale - origin) / spacing).astype(int) + 1
        first, last = np.clip(first, 0, self.grid.shape), np.clip(last, 0, self.grid.shape)
        a, b, c = (slice(int(i), int(j)) for i, j in zip(first, last, strict=True))
        return a, b, c

    def coordinates(self, region: Region) -> tuple[Field, Field, Field]:
        """Canonical x, y, z of the voxels of a region."""
        return self.x[region], self.y[region], self.z[region]

    def ellipsoid(
        self, center: npt.ArrayLike, radii: npt.ArrayLike, tilt: npt.NDArray[Any] | None = None, pad: float = 0.0
    ) -> Shape:
        """An ellipsoid; `tilt` is a `[3, 3]` rotation whose columns are its axes, `pad` mm of distance around it."""
        middle, radius = np.asarray(center, float), np.asarray(radii, float)
        half = radius if tilt is None else np.sqrt(((tilt * radius) ** 2).sum(1))
        region = self.region(middle - half - pad, middle + half + pad)
        local = [c - np.float32(m) for c, m in zip(self.coordinates(region), middle, strict=True)]
        if tilt is not None:
            turn = tilt.astype(np.float32)
            local = [local[0] * turn[0, i] + local[1] * turn[1, i] + local[2] * turn[2, i] for i in range(3)]
        # First-order distance: k0 (k0 - 1) / k1, with k0 = |p/r| and k1 = |p/r^2|.
        scaled = [c * np.float32(1 / r) for c, r in zip(local, radius, strict=True)]
        k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
        again = [c * np.float32(1 / r) for c, r in zip(scaled, radius, strict=True)]
        k1 = np.sqrt(again[0] ** 2 + again[1] ** 2 + again[2] ** 2)
        return Shape(region, k0 * (k0 - 1) / np.maximum(k1, np.float32(0.5 / radius.max())))

    def tube(self, points: PointsLike, radii: npt.ArrayLike, flat: float = 1.0, pad: float = 0.0) -> Shape:
        """A tube along a polyline `[N, 3]` with a radius at each point; `flat` < 1 stretches its section along z."""
        path: Points = np.asarray(points, float)
        radius = np.broadcast_to(np.asarray(radii, float), path.shape[:1])
        reach = (radius.max() + pad) / np.array([1, 1, flat])
        region = self.region(path.min(0) - reach, path.max(0) + reach)
        distance = np.full([s.stop - s.start for s in region], 1e3, np.float32)
        if distance.size:
            for a, b, ra, rb in zip(path[:-1], path[1:], radius[:-1], radius[1:], strict=True):
                self._capsule(distance, region, (a, b), (ra, rb), (flat, pad))
        return Shape(region, distance)

    def _capsule(
        self,
        distance: Field,
        region: Region,
        ends: tuple[Points, Points],
        radii: tuple[float, float],
        look: tuple[float, float],
    ) -> None:
        """Lower `distance` to that of one straight piece of a tube."""
        (a, b), (flat, extra) = ends, look
        pad = (max(radii) + 2 * self.soft + extra) / np.array([1, 1, flat])
        box = self.region(np.minimum(a, b) - pad, np.maximum(a, b) + pad)
        box = tuple(
            slice(max(p.start, q.start), max(p.start, min(p.stop, q.stop))) for p, q in zip(box, region, strict=True)
        )  # type: ignore[assignment]
        x, y, z = (c - np.float32(v) for c, v in zip(self.coordinates(box), a, strict=True))
        if x.size == 0:
            return
        dx, dy, dz = b - a
        dz *= flat
        z = z * np.float32(flat)
        t = (x * np.float32(dx) + y * np.float32(dy) + z * np.float32(dz)) / np.float32(
            max(dx * dx + dy * dy + dz * dz, 1e-6)
        )
        np.clip(t, 0, 1, out=t)
        x -= t * np.float32(dx)
        y -= t * np.float32(dy)
        z -= t * np.float32(dz)
        near = np.sqrt(x * x + y * y + z * z) - (np.float32(radii[0]) + t * np.float32(radii[1] - radii[0]))
        part = distance[tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(box, region, strict=True))]
        np.minimum(part, near, out=part)

    def coverage(self, distance: Field, thin: float | None = None) -> Field:
        """Share of each voxel inside a shape; `thin` is the radius (mm) of a shape that may be finer than a voxel."""
        share = np.clip(0.5 - distance / np.float32(self.soft), 0, 1)
        if thin is not None and 2 * thin < self.soft:
            share *= np.float32(2 * thin / self.soft)
        return np.asarray(share, np.float32)

    def sheet(self, distance: Field, width: float) -> Field:
        """Share of each voxel taken by a sheet `width` mm thick at distance 0, however thin."""
        blur = np.float32(max(self.soft, width))
        return np.maximum(1 - np.abs(distance) / blur, 0) * np.float32(min(1.0, width / self.soft))

    def paint(
        self,
        shape: Shape,
        value: float | Field,
        label: int | None = None,
        inside: Field | None = None,
        thin: float | None = None,
    ) -> None:
        """Blend `value` into a shape and label the voxels it holds the greater part of.

        Args:
            shape: What to fill.
            value: A number, or an array over the shape's region.
            label: Label id; None leaves labels as they are.
            inside: Signed distance over the whole canvas that the shape is cut by.
            thin: Radius in mm of a shape that may be thinner than a voxel, so that it fades instead of growing.
        """
        distance = shape.distance if inside is None else np.maximum(shape.distance, inside[shape.region])
        share = self.coverage(distance, thin)
        part = self.value[shape.region]
        part += share * (value - part)
        if label is not None:
            self.label[shape.region][distance < 0] = label


def smooth_union(shapes: list[Shape], canvas: Canvas, blend: float) -> Shape:
    """Shapes melted into one: a polynomial smooth minimum over `blend` mm, by which their boxes should be padded."""
    region: Region = tuple(  # type: ignore[assignment]
        slice(min(s.region[i].start for s in shapes), max(s.region[i].stop for s in shapes)) for i in range(3)
    )
    total = np.full([s.stop - s.start for s in region], 1e3, np.float32)
    for shape in shapes:
        box = tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(shape.region, region, strict=True))
        part = total[box]
        mix = np.maximum(np.float32(blend) - np.abs(part - shape.distance), 0)
        part[...] = np.minimum(part, shape.distance) - mix * mix / np.float32(4 * blend)
    return Shape(region, total)


def curve(points: PointsLike, count: int) -> Points:
    """A smooth curve `[count, 3]` through control points, evenly in their chord length."""
    from scipy.interpolate import CubicSpline

    control: Points = np.asarray(points, float)
    if len(control) == 2:
        return np.linspace(control[0], control[1], count)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))]
    return np.asarray(CubicSpline(length, control)(np.linspace(0, length[-1], count)))


def rough(rng: np.random.Generator, grid: Grid, size: float) -> Field:
    """Smooth random field of unit variance `[X, Y, Z]` with features of about `size` mm."""
    coarse = [max(4, int(np.ceil(n * s / size)) + 2) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    noise = rng.standard_normal(coarse, dtype=np.float32)
    for axis, n in enumerate(grid.shape):
        place = np.linspace(0, noise.shape[axis] - 1, n)
        noise = interpolate(noise, axis, place)
    return np.ascontiguousarray(noise / np.float32(noise.std() + 1e-6))


def interpolate(array: Field, axis: int, place: npt.NDArray[np.floating[Any]]) -> Field:
    """Read an array at fractional indices along one axis, smoothly; zero beyond its ends.

    By indexing and not by a matrix product: the same bytes on any number of threads.
    """
    count = array.shape[axis]
    first = np.floor(place).astype(int)
    share = (place - first).astype(np.float32)
    share *= share * (3 - 2 * share)
    shape = [1] * array.ndim
    shape[axis] = -1
    low = np.where((first >= 0) & (first < count), 1 - share, 0).astype(np.float32).reshape(shape)
    high = np.where((first >= -1) & (first < count - 1), share, 0).astype(np.float32).reshape(shape)
    return np.asarray(
        np.take(array, np.clip(first, 0, count - 1), axis) * low
        + np.take(array, np.clip(first + 1, 0, count - 1), axis) * high
    )
