"""The model card of an imported checkpoint: where it came from, what it is, under which licence."""

import math
import re
import shutil
from pathlib import Path

from attending import __version__
from attending.errors import printable
from attending.model.published import Published

_MAX_TEXT = 1_000_000  # bytes of a README or licence
NOTICE = "NVIDIA's published VILA-M3 weights are licensed for research, not for commercial use."


def licence_files(folder: Path) -> list[Path]:
    """Licence texts lying in a checkpoint folder."""
    return sorted(
        path
        for path in folder.iterdir()
        if re.match(r"(.*-)?(licen[sc]e|notice)", path.name, re.IGNORECASE)
        and path.is_file()
        and path.stat().st_size <= _MAX_TEXT
    )


def licence_name(folder: Path) -> str:
    """What the folder's README declares as its licence, else the names of its licence files, else `not stated`."""
    readme = folder / "README.md"
    if readme.is_file() and readme.stat().st_size <= _MAX_TEXT:
        front = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.S)
        if front:
            fields = dict(re.findall(r"^(license(?:_name)?):\s*(\S.*)$", front[1], re.M))
            if fields:
                return printable(fields.get("license_name", fields.get("license")))
    names = [path.name for path in licence_files(folder)]
    return printable(", ".join(names)) if names else "not stated"


def copy_licences(source: Path, folder: Path) -> str:
    """Copy the licence texts beside the weights and return the licence's name."""
    for path in licence_files(source):
        shutil.copyfile(path, folder / path.name)
    return licence_name(source)


def write_card(folder: Path, published: Published, digests: dict[str, tuple[int, str]], licence: str) -> None:
    """Write `README.md`: model, source, hashes and licence. `digests` has each source file's size and SHA-256."""
    config = published.config
    parameters = sum(math.prod(tensor.shape) for tensor in published.tensors.values())
    rows = "\n".join(f"| `{name}` | {size} | `{digest}` |" for name, (size, digest) in sorted(digests.items()))
    (folder / "README.md").write_text(
        f"""---
library_name: transformers
pipeline_tag: image-text-to-text
license: other
license_name: {licence}
---

# {printable(published.folder.resolve().name)}

A VILA-M3 vision-language model, {parameters:,} parameters, converted by `attending model import`
(attending {__version__}). The weights are the source's, bit for bit; {len(published.unused)} tensors that no output
depends on (the vision tower after the chosen layer) were left out.

- Conversation mode: `{config.conversation_mode}`
- Context: {published.context} tokens; a picture takes {config.image_seq_length}
- Licence: {licence}. {NOTICE}
- For research use only; not a medical device.

```python
import attending.model
from transformers import AutoModelForImageTextToText, AutoProcessor
```

| source file | bytes | SHA-256 |
|---|---|---|
{rows}
""",
        encoding="utf-8",
    )
