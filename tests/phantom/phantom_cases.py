"""What the phantom tests and the processes they start share."""

import hashlib
import json
from functools import lru_cache

import numpy as np

from attending.phantom import generate, label_names

SHAPES = {"ct": (72, 72, 64), "mri": (64, 64, 64), "cxr": (160, 1, 160)}
LEAST = {"ct": (48, 48, 48), "mri": (48, 48, 48), "cxr": (128, 1, 128)}
WISHES = {
    "ct": ["liver lesion:size=40,place=segment V,density=hypodense", "lung nodule:size=28,density=solid"],
    "mri": ["brain tumor:size=45,density=necrotic,side=right"],
    "cxr": ["effusion:size=90,side=left", "cardiomegaly"],
}
PHASE_SEEDS = {"none": 0, "portal": 1, "arterial": 2}
"""Seeds whose style-A patient has this contrast phase."""


@lru_cache(maxsize=160)
def case(kind, seed, *wishes, style="A", visits=1, shape=None, drawn=False):
    """A small case, made once in a session; without wishes a healthy one, unless findings are to be `drawn`."""
    return generate(kind, seed, style, visits=visits, findings=None if drawn else wishes, shape=shape or SHAPES[kind])


def digest(made):
    """SHA-256 of every voxel and word of a case."""
    total = hashlib.sha256()
    for visit in made.visits:
        for name in sorted(visit.volumes):
            total.update(visit.volumes[name].array.tobytes())
        total.update(visit.labels.array.tobytes() + visit.instances.array.tobytes() + visit.labels.affine.tobytes())
    total.update(json.dumps(made.truth.to_dict(), sort_keys=True).encode())
    return total.hexdigest()


IDS = {name: label for label, name in label_names("ct").items()}


def organ(made, name):
    """Voxels of an organ on CT."""
    return made.labels.array == IDS[name]


def middle(made, mask):
    """Centre of a mask, RAS mm."""
    return made.labels.to_world(np.argwhere(mask).mean(0))


def volume_ml(made, mask):
    """Volume of a mask."""
    return float(mask.sum() * abs(np.linalg.det(made.labels.affine[:3, :3])) / 1000)


def grown(mask, by):
    """A mask and all within `by` voxels of it along each axis."""
    wide = mask.copy()
    for axis in range(mask.ndim):
        part = wide.copy()
        for step in range(1, by + 1):
            ahead = [slice(None)] * mask.ndim
            behind = list(ahead)
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            part[tuple(ahead)] |= wide[tuple(behind)]
            part[tuple(behind)] |= wide[tuple(ahead)]
        wide = part
    return wide
