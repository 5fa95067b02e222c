"""Size, components, centre and intensity of a region in physical units."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.errors import InputError
from attending.imaging import Volume
from attending.spatial.diameter import Diameter, axial_diameter
from attending.spatial.region import centroid, region
from attending.spatial.resample import resample

_COMPONENTS_TOLD = 20


@dataclass(frozen=True)
class Intensity:
    """Statistics of an image within a region: HU for CT, arbitrary units for MR.

    Attributes:
        mean: Mean.
        sd: Standard deviation of the voxels (divided by their number).
        minimum: Least.
        p5: 5th percentile.
        median: Median.
        p95: 95th percentile.
        maximum: Greatest.
    """

    mean: float
    sd: float
    minimum: float
    p5: float
    median: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class Measurement:
    """What is known of one region; an empty one has volume 0, no components and None for the rest.

    Attributes:
        volume_ml: Volume.
        components_ml: Volume of each connected component, largest first.
        centroid_mm: Centre of mass, RAS mm.
        diameter: Of the largest component.
        intensity: Of the image within the region, when one was given.
    """

    volume_ml: float
    components_ml: tuple[float, ...] = ()
    centroid_mm: tuple[float, float, float] | None = None
    diameter: Diameter | None = None
    intensity: Intensity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values with their units in the names, to 3 decimals; what is not known is left out.

        Of many components the volumes of the largest 20 are told.
        """
        found: dict[str, Any] = {
            "volume_ml": self.volume_ml,
            "components": len(self.components_ml),
            "components_ml": self.components_ml[:_COMPONENTS_TOLD],
        }
        if self.centroid_mm is not None:
            found["centroid_ras_mm"] = self.centroid_mm
        if self.diameter is not None:
            found |= self.diameter.to_dict()
        if self.intensity is not None:
            found["intensity"] = asdict(self.intensity)
        return {name: _rounded(value) for name, value in found.items()}


def measure(mask: Volume, label: int | None = None, image: Volume | None = None) -> Measurement:
    """All measurements of one label of a mask, or of all that is not 0.

    Args:
        mask: Label ids or booleans `[X, Y, Z]`, any spacing and orientation.
        label: Which label id; None for all that is not 0.
        image: One-channel image for `intensity`; another grid is sampled at the mask's voxels.

    Raises:
        InputError: The mask does not hold label ids.
    """
    found = region(mask, label)
    if not found.array.size:
        return Measurement(0.0)
    parts, count = ndimage.label(found.array, np.ones((3, 3, 3), int))
    sizes = np.sum([np.bincount(slab.ravel(), minlength=count + 1) for slab in parts], axis=0)[1:]
    largest = found if count == 1 else Volume(parts == sizes.argmax() + 1, found.affine)
    centre = centroid(found)
    return Measurement(
        volume_ml=volume_ml(found),
        components_ml=tuple(float(n * _voxel_ml(found)) for n in sorted(sizes.tolist(), reverse=True)),
        centroid_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        diameter=axial_diameter(largest),
        intensity=None if image is None else intensity(found, image),
    )


def volume_ml(mask: Volume, label: int | None = None) -> float:
    """Volume in millilitres: voxels times the volume of one, which is the affine's determinant."""
    array = mask.array if label is None else mask.array == label
    return float(np.count_nonzero(array) * _voxel_ml(mask))


def component_volumes(mask: Volume, label: int | None = None) -> tuple[float, ...]:
    """Volume in mL of each connected component, largest first; voxels that touch at a corner are connected."""
    return measure(mask, label).components_ml


def intensity(mask: Volume, image: Volume, label: int | None = None) -> Intensity | None:
    """Statistics of `image` within a region; None when the mask is empty or no voxel of it lies inside the image.

    Raises:
        InputError: The image has channels.
    """
    if image.array.ndim != 3:
        raise InputError("choose one channel of the image first", field="image shape", value=image.array.shape)
    found = region(mask, label)
    if not found.array.size:
        return None
    values = _values(found, image)
    if not len(values):
        return None
    p5, median, p95 = np.percentile(values, (5, 50, 95))
    return Intensity(
        float(values.mean()),
        float(values.std()),
        float(values.min()),
        float(p5),
        float(median),
        float(p95),
        float(values.max()),
    )


def _values(found: Volume, image: Volume) -> npt.NDArray[np.float64]:
    """The image at the region's voxels that lie inside it, float64."""
    offset = image.to_voxels(found.affine[:3, 3])
    start = np.rint(offset).astype(int)
    steps = np.linalg.inv(image.affine[:3, :3]) @ found.affine[:3, :3]
    inside = (start >= 0).all() and (start + found.shape <= image.shape).all()
    if inside and np.allclose(offset, start, atol=1e-3) and np.allclose(steps, np.eye(3), atol=1e-6):
        part = image.array[tuple(slice(a, a + n) for a, n in zip(start, found.shape, strict=True))]
        return np.asarray(part[found.array], np.float64)
    sampled = resample(image, found, nearest=True, outside=np.nan)
    values = np.asarray(sampled.array[found.array], np.float64)
    return values[np.isfinite(values)]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value


def _voxel_ml(volume: Volume) -> float:
    return float(abs(np.linalg.det(volume.affine[:3, :3])) / 1000)
