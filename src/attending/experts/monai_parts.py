"""What experts use of MONAI, imported here alone.

Two threads that import different parts of MONAI at once find it half made, and it stays so for the whole process.
Whoever comes second to this module waits.
"""

from monai import transforms
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.networks import nets

__all__ = ["compute_importance_map", "dense_patch_slices", "nets", "transforms"]
