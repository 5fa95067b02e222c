"""`attending chat`: a conversation about a study."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from attending.cli.asking import Asking, asks, watch
from attending.cli.console import talk, warn


@asks
def chat(
    study: Annotated[Path, typer.Argument(help="What `attending show` takes: a file, a folder, a zip.")],
    asking: Asking,
) -> None:
    """Talk about a study: a question a line, an empty line or the end of input leaves.

    `--out` keeps every answer in a numbered folder; `--json` prints one object a line.
    """
    from attending.errors import AttendingError

    opened = asking.open(study)
    conversation = asking.load().chat(opened)
    number = 0
    for question in _questions():
        try:
            answer = watch(conversation.stream(question, series=asking.series if number == 0 else None))
            number += 1
            asking.finish(answer, asking.out / str(number) if asking.out is not None else None)
        except AttendingError as error:  # the conversation so far is kept, and the next question may do better
            warn(str(error))
    if not number:
        talk.print("no question was asked")


def _questions() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            talk.print("[bold]question:[/] ", end="")
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()
