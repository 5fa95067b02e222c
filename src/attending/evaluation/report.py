"""Report: one HTML page of a run: numbers beside their controls, figures, examples with pictures. Nothing runs."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from attending.consult import NOTICE
from attending.errors import AttendingError, printable
from attending.evaluation import figures
from attending.evaluation.asking import Asker, Lender
from attending.evaluation.figures import Bar
from attending.evaluation.journal import write_whole
from attending.evaluation.runner import Work
from attending.evaluation.shifts import STRENGTHS
from attending.experts import run_expert
from attending.imaging import Picture

WORDS = {
    "blank": "blank picture",
    "shuffled": "another patient's images",
    "text_only": "no picture",
    "majority": "commonest answer",
    "by_question": "usual for its question",
    "no_experts": "without experts",
    "expert_shuffled": "another study's results",
    "expert_adversarial": "contrary results",
    "expert_true": "true results",
}
"""Conditions as people are told them."""
_SIDE = 288
_MAX_TEXT = 200_000
_MAX_EXAMPLE = 1500


def write_report(out: Path, results: Mapping[str, Any], works: Mapping[str, Work]) -> Path:
    """Write `report.html`, one file that needs nothing else.

    Args:
        out: Folder.
        results: What `write_results` wrote.
        works: By task name; where the pictures of the examples come from. One that is not there has none.
    """
    path = out / "report.html"
    write_whole(path, render(results, works))
    return path


def render(results: Mapping[str, Any], works: Mapping[str, Work]) -> str:
    """The page; every value is escaped by the template, whoever wrote it."""
    style = files("attending.evaluation").joinpath("data/report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    tasks = {name: _task(told, works.get(name)) for name, told in results["tasks"].items()}
    return _template().render(
        notice=NOTICE, policy=policy, style=Markup(style), results=results, tasks=tasks, words=WORDS, number=number
    )


def number(value: object) -> str:
    """A value for people: two decimals up to 100; a dash for none."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _task(told: Mapping[str, Any], work: Work | None) -> dict[str, Any]:
    parts = told["parts"]
    overview = [_bar(name, part["metrics"][part["headline"]]) for name, part in parts.items() if _bounded(part)]
    figure = figures.forest(overview, "The headline of each part with its 95% interval") if len(overview) > 1 else None
    return {
        **told,
        "figure": figure,
        "drawn": {name: _part(part, work) for name, part in parts.items()},
        "reliance_figure": _reliance(told["reliance"]) if told.get("reliance") else None,
    }


def _part(part: Mapping[str, Any], work: Work | None) -> dict[str, Any]:
    headline = part["headline"]
    controls = [_bar("as evaluated", part["metrics"][headline])] if _bounded(part) else []
    controls += [
        Bar(WORDS.get(name, name), told["value"], None, None, "control") for name, told in part["controls"].items()
    ]
    drawn: dict[str, Any] = {
        "shifts": _strengths(part.get("shifts") or {}),
        "controls": figures.forest(controls, f"{headline} beside the controls"),
        "groups": {
            name: figures.forest([_cell(key, cell) for key, cell in told["cells"].items()], f"{headline} by {name}")
            for name, told in part["subgroups"].items()
        },
        "examples": [{**one, **_shown(one), "pictures": _pictures(one, work)} for one in part["examples"]],
    }
    if part["confusion"]:
        drawn["confusion"] = figures.confusion(part["confusion"], "Reference against answer")
    if part["calibration"]:
        drawn["reliability"] = figures.reliability(part["calibration"]["bins"], "Stated against observed probability")
    return drawn


def _strengths(told: Mapping[str, Any]) -> dict[str, Markup]:
    """For each strength the values under every shift, with the interval of the fall, beside the unchanged value."""
    drawn = {}
    for strength in STRENGTHS:
        beside = {name: by[strength] for name, by in told.items() if strength in by}
        clean = [Bar("unchanged", one["main"], None, None, "control") for one in list(beside.values())[:1]]
        if beside:
            bars = [*clean, *(_fallen(name, one) for name, one in beside.items())]
            drawn[strength] = figures.forest(bars, f"Pictures changed: {strength}")
    return drawn


def _fallen(name: str, told: Mapping[str, Any]) -> Bar:
    if told["low"] is None:
        return Bar(name, told["value"], None, None)
    most = 1.0 if max(told["main"], told["value"]) <= 1 else math.inf
    return Bar(name, told["value"], max(0.0, told["main"] - told["high"]), min(most, told["main"] - told["low"]))


def _reliance(told: Mapping[str, Any]) -> Markup:
    labels = told["confidence"]
    series: dict[str, Sequence[Bar]] = {
        WORDS.get(name, name): [
            Bar(label, cell["value"], cell["low"], cell["high"]) for label, cell in row["by"].items()
        ]
        for name, row in told["conditions"].items()
        if "by" in row
    }
    return figures.lines(series, labels, "How often the answer follows the expert's result, by the expert's confidence")


def _bounded(part: Mapping[str, Any]) -> bool:
    return bool(part["metrics"][part["headline"]]["higher_is_better"])


def _bar(label: str, told: Mapping[str, Any]) -> Bar:
    return Bar(label, told["value"], told["low"], told["high"])


def _cell(label: str, told: Mapping[str, Any]) -> Bar:
    if "suppressed" in told:
        return Bar(label, None, None, None, "group", str(told["suppressed"]))
    return Bar(f"{label} ({told['samples']})", told["value"], told["low"], told["high"], "group")


def _shown(example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _cut(str(example[name]), _MAX_EXAMPLE) for name in ("question", "options", "reference", "answer", "error")
    }


def _cut(text: str, limit: int = _MAX_TEXT) -> str:
    safe = "\n".join(printable(line, limit) for line in text[:limit].split("\n"))
    return safe + ("…" if len(text) > limit else "")


def _pictures(example: Mapping[str, Any], work: Work | None) -> list[str]:
    """What the model was shown, small, as data addresses; nothing where it cannot be read any more."""
    if work is None:
        return []
    asker = Asker(work.samples, Lender(run_expert), (), 1, True)
    try:
        return [_data(picture) for picture in asker.pictures(work.samples[example["i"]])[:4]]
    except AttendingError:
        return []


def _data(picture: Picture) -> str:
    image = picture.square().to_pil()
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()


@cache
def _template() -> Template:
    text = files("attending.evaluation").joinpath("data/report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_harmless
    )
    return environment.from_string(text)


def _harmless(value: object) -> object:
    """Text without anything that could steer a terminal or turn a line around; the template escapes the rest."""
    return _cut(value) if isinstance(value, str) and not isinstance(value, Markup) else value
