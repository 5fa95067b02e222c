"""`attending ask` and `attending chat`: a question about a study, or a conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attending.cli.console import pairs, talk, warn

if TYPE_CHECKING:
    from attending.consult import Answer, Attending, Event
    from attending.imaging import Study

_StudyPath = Annotated[Path, typer.Argument(help="What `attending show` takes: a file, a folder, a zip.")]
_Model = Annotated[
    str | None,
    typer.Option(help="A model folder, or any OpenAI-compatible server: http://host:8000/v1#name."),
]
_Experts = Annotated[
    str | None,
    typer.Option(metavar="A,B|none", help="Experts the model may ask; by default all that can run here."),
]
_NoExperts = Annotated[bool, typer.Option("--no-experts", help="The same as --experts none.")]
_Route = Annotated[
    bool,
    typer.Option("--route", help="Ask the experts first, for a model that cannot: those named, else those that fit."),
]
_Out = Annotated[Path | None, typer.Option(help="Folder for report.html, answer.json, pictures and masks.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Seed = Annotated[int, typer.Option(help="Of the sampling.")]
_Temperature = Annotated[float, typer.Option(help="0 always takes the likeliest word.", min=0)]
_Tokens = Annotated[int, typer.Option(help="Longest text of the model, in tokens.", min=1)]
_Rounds = Annotated[int, typer.Option(help="How often the model may have experts run.", min=0)]
_Seconds = Annotated[float, typer.Option(help="Time for the whole answer.", min=0.001)]
_Series = Annotated[str | None, typer.Option(help="Which series to show to the model: id, number or description.")]
_Modality = Annotated[str | None, typer.Option(help="Where the files do not say: CT, MRI, CXR …")]
_BodyPart = Annotated[str | None, typer.Option(help="Where the files do not say, e.g. CHEST.")]
_Sequence = Annotated[list[str] | None, typer.Option(metavar="ROLE=SERIES", help="t1ce, t1, t2 or flair. Repeatable.")]
_Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")]


def ask(
    study: _StudyPath,
    question: Annotated[str, typer.Argument(help="In ordinary words.")],
    model: _Model = None,
    experts: _Experts = None,
    no_experts: _NoExperts = False,
    route: _Route = False,
    out: _Out = None,
    as_json: _Json = False,
    seed: _Seed = 0,
    temperature: _Temperature = 0.0,
    max_tokens: _Tokens = 1024,
    rounds: _Rounds = 3,
    seconds: _Seconds = 1800.0,
    series: _Series = None,
    modality: _Modality = None,
    body_part: _BodyPart = None,
    sequence: _Sequence = None,
    dtype: _Dtype = "auto",
    device: _Device = "cpu",
) -> None:
    """Answer a question about a study, with the help of experts.

    The model's words and the experts' progress are shown as they come; the answer is printed at the end, with every
    claim that no expert's finding bears out marked. `--out` keeps a report with pictures and masks.

    Example: `attending ask scans/patient7 "Is there a liver tumor, and how large is it?" --model m3-8b --out answer`
    """
    opened = _open(study, modality, body_part, sequence)
    attending = _attending(
        model, experts, no_experts, route, (seed, temperature, max_tokens), rounds, seconds, dtype, device
    )
    answer = _watch(attending.stream(opened, question, series=series))
    files = _save(answer, out)
    _print(answer, files, as_json)


def chat(
    study: _StudyPath,
    model: _Model = None,
    experts: _Experts = None,
    no_experts: _NoExperts = False,
    route: _Route = False,
    out: _Out = None,
    as_json: _Json = False,
    seed: _Seed = 0,
    temperature: _Temperature = 0.0,
    max_tokens: _Tokens = 1024,
    rounds: _Rounds = 3,
    seconds: _Seconds = 1800.0,
    series: _Series = None,
    modality: _Modality = None,
    body_part: _BodyPart = None,
    sequence: _Sequence = None,
    dtype: _Dtype = "auto",
    device: _Device = "cpu",
) -> None:
    """Talk about a study: a question a line, an empty line or the end of input leaves.

    `--out` keeps every answer in a numbered folder; `--json` prints one object a line.
    """
    from attending.errors import AttendingError

    opened = _open(study, modality, body_part, sequence)
    attending = _attending(
        model, experts, no_experts, route, (seed, temperature, max_tokens), rounds, seconds, dtype, device
    )
    conversation = attending.chat(opened)
    number = 0
    for question in _questions():
        try:
            answer = _watch(conversation.stream(question, series=series if number == 0 else None))
            number += 1
            files = _save(answer, out / str(number) if out is not None else None)
            _print(answer, files, as_json)
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


def _open(path: Path, modality: str | None, body_part: str | None, sequence: list[str] | None) -> Study:
    from attending.imaging import open_study

    with talk.status("reading the study"):
        return open_study(path, modality=modality, body_part=body_part, sequences=pairs(sequence, "--sequence"))


def _attending(
    model: str | None,
    experts: str | None,
    no_experts: bool,
    route: bool,
    sampled: tuple[int, float, int],
    rounds: int,
    seconds: float,
    dtype: str,
    device: str,
) -> Attending:
    from attending.assembly import load
    from attending.errors import InputError

    if no_experts and experts not in (None, "none"):
        raise InputError("contradicts --experts", field="--no-experts", value=experts)
    names = None if experts is None else [name.strip() for name in experts.split(",") if name.strip()]
    if no_experts or names == ["none"]:
        names = []
    seed, temperature, max_tokens = sampled
    with talk.status("loading the model"):
        return load(
            model,
            experts=names,
            route=route,
            rounds=rounds,
            seconds=seconds,
            seed=seed,
            temperature=temperature,
            max_new_tokens=max_tokens,
            dtype=dtype,
            device=device,
        )


def _watch(events: Iterator[Event]) -> Answer:
    """Show on stderr what happens, and return the answer."""
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from attending.consult import Done, ExpertFinished, ExpertProgress, ExpertStarted, TextDelta
    from attending.errors import printable

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    live = talk.is_terminal
    with Progress(*columns, console=talk, transient=True, disable=not live) as bars:
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


def _save(answer: Answer, out: Path | None) -> list[Path]:
    return answer.save(out) if out is not None else []


def _print(answer: Answer, files: list[Path], as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.to_dict() | {"files": [str(path) for path in files]}))
        return
    from attending.reporting import tell

    print(tell(answer))
    for path in files:
        print(path)
