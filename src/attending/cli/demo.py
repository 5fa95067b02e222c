"""`attending demo`: the main job on images that came with the packages, so that nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attending.cli.console import talk
from attending.cli.show import show


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes; made if it is not there.")] = Path(
        "attending-out/demo"
    ),
) -> None:
    """Show real CT, MR and ultrasound images: what they are, and a contact sheet of each."""
    import pydicom

    files = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("CT_small.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm"):
        talk.print(f"\n[bold]attending show {name}[/]  (comes with pydicom)")
        show(files / name, out=out / name.removesuffix(".dcm"))
    talk.print(f"\nThe contact sheets are in [bold]{out}[/]. Your own: attending show PATH. For research use only.")
