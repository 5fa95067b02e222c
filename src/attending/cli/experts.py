"""`attending experts`: which specialists there are, what is missing, and one run by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attending.cli.console import pairs, progress, talk, warn

if TYPE_CHECKING:
    from attending.experts import Expert, Finding

app = typer.Typer(help="Specialists that the model may ask: which there are, and one run by itself.")


@app.callback(invoke_without_command=True)
def table(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """List the experts, whether each can run here, and how to get what is missing."""
    if context.invoked_subcommand is not None:
        return
    from attending.experts import embedded, experts

    found, problems = experts()
    for problem in problems:
        warn(problem)
    rows = [(expert.card, expert.available()) for expert in (*found.values(), *embedded())]
    if as_json:
        told = [
            {
                "name": card.name,
                "modality": list(card.modality),
                "body_part": list(card.body_part),
                "task": card.task,
                "overview": card.overview,
                "arguments": {name: list(values) for name, values in card.arguments.items()},
                "licence": card.licence,
                "version": card.version,
                "missing": missing,
            }
            for card, missing in rows
        ]
        print(json.dumps({"experts": told, "problems": problems}))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from attending.errors import printable

    ours = ", ".join(expert.card.name for expert in embedded())
    note = f"{ours} come with the package; they learned from synthetic studies alone"
    shown = Table("name", "takes", "task", "can run here", "licence", caption=note)
    for card, missing in rows:
        takes = ", ".join([*card.modality, *(part.lower() for part in card.body_part)])
        cells = (card.name, takes, card.task, missing or "yes", card.licence)
        shown.add_row(*(escape(printable(cell, 300)) for cell in cells))
    Console(highlight=False).print(shown)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="The expert, as `attending experts` lists it.")],
    study: Annotated[Path, typer.Argument(help="What `attending show` takes.")],
    argument: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Such as structures=organs. Repeatable.")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,Z[,-]",
            help="A place in RAS mm that lies on what is meant, or with ,- beside it. With --argument structure=NAME, "
            "what it is. VISTA3D only. Repeatable.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the mask (NIfTI) and the picture (PNG).")] = None,
    modality: Annotated[str | None, typer.Option(help="Where the files do not say: CT, MRI, CXR …")] = None,
    body_part: Annotated[str | None, typer.Option(help="Where the files do not say, e.g. CHEST.")] = None,
    sequence: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=SERIES", help="t1ce, t1, t2 or flair. Repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="The expert's time.", min=0.001)] = 3600,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run one expert on a study; ends with 0 only when it has a result.

    Example: `attending experts run VISTA3D scans/patient7 --argument structures=organs --out found`
    """
    from attending.errors import AttendingError, InputError, NotAvailableError
    from attending.experts import find_expert, run_expert
    from attending.imaging import open_study

    expert = find_expert(name)
    if point:
        expert = _at_points(expert, point)
    missing = expert.available()
    if missing is not None:
        raise NotAvailableError(f"{expert.card.name}: {missing}")
    opened = open_study(study, modality=modality, body_part=body_part, sequences=pairs(sequence, "--sequence"))
    with progress(expert.card.name) as advance:
        finding = run_expert(
            expert,
            opened,
            pairs(argument, "--argument"),
            seconds=seconds,
            progress=lambda done, total: advance(done),
        )
    if finding.status == "refused":
        raise InputError(finding.text, path=study)
    if finding.status == "failed":
        raise AttendingError(finding.text)
    for text in finding.warnings:
        warn(text)
    files = _write(finding, out) if out is not None else []
    if as_json:
        print(json.dumps(finding.to_dict() | {"files": [str(path) for path in files]}))
        return
    print(finding.text)
    for path in files:
        print(path)
    talk.print("For research use only.")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="vista3d or brats_mri_segmentation.")],
    destination: Annotated[Path | None, typer.Option(help="Folder; by default where the expert looks.")] = None,
    revision: Annotated[str | None, typer.Option(help="Another commit or release than the pinned one.")] = None,
) -> None:
    """Fetch a pinned MONAI bundle from the model hub and check every file."""
    from attending.experts.pull import pull_bundle

    print(pull_bundle(name, destination, revision))


def _at_points(expert: Expert, texts: list[str]) -> Expert:
    """The expert with the points of the command line.

    Raises:
        InputError: It takes none, or one is no point.
    """
    from attending.errors import InputError
    from attending.experts.points import AtPoints, Point
    from attending.experts.vista3d import Vista3D

    if not isinstance(expert, Vista3D):
        raise InputError(f"{expert.card.name} takes no points; VISTA3D does", field="--point", value=texts[0])
    points = []
    for text in texts:
        parts = text.split(",")
        try:
            x, y, z = (float(part) for part in parts[:3])
        except ValueError:
            parts = []
        if len(parts) not in (3, 4) or (len(parts) == 4 and parts[3] not in ("+", "-")):
            raise InputError("expected X,Y,Z in RAS mm, or X,Y,Z,- for a point beside it", field="--point", value=text)
        points.append(Point(x, y, z, parts[3:] != ["-"]))
    return AtPoints(expert, points)


def _write(finding: Finding, out: Path) -> list[Path]:
    """Mask with its label names, picture and record; made aside, so that each file appears whole."""
    import os

    from attending.reporting.folder import drafting, put
    from attending.reporting.masks import write_mask

    name = finding.record.expert.lower()
    with drafting(out) as aside:
        names = []
        if finding.segmentation is not None:
            names += write_mask(finding, finding.segmentation, aside, f"{name}-mask")
        for number, picture in enumerate(finding.pictures):
            names.append(f"{name}.png" if not number else f"{name}-{number}.png")
            picture.save(aside / names[-1])
        names.append(f"{name}.json")
        put(aside / names[-1], (json.dumps(finding.to_dict(), indent=2) + "\n").encode())
        for each in names:
            os.replace(aside / each, out / each)
    return [out / each for each in names]
