"""Fetches a pinned MONAI bundle from the model hub, checking every file."""

from __future__ import annotations

import re
from pathlib import Path

from attending.errors import InputError
from attending.experts.bundle import bundles_folder
from attending.hub import fetch

PINNED = {"vista3d": ("MONAI/vista3d", "0.5.4"), "brats_mri_segmentation": ("MONAI/brats_mri_segmentation", "0.5.2")}
"""Repository and release of each bundle, those that VILA-M3 was built on."""

_WANTED = re.compile(
    r"(configs/(inference|metadata)\.json|models/model\.(pt|safetensors)|(docs/)?[\w.\-]*licen[sc]e[\w.\-]*)", re.I
)


def pull_bundle(name: str, destination: Path | None = None, revision: str | None = None) -> Path:
    """Download the configs, weights and licence of a bundle; nothing of it is run.

    See `attending.hub.fetch`.

    Args:
        name: `vista3d` or `brats_mri_segmentation`.
        destination: By default the folder in which the experts look.
        revision: A commit or release other than the pinned one.

    Raises:
        InputError: An unknown name, or a destination that is not empty.
        NotAvailableError: The hub cannot be reached, or a file is not what it says.
    """
    if name not in PINNED:
        raise InputError(f"expected one of {', '.join(PINNED)}", field="name", value=name)
    repository, pinned = PINNED[name]
    folder = destination or bundles_folder() / name
    otherwise = f"Download the MONAI bundle {name} on a machine that can and copy it to {folder}"
    fetch(repository, revision or pinned, _WANTED, folder, extra="experts", else_=otherwise)
    return folder
