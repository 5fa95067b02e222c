"""Tables: what a finding measured and scored, in rows with units, for the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from attending.errors import printable
from attending.experts import Finding
from attending.imaging import Study

_UNITS = {"_ml": ", mL", "_mm": ", mm", "_hu": ", HU", "_cm2": ", cm²", "_percent": ", %"}
_TOLD_ELSEWHERE = {"midline", "inside_share", "components_ml", "perpendicular_diameter_mm", "lowest", "highest"}


@dataclass(frozen=True)
class Table:
    """Attributes: `head`, the columns' names with units; `rows`, a cell of text for each, the first the row's name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Score:
    """A probability.

    Attributes:
        name: Of what.
        value: 0 to 1.
        low: Least of those it is the mean of; None where the expert tells none.
        high: Greatest of them.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @staticmethod
    def percent(value: float) -> str:
        """Where a value lies on a bar of 100, what is no probability at its end."""
        return f"{100 * min(1.0, max(0.0, value)):.1f}"

    @property
    def spread(self) -> str:
        """Least and greatest in words."""
        return "" if self.low is None or self.high is None else f"{self.low:.2f} to {self.high:.2f}"


def measurement_table(finding: Finding, study: Study | None) -> Table | None:
    """The measurements by structure, lesions and large ones first, but for what only a program uses (ends of lines)."""
    measured = {name: facts for name, facts in finding.measurements.items() if set(facts) - _TOLD_ELSEWHERE}
    if not measured:
        return None
    unit = _intensity_unit(finding, study)
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "volume, mL": lambda facts: number(facts.get("volume_ml")),
        "parts": lambda facts: number(facts.get("components")),
        "axial diameters, mm": _diameters,
        f"mean ± SD, {unit}": _intensity,
        "side": lambda facts: printable(facts.get("side") or ""),
        "in": _inside,
        "centre R, A, S, mm": _centre,
    }
    known = {"volume_ml", "components", "longest_axial_diameter_mm", "intensity", "side", "inside", "centroid_ras_mm"}
    pairs = [pair for facts in measured.values() for pair in facts.items()]
    others = {key for key, value in pairs if isinstance(value, int | float | str)} - known - _TOLD_ELSEWHERE
    columns |= {_title(key): partial(_plain, key) for key in sorted(others)}
    names = sorted(measured, key=lambda name: (not is_lesion(measured[name]), -_size(measured[name])))
    cells = {title: [cell(measured[name]) for name in names] for title, cell in columns.items()}
    cells = {title: column for title, column in cells.items() if any(column)}
    rows = zip([printable(name) for name in names], *cells.values(), strict=True)
    return Table(("structure", *cells), tuple(rows))


def is_lesion(facts: Mapping[str, Any]) -> bool:
    """Whether an expert measured this as a lesion: it has a side, or an organ that it lies in."""
    return "side" in facts or "inside" in facts


def score_rows(finding: Finding) -> list[Score]:
    """The probabilities, highest first."""
    rows = []
    for name, value in finding.scores.items():
        facts = finding.measurements.get(name, {})
        low, high = facts.get("lowest"), facts.get("highest")
        told = isinstance(low, int | float) and isinstance(high, int | float)
        rows.append(Score(printable(name).replace("_", " "), float(value), *((low, high) if told else ())))
    return sorted(rows, key=lambda row: -row.value)


def number(value: Any) -> str:
    """A value in a cell: three figures below 10, one decimal below 1000, none above; empty where there is no value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return printable(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _plain(key: str, facts: Mapping[str, Any]) -> str:
    return number(facts.get(key))


def _size(facts: Mapping[str, Any]) -> float:
    size = facts.get("volume_ml")
    return size if isinstance(size, int | float) else 0.0


def _intensity_unit(finding: Finding, study: Study | None) -> str:
    """HU when all series examined are CT; else the scanner's own units."""
    used = [series for series in study.series if series.id in finding.record.inputs] if study else []
    return "HU" if used and all(series.modality == "CT" for series in used) else "arbitrary units"


def _diameters(facts: Mapping[str, Any]) -> str:
    both = [facts.get("longest_axial_diameter_mm"), facts.get("perpendicular_diameter_mm")]
    return " x ".join(number(value) for value in both if value is not None)


def _intensity(facts: Mapping[str, Any]) -> str:
    found = facts.get("intensity")
    if not isinstance(found, Mapping) or "mean" not in found:
        return ""
    return " ± ".join(number(found[key]) for key in ("mean", "sd") if key in found)


def _inside(facts: Mapping[str, Any]) -> str:
    if "inside" not in facts:
        return ""
    share = facts.get("inside_share")
    return printable(facts["inside"]) + (f" ({share:.0%})" if isinstance(share, float) else "")


def _centre(facts: Mapping[str, Any]) -> str:
    found = facts.get("centroid_ras_mm")
    return ", ".join(number(round(float(mm))) for mm in found) if isinstance(found, list | tuple) else ""


def _title(key: str) -> str:
    unit = next((end for end in _UNITS if key.endswith(end)), "")
    return printable(key.removesuffix(unit).replace("_", " ")) + _UNITS.get(unit, "")
