"""`attending ask`: a question about a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attending.cli.asking import Asking, asks, watch


@asks
def ask(
    study: Annotated[Path, typer.Argument(help="What `attending show` takes: a file, a folder, a zip.")],
    question: Annotated[str, typer.Argument(help="In ordinary words.")],
    asking: Asking,
) -> None:
    """Answer a question about a study, with the help of experts.

    The model's words and the experts' progress are shown as they come; the answer is printed at the end, with every
    claim that no expert's finding bears out marked. `--out` keeps a report with pictures and masks.

    Example: `attending ask scans/patient7 "Is there a liver lesion, and how large is it?" --out answer`
    """
    opened = asking.open(study)
    answer = watch(asking.load().stream(opened, question, series=asking.series))
    asking.finish(answer, asking.out)
