"""`attending demo`: the main job, on a synthetic patient whose truth is known."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attending.cli.asking import Asking, watch
from attending.cli.console import progress, talk

if TYPE_CHECKING:
    from attending.phantom import Case

_SEED = 999_983
"""Of the test split, and used nowhere else: no training and no measurement has seen this patient."""
_STYLE = "A"
_FINDINGS = {"ct": ("liver lesion:count=1,size=30", "effusion:side=right"), "cxr": ("effusion:side=right",)}
QUESTIONS = (
    "What kind of scan is this?",
    "On the CT: is there a liver lesion, and how large is it?",
    "Does the CT show a liver lesion, and does the X-ray show a pleural effusion?",
)
"""One that needs no expert, one that needs one, one that needs two."""
_TOLD = (".html", "-overlay.png", "-mask.nii.gz")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes; made if it is not there.")] = Path(
        "attending-out/demo"
    ),
    model: Annotated[
        str | None, typer.Option(help="Another model than the embedded one: a folder, or http://host:8000/v1#name.")
    ] = None,
) -> None:
    """Ask three questions about a synthetic patient with a CT and a chest X-ray, and compare with the truth.

    The first question needs no expert, the second one, the third two. Every answer leaves a folder with report.html,
    pictures and masks.
    """
    study = make_study(out)
    talk.print(f"a synthetic patient, CT and chest X-ray as DICOM: [bold]{study}[/]", soft_wrap=True)
    asking = Asking(model=model)
    attending = asking.load()
    opened = asking.open(study)
    for number, question in enumerate(QUESTIONS, 1):
        talk.print(f"\n[bold]attending ask {study} {json.dumps(question)}[/]", soft_wrap=True)
        answer = watch(attending.stream(opened, question))
        files = answer.save(out / str(number))
        Asking().finish(answer, None)
        for path in files:
            if path.name.endswith(_TOLD):
                print(path)
    print(f"\nWhat is there in truth ({out / 'truth.json'}):")
    for line in _truth(json.loads((out / "truth.json").read_text(encoding="utf-8"))):
        print(f"  {line}")
    talk.print("\nYour own study: attending ask STUDY QUESTION", soft_wrap=True)


def make_study(out: Path) -> Path:
    """Write the patient's study to `out/study` and what is known of it to `out/truth.json`; what is there is kept.

    Raises:
        InputError: There is a `study` that is none of this, or the folder cannot be written to.
    """
    from attending.errors import InputError
    from attending.phantom import generate
    from attending.phantom.dicom import write_series

    study, truth = out / "study", out / "truth.json"
    if study.exists() and truth.exists():
        return study
    if study.exists():  # no study appears before its truth
        raise InputError("the demo did not make this; choose another --out", path=study)
    aside = out / f".study-{os.getpid()}"
    known: dict[str, Any] = {}
    try:
        aside.mkdir(parents=True)
        with progress("making a synthetic patient", len(_FINDINGS)) as advance:
            for done, (kind, findings) in enumerate(_FINDINGS.items(), 1):
                case: Case = generate(kind, _SEED, _STYLE, findings=findings)
                for name in case.volumes:
                    write_series(case, 0, name, aside / kind)
                known[kind] = case.truth.to_dict()
                advance(done)
        partial = out / f".truth-{os.getpid()}"
        partial.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        partial.replace(truth)
        aside.rename(study)
    except OSError as error:
        raise InputError(f"cannot write here: {error.strerror or error}", path=out, field="--out") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return study


def _truth(known: dict[str, Any]) -> list[str]:
    """A line for each finding that is there."""
    lines = []
    for kind, words in (("ct", "CT"), ("cxr", "chest X-ray")):
        for finding in known[kind]["visits"][-1]["findings"]:
            measured = finding["measurements"]
            facts = [finding["side"]] if finding["side"] else []
            if kind == "ct":
                facts += [f"{measured['longest_axial_diameter_mm']:.0f} mm", f"{measured['volume_ml']:.1f} mL"]
            lines.append(f"{words}: {', '.join([finding['kind'], *facts])}")
    return lines
