"""Fetches a repository from the model hub at one commit, checking every file."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp

from attending.errors import InputError, NotAvailableError


def fetch(
    repository: str, revision: str | None, wanted: re.Pattern[str], folder: Path, *, extra: str, else_: str
) -> None:
    """Download the `wanted` files of a repository into `folder`, which appears whole or not at all.

    The revision is resolved to a commit once and all files come from that commit. Large files are checked against the
    SHA-256 that the hub records, small ones against their git hash. `SOURCE` in the folder records the commit. Nothing
    of what is downloaded is run.

    Args:
        repository: Such as `MONAI/vista3d`.
        revision: Commit, tag or branch; None for the newest.
        wanted: Full names of the files to take.
        folder: Where to; must not exist, or be empty.
        extra: The extra of `attending` that brings the hub's client.
        else_: What the user can do where the hub cannot be reached.

    Raises:
        InputError: `folder` is not empty.
        NotAvailableError: The client is missing, the hub cannot be reached, or a file is not what the hub says it is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("expected a folder that does not exist yet or is empty", path=folder)
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError as error:
        raise NotAvailableError(f"the model hub's client is missing: pip install 'attending[{extra}]'") from error
    try:
        found = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=20)
    except Exception as error:  # the hub client raises many types when offline
        raise NotAvailableError(
            f"the model hub cannot be reached for {repository} ({type(error).__name__}). {else_}"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file in found.siblings or []:
            if not wanted.fullmatch(file.rfilename):
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
