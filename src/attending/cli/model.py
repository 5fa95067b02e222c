"""`attending model`: bring a VILA-M3 checkpoint in, look at one, fetch one."""

from pathlib import Path
from typing import Annotated

import typer

from attending.cli.console import talk

app = typer.Typer(name="model", no_args_is_help=True, help="Import, inspect and fetch vision-language models.")


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="A published checkpoint: config.json, llm/, vision_tower/, mm_projector/.")
    ],
    destination: Annotated[Path, typer.Argument(help="The Transformers folder to write; must not exist or be empty.")],
    conversation_mode: Annotated[
        str | None, typer.Option(help="llama_3, vicuna_v1, hermes-2 or plain; by default told by the tokenizer.")
    ] = None,
) -> None:
    """Turn a published VILA-M3 checkpoint into one Transformers folder, streaming its weights."""
    from rich.progress import Progress

    from attending.model.card import NOTICE
    from attending.model.importing import import_checkpoint

    with Progress(console=talk, transient=True) as bar:
        task = bar.add_task("weights", total=None)
        written = import_checkpoint(
            source,
            destination,
            conversation_mode,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    talk.print(NOTICE, soft_wrap=True)
    print(written)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A published checkpoint or an imported Transformers folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a model's sizes, dtypes, licence and the memory it needs."""
    import json

    from attending.model.info import describe

    found = describe(path)
    print(json.dumps(found, indent=2) if as_json else "\n".join(f"{key}: {value}" for key, value in found.items()))


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A published model, such as Llama3-VILA-M3-8B.")],
    destination: Annotated[Path, typer.Argument(help="The folder to download to; must not exist or be empty.")],
    revision: Annotated[str | None, typer.Option(help="Commit hash on the hub to fetch; pins what you get.")] = None,
) -> None:
    """Fetch a published checkpoint from the model hub and check every file's SHA-256."""
    from attending.model.card import NOTICE
    from attending.model.pull import pull_checkpoint

    written = pull_checkpoint(name, destination, revision)
    talk.print(NOTICE, soft_wrap=True)
    print(written)
