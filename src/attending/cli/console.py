"""What all commands share: the two consoles, and how a command ends in an error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from attending.errors import InputError, printable

talk = Console(stderr=True, highlight=False)
"""Progress, warnings and errors; stdout stays for results."""


def warn(message: str) -> None:
    """Print one warning line on stderr."""
    talk.print(f"[yellow]warning:[/] {escape(printable(message, 1000))}", soft_wrap=True)


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one error line on stderr and leave with `exit_code`."""
    talk.print(f"[red]error:[/] {escape(printable(message, 2000))}", soft_wrap=True)
    sys.exit(exit_code)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress line on stderr, gone when done; call what it gives with the count so far. Silent without a screen."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """What a repeatable NAME=VALUE option holds.

    Raises:
        InputError: One is not of that form.
    """
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError("expected NAME=VALUE", field=option, value=text)
        found[key] = value
    return found
