"""`attending eval`: benchmarks with controls and intervals; list, show, compare, report and score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from attending.cli.console import progress, talk, warn
from attending.errors import InputError, printable

if TYPE_CHECKING:
    from attending.evaluation.runner import Plan, Work


class _Tasks(TyperGroup):
    """`attending eval TASK ...` is `attending eval run TASK ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Tasks,
    no_args_is_help=True,
    help="Evaluate a model on tasks, beside controls that need no picture. `attending eval TASK ...` runs them.",
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Data = Annotated[Path | None, typer.Option(help="The dataset's folder, or one with a folder for each dataset.")]


@app.command()
def run(
    task: Annotated[list[str], typer.Argument(help="Names, as `attending eval list` tells them, or YAML files.")],
    model: Annotated[str, typer.Option(help="A model folder, or an OpenAI-compatible server: http://host/v1#name.")],
    out: Annotated[Path, typer.Option(help="Folder for answers and report; run again to go on where it stopped.")],
    data: _Data = None,
    experts: Annotated[str, typer.Option(metavar="A,B|all|none", help="Experts that the model may ask.")] = "none",
    route: Annotated[bool, typer.Option("--route", help="Ask the experts before the model speaks.")] = False,
    rounds: Annotated[int, typer.Option(help="How often the model may have experts run.", min=0)] = 3,
    seeds: Annotated[
        str, typer.Option(help="Of the sampling; several, separated by commas, are runs of their own.")
    ] = "0",
    temperature: Annotated[float | None, typer.Option(help="Instead of the task's.", min=0, max=2)] = None,
    controls: Annotated[str, typer.Option(metavar="A,B|none", help="By default the task's.")] = "",
    control_limit: Annotated[
        int, typer.Option(help="Samples of each part that a control asks; 0 for all.", min=0)
    ] = 300,
    reliance: Annotated[
        bool,
        typer.Option("--reliance", help="Also ask with the experts' results of other studies, and tell who follows."),
    ] = False,
    shifts: Annotated[
        str,
        typer.Option(metavar="A,B|all", help="Also ask with changed pictures (noise, blur ...), and tell the fall."),
    ] = "none",
    limit: Annotated[int, typer.Option(help="Only the first samples; 0 for all.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Conversations that go on at once.", min=1)] = 8,
    shards: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for phantoms and experts' results; by default OUT/cache.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Ask a model the questions of tasks, and judge the answers.

    Example: `attending eval vqa-rad slake --model m3-8b --data datasets --out results/m3-8b`
    """
    from attending.evaluation.runner import Plan
    from attending.evaluation.shifts import named
    from attending.evaluation.task import find_task

    if engine not in ("local", "ray"):
        raise InputError("expected local or ray", field="--engine", value=engine)
    names = _checked_names(task)
    plans = [
        Plan(
            one,
            model,
            out / name,
            cache or out / "cache",
            data,
            {"all": None, "none": ()}.get(experts, tuple(_listed(experts))),
            _seeds(seeds),
            temperature,
            _controls(controls),
            control_limit,
            reliance,
            route,
            rounds,
            limit,
            batch,
            named(shifts),
        )
        for one, name in zip(task, names, strict=True)
    ]
    if len(plans[0].seeds) > 1 and not temperature and not all(find_task(one).temperature for one in task):
        warn("several seeds give the same answers where the temperature is 0; give --temperature")
    works = [_run(plan, shards, engine) for plan in plans]
    _finish(out, works, model, as_json)


@app.command("list")
def list_(as_json: _Json = False) -> None:
    """List the tasks that come along."""
    from attending.evaluation.task import find_task, task_names

    tasks = [find_task(name) for name in task_names()]
    if as_json:
        keys = ("name", "version", "protocol", "dataset", "split", "title")
        print(json.dumps({"tasks": [{key: getattr(task, key) for key in keys} for task in tasks]}))
        return
    _table(("task", "dataset", "what it is"), [(task.name, task.dataset, task.title) for task in tasks])


@app.command()
def show(task: Annotated[str, typer.Argument(help="A name, or a YAML file.")]) -> None:
    """Print a task as it is read, defaults filled in."""
    from dataclasses import asdict

    from attending.evaluation.task import find_task

    print(json.dumps(asdict(find_task(task)), indent=1))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(help="Folder of another run of the same tasks.")],
    as_json: _Json = False,
) -> None:
    """Compare two runs on the same samples; differences are the first less the second."""
    from attending.evaluation.compare import compare as compare_

    told = compare_(a, b)
    if as_json:
        print(json.dumps(told))
        return
    rows = [
        (name, part, str(one["samples"]), one["metric"], f"{one['a']:.3f}", f"{one['b']:.3f}", _signed(one),
         f"{one['p']:.3f}", f"{one['only a']} / {one['only b']}")
        for name, parts in told["tasks"].items()
        for part, one in parts.items()
    ]  # fmt: skip
    _table(("task", "part", "samples", "measure", "a", "b", "difference", "p", "only a / b right"), rows)


@app.command()
def report(out: Annotated[Path, typer.Argument(help="Folder of a run.")], as_json: _Json = False) -> None:
    """Judge the answers of a run again and write its report anew; nothing is asked."""
    from attending.evaluation.runner import reopen

    folders = sorted(path.parent for path in out.glob("*/run.json"))
    if not folders:
        raise InputError("expected a folder that attending eval has written", path=out)
    works = [reopen(folder) for folder in folders]
    _finish(out, works, works[0].plan.model, as_json)


@app.command()
def score(
    task: Annotated[str, typer.Argument(help="A name, or a YAML file.")],
    predictions: Annotated[Path, typer.Option(help="JSON lines, JSON, CSV, or a folder of texts or of CSVs.")],
    data: _Data = None,
    questions: Annotated[
        Path | None, typer.Option(help="The reference protocol's own questions or reports, instead of --data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and report.html.")] = None,
    as_json: _Json = False,
) -> None:
    """Score answers that were made elsewhere."""
    from attending.evaluation.predictions import score_predictions, score_published
    from attending.evaluation.runner import Plan, Work
    from attending.evaluation.sources import load_samples
    from attending.evaluation.task import find_task

    known = find_task(task)
    if data is None and known.dataset not in ("phantom-benchmark", "nano-benchmark"):
        numbers = score_published(known, predictions, questions)
        if as_json:
            print(json.dumps({"task": known.name, "reference": dict(numbers)}))
        else:
            _table((known.name, "value"), [(name, f"{value:.4f}") for name, value in numbers.items()])
        return
    folder = out or Path("attending-out")
    plan = Plan(task, predictions.name, folder / known.name, folder / "cache", data)
    work = Work(plan, known, load_samples(known, data, plan.cache))
    told = {known.name: score_predictions(work, predictions)}
    if out is not None:
        _write(out, told, [work], predictions.name)
    _print(told, as_json)


def _run(plan: Plan, shards: int, engine: str) -> Work:
    from attending.evaluation.runner import run as run_

    with ExitStack() as stack:
        shown: list[Callable[[int], None]] = []

        def tick(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(progress(printable(Path(plan.task).stem, 40), total)))
            shown[0](done)

        return run_(plan, shards, engine=engine, tick=tick)


def _finish(out: Path, works: list[Work], model: str, as_json: bool) -> None:
    """Judge, write and print."""
    from attending.evaluation.results import evaluate

    told = {work.task.name: evaluate(work) for work in works}
    _write(out, told, works, model)
    _print(told, as_json)


def _write(out: Path, told: dict[str, Any], works: list[Work], model: str) -> None:
    from attending.evaluation.report import write_report
    from attending.evaluation.results import command_line, read_results, write_results

    path = write_results(out, told, model, command_line())
    page = write_report(out, read_results(out), {work.task.name: work for work in works})
    talk.print(f"{path} and {page.name}", markup=False, soft_wrap=True)


def _print(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"tasks": told}))
        return
    rows = []
    for name, task in told.items():
        for part, one in task["parts"].items():
            controls = [one["controls"].get(key, {}).get("value") for key in ("shuffled", "text_only", "majority")]
            rows.append(
                (name, part, str(one["samples"]), one["headline"], _bounded(one["metrics"][one["headline"]]),
                 _plain(one["metrics"]["invalid_rate"]["value"]), *map(_plain, controls))
            )  # fmt: skip
        rows += [
            (name, "as published", "", key, _plain(value), "", "", "", "")
            for key, value in (task.get("reference") or {}).items()
        ]
    _table(
        ("task", "part", "samples", "measure", "value [95%]", "invalid", "other images", "no picture", "commonest"),
        rows,
    )
    _print_shifts(told)
    for name, task in told.items():
        for note in task["notes"]:
            warn(f"{name}: {note}")
        for part, one in task["parts"].items():
            for flag in one["flags"]:
                warn(f"{name}, {part}: {flag}")


def _print_shifts(told: dict[str, Any]) -> None:
    """Under each shift the value, and the fall from the unchanged pictures with its interval."""
    rows = [
        (name, part, shift, *(f"{_plain(one['value'])}  {_fall(one)}" for one in by.values()))
        for name, task in told.items()
        for part, parts in task["parts"].items()
        for shift, by in parts["shifts"].items()
    ]
    if rows:
        _table(("task", "part", "pictures with", "mild: value, fall [95%]", "moderate", "strong"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for number, name in enumerate(head):
        shown.add_column(name, no_wrap=number == 0)
    for row in rows:
        shown.add_row(*(escape(printable(cell, 300)) for cell in row))
    Console(highlight=False).print(shown)


def _bounded(told: dict[str, Any]) -> str:
    if told["low"] is None or told["high"] is None:
        return _plain(told["value"])
    return f"{told['value']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"


def _fall(told: dict[str, Any]) -> str:
    return "-" if told["low"] is None else f"{told['difference']:+.3f} [{told['low']:+.3f}, {told['high']:+.3f}]"


def _signed(told: dict[str, Any]) -> str:
    return f"{told['difference']:+.3f} [{told['low']:+.3f}, {told['high']:+.3f}]"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _checked_names(tasks: list[str]) -> list[str]:
    """Names of the tasks, all of which must be there before any is run, and be different."""
    from attending.evaluation.task import find_task

    names = [find_task(one).name for one in tasks]
    for name in names:
        if names.count(name) > 1:
            raise InputError("is given twice", field="task", value=name)
    return names


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        found = tuple(dict.fromkeys(int(part) for part in _listed(text)))
    except ValueError:
        found = ()
    if not found:
        raise InputError("expected whole numbers separated by commas", field="--seeds", value=text)
    return found


def _controls(text: str) -> tuple[str, ...] | None:
    from attending.evaluation.task import CONTROLS

    if not text or text == "none":
        return () if text else None
    for name in _listed(text):
        if name not in CONTROLS:
            raise InputError(f"expected some of {', '.join(CONTROLS)}, or none", field="--controls", value=name)
    return tuple(_listed(text))
