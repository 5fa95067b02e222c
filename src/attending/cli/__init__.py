"""The command `attending`: results on stdout, talk on stderr.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 something needed is not available, 5 it broke.
"""

import logging
import os
import sys

import typer

from attending import __version__
from attending.cli import data, experts, model
from attending.cli.ask import ask
from attending.cli.chat import chat
from attending.cli.console import fail
from attending.cli.demo import demo
from attending.cli.eval import app as evaluation
from attending.cli.phantom import phantom
from attending.cli.serve import serve
from attending.cli.show import show
from attending.cli.train import train
from attending.errors import AttendingError

app = typer.Typer(
    name="attending",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="For research use only; not a medical device. "
    "Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 something needed is not available, 5 it broke.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"attending {__version__}")
        raise typer.Exit


@app.callback()
def attending(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Answer questions about medical images with the help of domain experts."""


app.command()(show)
app.command()(ask)
app.command()(chat)
app.command()(demo)
app.command()(phantom)
app.command()(train)
app.command()(serve)


app.add_typer(model.app)
app.add_typer(experts.app, name="experts")
app.add_typer(data.app, name="data")
app.add_typer(evaluation, name="eval")


def main() -> None:
    """Run the command line; every foreseen error becomes one line on stderr and its exit code."""
    # The readers below us log repairs of odd headers on their own; what matters of it reaches the user as a warning.
    for library in ("pydicom", "nibabel", "PIL"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        app()
    except AttendingError as error:
        fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our stdout has gone (`attending ... | head`); say nothing more
        sys.exit(0)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except Exception as error:  # a fault of ours: say so in a line, with the traceback for who wants to report it
        if os.environ.get("ATTENDING_DEBUG"):
            raise
        fail(f"it broke: {type(error).__name__}: {error} (set ATTENDING_DEBUG=1 for the traceback)", 5)
