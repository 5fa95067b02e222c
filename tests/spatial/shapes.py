"""Analytic shapes on any grid: a voxel is set when its centre lies inside."""

import numpy as np

from attending.imaging import Volume

SPACING = (0.8, 1.3, 2.5)


def turned(degrees: float, axis: int = 2) -> np.ndarray:
    """Rotation by `degrees` about one RAS axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def affine_of(directions: np.ndarray, spacing=SPACING, shape=(96, 64, 40), centre=(12.0, -7.0, 30.0)) -> np.ndarray:
    """The affine of a grid whose middle lies at `centre`."""
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


RAS = np.eye(3)
GRIDS = {
    "RAS": affine_of(RAS),
    "LPS": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "permuted": affine_of(np.eye(3)[:, [1, 2, 0]]),
    "oblique": affine_of(turned(20) @ turned(12, 0)),
    "tilted gantry": affine_of(RAS + np.array([[0, 0, 0], [0, 0, 0.25], [0, 0, 0]])),
}


def mask_of(inside, affine: np.ndarray, shape=(96, 64, 40)) -> Volume:
    """`inside` gets RAS mm `[..., 3]` and says which points are in the shape."""
    where = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume(inside(where), affine)


def ellipsoid(centre, radii, directions=RAS):
    return lambda p: ((((p - np.array(centre)) @ directions) / radii) ** 2).sum(-1) <= 1


def box(low, high):
    return lambda p: ((p >= low) & (p < high)).all(-1)


def cylinder(centre, radius, length):
    """A cylinder along superior."""
    c = np.array(centre)
    return lambda p: (((p - c)[..., :2] ** 2).sum(-1) <= radius**2) & (np.abs((p - c)[..., 2]) <= length / 2)
