"""What `ask`, `chat` and `demo` share: their options, the model and the study they open, and how an answer is shown."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from attending.cli.console import pairs, talk

if TYPE_CHECKING:
    from attending.consult import Answer, Attending, Event
    from attending.imaging import Study


@dataclass(frozen=True)
class Asking:
    """The options of a command that asks; each with its help, which typer shows."""

    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, or any OpenAI-compatible server: http://host:8000/v1#name. By default the embedded model."
        ),
    ] = None
    experts: Annotated[
        str | None,
        typer.Option(metavar="A,B|none", help="Experts the model may ask; by default the embedded model's own, and "
        "for others all that can run here."),
    ] = None  # fmt: skip
    no_experts: Annotated[bool, typer.Option("--no-experts", help="The same as --experts none.")] = False
    route: Annotated[
        bool,
        typer.Option(
            "--route", help="Ask the experts first, for a model that cannot: those named, else those that fit."
        ),
    ] = False
    out: Annotated[Path | None, typer.Option(help="Folder for report.html, answer.json, pictures and masks.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest word.", min=0)] = 0.0
    max_tokens: Annotated[int, typer.Option(help="Longest text of the model, in tokens.", min=1)] = 1024
    rounds: Annotated[int, typer.Option(help="How often the model may have experts run.", min=0)] = 3
    seconds: Annotated[float, typer.Option(help="Time for the whole answer.", min=0.001)] = 1800.0
    series: Annotated[
        str | None, typer.Option(help="Which series to show to the model: id, number or description.")
    ] = None
    modality: Annotated[str | None, typer.Option(help="Where the files do not say: CT, MRI, CXR …")] = None
    body_part: Annotated[str | None, typer.Option(help="Where the files do not say, e.g. CHEST.")] = None
    sequence: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=SERIES", help="t1ce, t1, t2 or flair. Repeatable.")
    ] = None
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu"

    def open(self, path: Path) -> Study:
        """The study at `path`."""
        from attending.imaging import open_study

        sequences = pairs(self.sequence, "--sequence")
        with talk.status("reading the study"):
            return open_study(path, modality=self.modality, body_part=self.body_part, sequences=sequences)

    def load(self) -> Attending:
        """The model with its experts.

        Raises:
            InputError: Options that contradict each other.
        """
        from attending.assembly import load
        from attending.errors import InputError

        if self.no_experts and self.experts not in (None, "none"):
            raise InputError("contradicts --experts", field="--no-experts", value=self.experts)
        names = None
        if self.experts is not None:
            names = [name.strip() for name in self.experts.split(",") if name.strip()]
        if self.no_experts or names == ["none"]:
            names = []
        with talk.status("loading the model"):
            return load(
                self.model,
                experts=names,
                route=self.route,
                rounds=self.rounds,
                seconds=self.seconds,
                seed=self.seed,
                temperature=self.temperature,
                max_new_tokens=self.max_tokens,
                dtype=self.dtype,
                device=self.device,
            )

    def finish(self, answer: Answer, out: Path | None) -> None:
        """Keep the answer in `out`, where there is one, and print it."""
        files = answer.save(out) if out is not None else []
        if self.as_json:
            print(json.dumps(answer.to_dict() | {"files": [str(path) for path in files]}))
            return
        from attending.reporting import tell

        print(tell(answer))
        for path in files:
            print(path)


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Asking` beside its own arguments; they come in its parameter `asking`."""
    hints = get_type_hints(Asking, include_extras=True)
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name != "asking"]
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Asking)
        if one.default is not MISSING
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        asking = Asking(**{one.name: given.pop(one.name) for one in shared})
        command(**given, asking=asking)

    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
    del run.__wrapped__
    return run


def watch(events: Iterator[Event]) -> Answer:
    """Show on stderr what happens, and return the answer."""
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from attending.consult import Done, ExpertFinished, ExpertProgress, ExpertStarted, TextDelta
    from attending.errors import printable

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bars:
        thinking: Any = bars.add_task("the model reads", total=None)
        running: dict[int, Any] = {}
        written = ""
        for event in events:
            if isinstance(event, TextDelta):
                written = (written + event.text)[-200:]
                bars.update(thinking, description=escape(printable(written[-80:])))
            elif isinstance(event, ExpertStarted):
                talk.print(f"asking {escape(printable(event.call))}", soft_wrap=True)
                running[id(event.call)] = bars.add_task(escape(printable(event.call, 60)), total=None)
            elif isinstance(event, ExpertProgress):
                bars.update(running[id(event.call)], completed=event.done, total=event.total)
            elif isinstance(event, ExpertFinished):
                bars.remove_task(running.pop(id(event.call)))
                told = f"{printable(event.call)} {event.finding.status} in {event.finding.record.seconds:.1f} s"
                talk.print(escape(told), soft_wrap=True)
                bars.update(thinking, description="the model reads the results")
                written = ""
            elif isinstance(event, Done):
                return event.answer
    raise RuntimeError("a consultation ends with Done")
