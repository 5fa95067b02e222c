"""`attending data`: what datasets are known, whether one on disk is sound, and conversations written out."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attending.cli.console import progress, talk, warn

if TYPE_CHECKING:
    from attending.corpora import Dataset
    from attending.corpora.readers.reader import Reader
    from attending.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Datasets: which are known, whether yours is sound, and conversions.")

_NAME = Annotated[str, typer.Argument(help="As `attending data list` has it.")]
_FOLDER = Annotated[Path | None, typer.Argument(help="Where it lies: a folder, or a file for llava and csv.")]
_OPTION = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of that reader. Repeatable.")
]


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="One of them, in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What each reader expects on disk, its options, and where the dataset is to be had."""
    from attending.corpora.readers import READERS

    chosen = [_reader(name)] if name else list(READERS.values())
    if as_json:
        print(json.dumps({"datasets": [_told(reader) for reader in chosen]}))
        return
    for reader in chosen:
        if name is None:
            print(f"{reader.name:20}{reader.title}")
            continue
        print(f"{reader.title}\n\nexpects:")
        for line in reader.expects:
            print(f"  {line}")
        options = [f"{key}={value}" for key, value in _defaults(reader).items()]
        print(f"options:  {', '.join(options) or 'none'}")
        print(f"splits:   {', '.join(reader.splits)}\nsource:   {reader.source}")
        print(f"cite:     {reader.citation or '-'}\nlicence:  {reader.licence}")
    if name is None:
        talk.print("`attending data list NAME` tells what it expects, where it is to be had, and its licence.")


@app.command()
def check(
    name: _NAME,
    folder: _FOLDER = None,
    split: Annotated[list[str] | None, typer.Option(help="Repeatable; by default all that are there.")] = None,
    option: _OPTION = None,
    images: Annotated[bool, typer.Option("--images", help="Decode every picture.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for a contact sheet of each split.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read a dataset and tell its counts, everything wrong with it, and what leaks between its splits.

    Ends with 0 only when there is no problem and no leak.

    Example: `attending data check slake Slake1.0 --out sheets`
    """
    from attending.corpora import check_images, check_leaks
    from attending.errors import InputError

    reader = _reader(name)
    datasets = []
    for one in split or reader.splits:
        try:
            datasets.append(_read(reader, folder, one, option))
        except InputError as error:
            if split or (not datasets and one == reader.splits[-1]):
                raise
            warn(f"{one}: {error}")
    if images:
        for dataset in datasets:
            with progress(f"pictures of {dataset.split}", len(dataset.images or ())) as advance:
                dataset.problems.extend(check_images(dataset, advance))
    with progress("leaks"):
        leaks = check_leaks(datasets)
    sheets = [_sheet(dataset, out) for dataset in datasets if out is not None and len(dataset.conversations)]
    if as_json:
        print(
            json.dumps(
                {
                    "splits": [_counted(dataset) for dataset in datasets],
                    "leaks": [str(leak) for leak in leaks],
                    "files": [str(path) for path in sheets],
                }
            )
        )
    else:
        _print(datasets, leaks, sheets)
    wrong = sum(len(dataset.problems) for dataset in datasets)
    if wrong or leaks:
        raise InputError(f"{wrong} problems and {len(leaks)} leaks", field="dataset", value=name)


@app.command()
def convert(
    name: _NAME,
    folder: _FOLDER = None,
    out: Annotated[Path, typer.Option(help="The .jsonl file to write; pictures go to a folder beside it.")] = Path(
        "conversations.jsonl"
    ),
    split: Annotated[str, typer.Option(help="train, validate or test.")] = "train",
    option: _OPTION = None,
    skip: Annotated[bool, typer.Option("--skip-problems", help="Write what is sound, and leave the rest out.")] = False,
) -> None:
    """Write conversations as JSON lines in the common `messages` form, which the reader `llava` reads.

    Example: `attending data convert slake Slake1.0 --split train --out slake.jsonl`
    """
    from attending.corpora import require
    from attending.corpora.convert import convert as write

    dataset = _read(_reader(name), folder, split, option)
    for problem in dataset.problems[:20]:
        warn(str(problem))
    if not skip:
        require([dataset])
    with progress(f"writing {out.name}", len(dataset.conversations)) as advance:
        written = write(dataset, out, advance)
    print(out)
    talk.print(f"{written.conversations} conversations, {written.pictures} pictures in {written.folder}")


@app.command()
def rewrite(
    folder: Annotated[Path, typer.Argument(help="MIMIC-CXR-JPG, as `attending data list mimic-cxr` says.")],
    model: Annotated[str, typer.Option(help="A model folder, or http://host/v1#name.")],
    out: Annotated[Path, typer.Option(help="JSON lines of sentences; run again to go on.")],
    reports: Annotated[str, typer.Option(help="Folder of the reports, where they lie elsewhere.")] = "",
    section: Annotated[str, typer.Option(help="findings, impression or both.")] = "findings",
) -> None:
    """Have a language model bring the sentences of reports to plain ones; each answer is checked before it is taken.

    Use it with `--option text=FILE` of the dataset mimic-cxr. Mind the data use agreement: the reports of MIMIC-CXR may
    not be sent to others' servers.
    """
    from attending.corpora.readers.mimic_cxr import report_sentences
    from attending.corpora.rewrite import rewrite as ask
    from attending.model import load_backend

    backend = load_backend(model)
    wanted = list(dict.fromkeys(report_sentences(folder, reports, section)))
    with progress("sentences", len(wanted)) as advance:
        counts = ask(wanted, backend, out, progress=advance)
    print(out)
    talk.print(", ".join(f"{number} {how}" for how, number in counts.items()))


def _reader(name: str) -> Reader:
    from attending.corpora.readers import READERS
    from attending.errors import InputError

    if name not in READERS:
        raise InputError(f"expected one of {', '.join(READERS)}", field="dataset", value=name)
    return READERS[name]


def _defaults(reader: Reader) -> dict[str, Any]:
    """A reader's options with their defaults."""
    known = inspect.signature(reader.read).parameters.values()
    return {one.name: one.default for one in known if one.kind is one.KEYWORD_ONLY and one.name != "progress"}


def _options(reader: Reader, texts: list[str] | None) -> dict[str, Any]:
    """Options from the command line, as the kind that their defaults are of."""
    from attending.errors import InputError

    known = _defaults(reader)
    found: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError("expected NAME=VALUE", field="--option", value=text)
        default = known.get(key)
        if isinstance(default, bool):
            if value not in ("true", "false"):
                raise InputError("expected true or false", field=f"--option {key}", value=value)
            found[key] = value == "true"
        elif isinstance(default, int):
            if not (value.isascii() and value.isdigit()):
                raise InputError("expected a whole number", field=f"--option {key}", value=value)
            found[key] = int(value)
        else:
            found[key] = value
    return found


def _read(reader: Reader, folder: Path | None, split: str, option: list[str] | None) -> Dataset:
    from attending.corpora import read

    with progress(f"{reader.name} {split}") as advance:
        return read(reader.name, folder, split, progress=advance, **_options(reader, option))


def _told(reader: Reader) -> dict[str, Any]:
    return {
        "name": reader.name,
        "title": reader.title,
        "expects": list(reader.expects),
        "options": _defaults(reader),
        "splits": list(reader.splits),
        "source": reader.source,
        "citation": reader.citation,
        "licence": reader.licence,
    }


def _counted(dataset: Dataset) -> dict[str, Any]:
    problems = [str(problem) for problem in dataset.problems]
    return {"split": dataset.split, "counts": dict(dataset.counts), "notes": dataset.notes, "problems": problems}


def _sheet(dataset: Dataset, out: Path) -> Path:
    from attending.corpora.sheet import conversation_sheet

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{dataset.name.replace(' ', '-')}-{dataset.split}.png"
    conversation_sheet(dataset).save(path)
    return path


def _print(datasets: list[Dataset], leaks: list[InputError], sheets: list[Path]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from attending.corpora import report
    from attending.errors import printable

    table = Table("", *(dataset.split for dataset in datasets))
    for key in dict.fromkeys(key for dataset in datasets for key in dataset.counts):
        cells = [f"{dataset.counts[key]:,}" if key in dataset.counts else "" for dataset in datasets]
        table.add_row(escape(printable(key)), *cells)
    Console(highlight=False).print(table)
    for dataset in datasets:
        for note in dataset.notes:
            talk.print(f"{dataset.split}: {escape(printable(note, 500))}", soft_wrap=True)
        if dataset.problems:
            talk.print(f"[red]{dataset.split}: {len(dataset.problems)} problems[/]")
            for line in report(dataset.problems).splitlines():
                talk.print(escape(printable(line, 500)), soft_wrap=True)
    for leak in leaks:
        talk.print(f"[red]leak:[/] {escape(printable(str(leak), 500))}", soft_wrap=True)
    for path in sheets:
        print(path)
