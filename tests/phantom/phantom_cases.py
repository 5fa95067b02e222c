"""What the phantom tests and the processes they start share."""

import hashlib
import json

SHAPES = {"ct": (72, 72, 64), "mri": (64, 64, 64), "cxr": (160, 1, 160)}
WISHES = {
    "ct": ["liver lesion:size=40,place=segment V,density=hypodense", "lung nodule:size=28,density=solid"],
    "mri": ["brain tumor:size=45,density=necrotic,side=right"],
    "cxr": ["effusion:size=90,side=left", "cardiomegaly"],
}


def digest(case):
    """SHA-256 of every voxel and word of a case."""
    total = hashlib.sha256()
    for visit in case.visits:
        for name in sorted(visit.volumes):
            total.update(visit.volumes[name].array.tobytes())
        total.update(visit.labels.array.tobytes() + visit.instances.array.tobytes() + visit.labels.affine.tobytes())
    total.update(json.dumps(case.truth.to_dict(), sort_keys=True).encode())
    return total.hexdigest()
