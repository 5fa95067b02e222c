"""`attending demo`: the main job on studies that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attending.cli.console import progress, talk
from attending.cli.show import show

_PHANTOMS = {"ct": "a synthetic CT of thorax and abdomen", "mri": "a synthetic brain MRI, four sequences"}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes; made if it is not there.")] = Path(
        "attending-out/demo"
    ),
) -> None:
    """Show two synthetic studies and three real images: what they are, and a contact sheet of each series."""
    import pydicom

    from attending.phantom.dataset import Plan, build

    studies: list[tuple[Path, str]] = []
    with progress("making synthetic studies", len(_PHANTOMS)) as advance:
        for done, (kind, words) in enumerate(_PHANTOMS.items(), 1):
            # Seed 0 of the test split: no later training sees it.
            plan = Plan(kind, 1, 0, "test", ("A",), 1, None, ("dicom",))
            build(plan, out / f"phantom-{kind}", 1, lambda *_: None)
            studies.append((next((out / f"phantom-{kind}").glob("*/visit1/dicom")), words))
            advance(done)
    real = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("CT_small.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm"):
        studies.append((real / name, "a real image that comes with pydicom"))
    for number, (path, words) in enumerate(studies, 1):
        talk.print(f"\n[bold]attending show {path}[/]  ({words})", soft_wrap=True)
        show(path, out=out / f"sheets-{number}")
    talk.print(f"\nThe contact sheets are in [bold]{out}[/]. Your own study: attending show PATH", soft_wrap=True)
    talk.print("For research use only; not a medical device.")
