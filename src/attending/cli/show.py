"""`attending show`: what is in a study, as a table and as a contact sheet of each series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attending.cli.console import progress, talk, warn
from attending.errors import AttendingError, InputError, printable

if TYPE_CHECKING:
    from attending.imaging import Series, Study, Window


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY",
            show_default=False,
            help="DICOM file, folder, DICOMDIR or zip; NIfTI, NRRD, MetaImage; PNG, JPEG, BMP, TIFF.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the contact sheets; made if it is not there.")] = Path(
        "attending-out"
    ),
    series: Annotated[str | None, typer.Option(help="Only this series: its id, number or description.")] = None,
    modality: Annotated[
        str | None,
        typer.Option(help="What the pictures were made with, where the files do not say: CT, MRI, CXR, US …"),
    ] = None,
    body_part: Annotated[
        str | None, typer.Option(help="The body part, where the files do not say, e.g. CHEST.")
    ] = None,
    sequence: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=SERIES", help="Name a brain-tumour sequence: t1ce, t1, t2 or flair. Repeatable."),
    ] = None,
    plane: Annotated[str | None, typer.Option(help="Only axial, coronal or sagittal slices.")] = None,
    window: Annotated[
        str | None, typer.Option(help="A preset (abdomen, lung, bone, brain …) or CENTER/WIDTH, e.g. 50/400.")
    ] = None,
    tiles: Annotated[int, typer.Option(help="Slices on a contact sheet, 1 to 100.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Print what is in a study and write a contact sheet (PNG) of each series.

    Example: `attending show scans/patient7 --out sheets --window lung`
    """
    from attending.imaging import open_study

    chosen_window = _window(window)
    with progress("reading headers") as advance:
        study = open_study(
            path, modality=modality, body_part=body_part, sequences=_sequences(sequence or []), progress=advance
        )
    if series is not None:
        study.series = [study.find(series)]
    for problem in study.rejected:
        warn(f"not read: {problem}")
    for warning in study.warnings:
        warn(warning)
    sheets, failures = _write_sheets(study, out, plane, chosen_window, tiles)
    if not sheets:
        raise next(iter(failures.values()))
    for failure in failures.values():
        warn(f"not shown: {failure}")
    if as_json:
        print(json.dumps(_as_json(study, sheets, failures), indent=2))
    else:
        _print_table(study, sheets)


def _window(text: str | None) -> Window | None:
    from attending.imaging import CT_WINDOWS, Window

    if text is None or text in CT_WINDOWS:
        return CT_WINDOWS[text] if text else None
    center, _, width = text.partition("/")
    try:
        return Window(float(center), float(width))
    except ValueError:
        allowed = ", ".join(CT_WINDOWS)
        raise InputError(f"must be CENTER/WIDTH or one of {allowed}", field="--window", value=text) from None


def _sequences(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        role, equals, key = pair.partition("=")
        if not equals or not key:
            raise InputError("must be ROLE=SERIES, such as t1ce=3", field="--sequence", value=pair)
        found[role] = key
    return found


def _write_sheets(
    study: Study, out: Path, plane: str | None, window: Window | None, tiles: int
) -> tuple[dict[str, Path], dict[str, AttendingError]]:
    """A contact sheet for each series that can be read, by series id, and the errors of the others."""
    sheets: dict[str, Path] = {}
    failures: dict[str, AttendingError] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", path=out, field="--out") from None
    with progress("drawing", len(study.series)) as advance:
        for number, series in enumerate(study.series, 1):
            target = out / f"{_file_name(study, series, number)}.png"
            warned = len(series.warnings)
            try:
                _sheet(series, plane, window, tiles, target)
            except AttendingError as error:
                failures[series.id] = error
            else:
                sheets[series.id] = target
            for warning in series.warnings[warned:]:
                warn(f"{series.description or series.id}: {warning}")
            series.unload()  # one series in memory at a time
            advance(number)
    return sheets, failures


def _file_name(study: Study, series: Series, number: int) -> str:
    """A plain file name: from counting and from letters of the description, never a path from a header."""
    letters = "".join(char if char.isascii() and char.isalnum() else "-" for char in series.description or "")
    words = "-".join(part for part in letters.lower().split("-") if part)[:40]
    patient = f"patient{study.patients.index(series.patient) + 1}-" if len(study.patients) > 1 else ""
    return f"{patient}{number:02d}-{words or series.kind}"


def _sheet(series: Series, plane: str | None, window: Window | None, tiles: int, target: Path) -> None:
    from attending.imaging import Volume, contact_sheet, window_for

    pixels = series.pixels
    if isinstance(pixels, Volume):
        window = window or window_for(series.modality, series.body_part, pixels.array)
    title = " · ".join(part for part in (series.description, series.sequence) if part)
    picture = contact_sheet(
        pixels, title=title, plane=plane if isinstance(pixels, Volume) else None, window=window, tiles=tiles
    )
    beside = target.with_suffix(".part")
    try:
        picture.save(beside)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", path=target) from None


def _facts(series: Series) -> tuple[str, ...]:
    size = " x ".join(str(extent) for extent in series.shape)
    if series.channels > 1:
        size += f" x {series.channels}"
    spacing = " x ".join(f"{step:.3g}" for step in series.spacing) if series.spacing else "unknown"
    kind = series.kind if series.sequence is None else f"{series.kind}, {series.sequence}"
    return kind, series.modality or "unknown", series.body_part, size, spacing, series.orientation or ""


def _print_table(study: Study, sheets: dict[str, Path]) -> None:
    """Rows of plain `Text`: header values may hold markup, which is shown, not obeyed."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)  # in a pipe or a file there is no screen to fit
    for patient in study.patients:
        table = Table(title=Text(f"Patient: {patient}"), title_justify="left", title_style="bold")
        for name in (
            "#",
            "description",
            "kind",
            "modality",
            "body part",
            "size",
            "spacing, mm",
            "axes",
            "contact sheet",
        ):
            table.add_column(name, overflow="fold")
        for number, series in enumerate(study.series, 1):
            if series.patient == patient:
                cells = (str(number), series.description or series.id, *_facts(series), str(sheets.get(series.id, "-")))
                table.add_row(*(Text(cell) for cell in cells))
        console.print(table)
    if study.skipped:
        passed_over = ", ".join(f"{count} x {what}" for what, count in study.skipped.items())
        talk.print(f"passed over: {printable(passed_over, 1000)}", markup=False, soft_wrap=True)


def _as_json(study: Study, sheets: dict[str, Path], failures: dict[str, AttendingError]) -> dict[str, Any]:
    return {
        "path": str(study.path),
        "patients": [vars(patient) for patient in study.patients],
        "series": [
            {
                "id": series.id,
                "kind": series.kind,
                "modality": series.modality,
                "description": series.description,
                "body_part": series.body_part,
                "sequence": series.sequence,
                "shape": series.shape,
                "channels": series.channels,
                "spacing": series.spacing,
                "orientation": series.orientation,
                "patient": study.patients.index(series.patient),
                "warnings": series.warnings,
                "error": str(failures[series.id]) if series.id in failures else None,
                "contact_sheet": str(sheets[series.id]) if series.id in sheets else None,
            }
            for series in study.series
        ],
        "rejected": [str(error) for error in study.rejected],
        "skipped": study.skipped,
        "files": [str(sheet) for sheet in sheets.values()],
    }
