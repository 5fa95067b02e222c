"""Fetches a pinned MONAI bundle from the model hub, checking every file."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp

from attending.errors import InputError, NotAvailableError
from attending.experts.bundle import bundles_folder

PINNED = {"vista3d": ("MONAI/vista3d", "0.5.4"), "brats_mri_segmentation": ("MONAI/brats_mri_segmentation", "0.5.2")}
"""Repository and release of each bundle, those that VILA-M3 was built on."""

_WANTED = re.compile(
    r"(configs/(inference|metadata)\.json|models/model\.(pt|safetensors)|(docs/)?[\w.\-]*licen[sc]e[\w.\-]*)", re.I
)


def pull_bundle(name: str, destination: Path | None = None, revision: str | None = None) -> Path:
    """Download the configs, weights and licence of a bundle; nothing of it is run.

    The release is resolved to a commit once and all files come from that commit. Weights are checked against the
    SHA-256 that the hub records, small files against their git hash. `SOURCE` in the folder records the commit.

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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("expected a folder that does not exist yet or is empty", path=folder)
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError as error:
        raise NotAvailableError("pulling bundles needs: pip install 'attending[experts]'") from error
    try:
        found = HfApi().model_info(repository, revision=revision or pinned, files_metadata=True, timeout=20)
    except Exception as error:  # the hub client raises many types when offline
        raise NotAvailableError(
            f"the model hub cannot be reached for {repository} {revision or pinned} ({type(error).__name__}). Download "
            f"the MONAI bundle {name} on a machine that can and copy it to {folder}"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file in found.siblings or []:
            if not _WANTED.fullmatch(file.rfilename):
                continue
            try:
                path = hf_hub_download(repository, file.rfilename, revision=found.sha, local_dir=partial)
            except Exception as error:  # as above
                raise NotAvailableError(f"{file.rfilename} could not be downloaded: {type(error).__name__}") from error
            _check(Path(path), file.lfs.sha256 if file.lfs else None, file.blob_id)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        (partial / "SOURCE").write_text(f"{repository} {found.sha}\n")
        partial.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _check(path: Path, sha256: str | None, blob: str | None) -> None:
    """Compare a file with the SHA-256 the hub records for it, or with its git hash where it records none."""
    if sha256 is not None:
        with path.open("rb") as file:
            digest, wanted = hashlib.file_digest(file, "sha256").hexdigest(), sha256
    else:
        content = path.read_bytes()
        # Git's own name for a file's content; nothing else is recorded for small files.
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        wanted = blob or ""
    if digest != wanted:
        raise NotAvailableError(f"{path.name} arrived damaged: expected {wanted}, found {digest}; try again")
