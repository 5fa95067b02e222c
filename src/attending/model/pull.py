"""Fetches a published checkpoint from the model hub, at one commit, checking every file."""

import os
import re
from pathlib import Path

from attending.errors import InputError
from attending.hub import fetch

PUBLISHED = {f"llama3-vila-m3-{size}": f"MONAI/Llama3-VILA-M3-{size.upper()}" for size in ("3b", "8b", "13b")}
_WANTED = re.compile(
    r"(config\.json|README\.md|[A-Z0-9\-]*LICENSE[\w.\-]*|(llm|vision_tower|mm_projector)/[\w.\-]+\.(json|safetensors|model))"
)


def pull_checkpoint(name: str, destination: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Download a published checkpoint.

    See `attending.hub.fetch`; pass the commit that it records in `SOURCE` as `revision` to get the same bytes again.

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
    otherwise = "Download it on a machine that can, then run `attending model import FOLDER DST`"
    fetch(repository, revision, _WANTED, destination, extra="model", else_=otherwise)
    return destination
