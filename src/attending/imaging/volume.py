"""Volume: voxels with the affine that places them in the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Volume:
    """A grid of voxels in patient space.

    Attributes:
        array: Voxel values, `[X, Y, Z]` or `[C, X, Y, Z]` (channels: time points, echoes, sequences). CT is in HU.
            Voxel order is that of the file, whatever its direction; `affine` says where each axis points.
        affine: `[4, 4]` float64, voxel indices `(i, j, k, 1)` to RAS millimetres (+x right, +y anterior, +z superior).
        modality: DICOM modality (`CT`, `MR`, ...) or None when neither the file nor the user said.
        series: `Series.id` that the voxels came from, or None.
    """

    array: npt.NDArray[np.generic]
    affine: npt.NDArray[np.float64]
    modality: str | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"Volume.array has shape {self.array.shape}; expected [X, Y, Z] or [C, X, Y, Z]")
        if not is_affine(self.affine):
            raise ValueError("Volume.affine must be [4, 4], finite, and map voxels to three different directions in mm")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y and Z, without channels."""
        x, y, z = self.array.shape[-3:]
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each voxel axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Three letters: the patient direction in which each voxel axis grows, such as `LPS` (nearest axes)."""
        codes = (("L", "R"), ("P", "A"), ("I", "S"))
        letters = ["", "", ""]
        for world, (voxel, sign) in enumerate(zip(*nearest_axes(self.affine), strict=True)):
            letters[voxel] = codes[world][int(sign > 0)]
        return "".join(letters)

    def canonical(self) -> Volume:
        """The same voxels with axes flipped and permuted to the nearest RAS order; a view, nothing is resampled."""
        axes, signs = nearest_axes(self.affine)
        offset = self.array.ndim - 3
        array = self.array.transpose(*range(offset), *(offset + a for a in axes))
        flip = np.eye(4)[:, [*axes, 3]]
        for axis, sign in enumerate(signs):
            if sign < 0:
                array = np.flip(array, offset + axis)
                source = axes[axis]
                flip[source, axis] = -1
                flip[source, 3] = self.shape[source] - 1
        return replace(self, array=array, affine=self.affine @ flip)

    def to_world(self, voxels: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Voxel indices `[..., 3]` to RAS mm `[..., 3]`."""
        return np.asarray(np.asarray(voxels, float) @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_voxels(self, world: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """RAS mm `[..., 3]` to fractional voxel indices `[..., 3]`."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(np.asarray(world, float) @ inverse[:3, :3].T + inverse[:3, 3])


def is_affine(affine: npt.NDArray[np.float64]) -> bool:
    """Whether a matrix places voxels: `[4, 4]`, finite, sizes from a nanometre to ten kilometres, axes apart."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.abs(affine).max() > 1e7:
        return False
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((sizes >= 1e-6).all() and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3)


def nearest_axes(affine: npt.NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """For patient axes R, A, S: the voxel axis that lies closest to each, and its sign (+1 or -1).

    Axes are assigned one to one, as nibabel does and with it MONAI, so that a canonical volume is the same everywhere.
    """
    directions = nib.orientations.io_orientation(affine)  # for each voxel axis: patient axis, sign
    found = {int(world): (voxel, int(sign)) for voxel, (world, sign) in enumerate(directions)}
    (x, x_sign), (y, y_sign), (z, z_sign) = found[0], found[1], found[2]
    return (x, y, z), (x_sign, y_sign, z_sign)
