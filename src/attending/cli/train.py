"""`attending train`: a recipe becomes a checkpoint."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from attending.cli.console import talk
from attending.errors import InputError, NotAvailableError


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe that comes with the package.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; the same command again goes on there.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="a.b=value: change the recipe; repeat for more.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Check everything and print what would be done.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the newest checkpoint of OUT as a model folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a model, or an expert, as a recipe says.

    Example: `attending train tiny --out runs/tiny`. On several GPUs:
    `torchrun --nproc-per-node 8 -m attending train ...`.
    """
    try:
        from attending.training.recipe import Recipe, read_recipe
    except ImportError as error:
        raise NotAvailableError(f"training needs {error.name}: pip install 'attending[train]'") from error
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads make the batches; more would only disturb
    found = read_recipe(recipe, settings or [])
    if out is None and not dry_run:
        raise typer.BadParameter("needed, unless --dry-run is given", param_hint="--out")
    run = _language if isinstance(found, Recipe) else _expert
    try:
        result = run(found, out, dry_run, export)
    except InputError as error:
        lines = getattr(error, "lines", None)
        if lines is not None:
            talk.print(lines(), markup=False, soft_wrap=True)
        raise
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        print(json.dumps(result))
    elif dry_run:
        _table(result)
    else:
        print(result["model"])


def _tell(text: str) -> None:
    if not int(os.environ.get("RANK", "0")):
        talk.print(text, markup=False, soft_wrap=True)


def _language(recipe: Any, out: Path | None, dry_run: bool, export: Path | None) -> dict[str, Any]:
    from attending.training.plan import plan
    from attending.training.run import export_checkpoint, train

    if dry_run:
        return plan(recipe, _tell, int(os.environ.get("WORLD_SIZE", "1")))
    assert out is not None
    if export is not None:
        return {"model": str(export_checkpoint(recipe, out, export))}
    return {"model": str(train(recipe, out, _ticker(), _tell))}


def _expert(recipe: Any, out: Path | None, dry_run: bool, export: Path | None) -> dict[str, Any]:
    from attending.training.expert import plan_expert, train_expert

    if export is not None:
        raise InputError("is for recipes of language models", field="--export", value=export)
    if dry_run:
        return dict(plan_expert(recipe))
    assert out is not None
    return {"model": str(train_expert(recipe, out, _ticker(), _tell))}


def _ticker() -> Any:
    """Tells of a step now and then: often at first, then about every ten seconds."""
    import time

    last = 0.0

    def tick(told: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if told.step not in (1, told.steps) and now - last < 10:
            return
        last = now
        minutes, seconds = divmod(round(told.left), 60)
        speed = f"{told.samples:.1f} samples/s" + (f", {told.tokens:.0f} tokens/s" if told.tokens else "")
        line = f"{told.stage} {told.step}/{told.steps}  loss {told.loss:.4f}  {speed}  {minutes}:{seconds:02} left"
        _tell(line)

    return tick


def _table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    parts = ", ".join(f"{name} {count:,}" for name, count in result["parameters"].items())
    console.print(f"{result['recipe']}: {parts} parameters", markup=False)
    table = Table("stage", "trains", "steps", "epochs", "tokens", "learned", "pictures", "GB", "hours")
    for one in result["stages"]:
        rates = " ".join(f"{name}@{rate:g}" for name, rate in one["rates"].items() if rate)
        memory = f"{one['memory_gb']['least']:g} to {one['memory_gb']['likely']:g}"
        cells = [one["name"], f"{one['trained']:,}: {rates}", one["steps"], one["epochs"], f"{one['tokens']:,}"]
        cells += [f"{one['learned']:,}", f"{one['pictures']:,}", memory, f"{one['hours']:.2g}"]
        table.add_row(*map(str, cells))
    console.print(table)
    for problem in result["problems"]:
        talk.print(f"[yellow]warning:[/] {problem}", soft_wrap=True)
