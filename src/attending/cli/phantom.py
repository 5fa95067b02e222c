"""`attending phantom`: synthetic studies with exact truth."""

import json
from pathlib import Path
from typing import Annotated

import typer

from attending.cli.console import progress


def phantom(
    kind: Annotated[str, typer.Option(help="ct (thorax and abdomen), mri (brain, four sequences) or cxr.")] = "ct",
    number: Annotated[int, typer.Option("--n", help="Number of cases.")] = 1,
    seed: Annotated[int, typer.Option(help="First seed within the split; a seed is a patient.")] = 0,
    style: Annotated[str, typer.Option(help="Hospital; several, separated by commas, take turns.")] = "A",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; run again to go on.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test: seeds that never meet.")] = "train",
    visits: Annotated[int, typer.Option(help="2 adds an earlier visit.")] = 1,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as 'liver lesion:count=2,size=30'; repeat for more; 'none' for healthy. Drawn if not given."
        ),
    ] = None,
    tie: Annotated[
        str | None, typer.Option(help="Plant a bias, such as 'effusion:sex=F,share=0.9' or 'edema:age=70-90'.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="What to write, separated by commas.")] = "dicom,nifti,png",
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
    check_train: Annotated[list[Path] | None, typer.Option(help="Check instead: a folder of training cases.")] = None,
    check_test: Annotated[list[Path] | None, typer.Option(help="Check instead: a folder of test cases.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make synthetic studies whose every voxel, measurement, question and sentence is known."""
    if check_train or check_test:
        _check(check_train or [], check_test or [], as_json)
        return
    if out is None:
        raise typer.BadParameter("needed, unless splits are checked", param_hint="--out")
    from attending.phantom.dataset import Plan, build

    wishes = None if finding is None else tuple(f for f in finding if f != "none")
    styles, wanted = (tuple(part.strip() for part in text.split(",")) for text in (style, formats))
    plan = Plan(kind, number, seed, split, styles, visits, wishes, wanted, tie=tie)
    with progress(f"{kind} phantoms", number) as advance:
        result = build(plan, out, workers or None, lambda done, _: advance(done))
    if as_json:
        print(json.dumps({"folder": str(out), "written": result.written, "present": result.present, "split": split}))
    else:
        kept = f", {result.present} were there" if result.present else ""
        print(f"{result.written} cases written{kept}: {out}")


def _check(training: list[Path], testing: list[Path], as_json: bool) -> None:
    from attending.phantom.splits import check_apart

    train, test = check_apart(training, testing)
    if as_json:
        print(json.dumps({"training": train, "test": test, "leaks": 0}))
    else:
        print(f"{train} training cases and {test} test cases share no seed")
