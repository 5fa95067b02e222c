"""What the phantom tests and the processes they start share."""

import hashlib
import json


def digest(case):
    """SHA-256 of every voxel and word of a case."""
    total = hashlib.sha256()
    for visit in case.visits:
        for name in sorted(visit.volumes):
            total.update(visit.volumes[name].array.tobytes())
        total.update(visit.labels.array.tobytes() + visit.instances.array.tobytes() + visit.labels.affine.tobytes())
    total.update(json.dumps(case.truth.to_dict(), sort_keys=True).encode())
    return total.hexdigest()
