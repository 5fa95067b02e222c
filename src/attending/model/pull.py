"""Fetches a published checkpoint from the model hub, at one commit, checking every file."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp

from attending.errors import InputError, NotAvailableError

PUBLISHED = {f"llama3-vila-m3-{size}": f"MONAI/Llama3-VILA-M3-{size.upper()}" for size in ("3b", "8b", "13b")}
_WANTED = re.compile(
    r"(config\.json|README\.md|[A-Z0-9\-]*LICENSE[\w.\-]*|(llm|vision_tower|mm_projector)/[\w.\-]+\.(json|safetensors|model))"
)


def pull_checkpoint(name: str, destination: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Download a published checkpoint.

    The commit is resolved once, all files come from that commit, large files are checked against the SHA-256 that
    the hub records and small ones against their git hash. `SOURCE` in the folder records the commit; pass it as
    `revision` to get the same bytes again.

    Raises:
        InputError: For an unknown name, a revision that is not a commit hash, or a destination that is not empty.
        NotAvailableError: When the hub cannot be reached or a file is not what the hub says it is.
    """
    repository = PUBLISHED.get(name.lower().removeprefix("monai/"))
    if repository is None:
        raise InputError(f"expected one of {', '.join(PUBLISHED)}", field="name", value=name)
    if revision is not None and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError("expected a commit hash of 40 hexadecimal digits", field="revision", value=revision)
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError("expected a folder that does not exist yet or is empty", path=destination)
    from huggingface_hub import HfApi, hf_hub_download

    try:
        found = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=20)
    except Exception as error:  # the hub client raises many types when offline
        raise NotAvailableError(
            f"the model hub cannot be reached for {repository} ({type(error).__name__}). Download it on a machine that "
            "can, then run `attending model import FOLDER DST`"
        ) from error
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        for file in found.siblings or []:
            if _WANTED.fullmatch(file.rfilename):
                try:
                    path = hf_hub_download(repository, file.rfilename, revision=found.sha, local_dir=partial)
                except Exception as error:  # as above
                    raise NotAvailableError(
                        f"{file.rfilename} could not be downloaded: {type(error).__name__}"
                    ) from error
                _check(Path(path), file.lfs.sha256 if file.lfs else None, file.blob_id)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        (partial / "SOURCE").write_text(f"{repository} {found.sha}\n")
        partial.chmod(0o755)
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return destination


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
