"""Figures: values with intervals, reliability, confusion and lines as inline SVG; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from attending.errors import printable

_ROW = 26
_LABEL = 165
_PLOT = 220
_VALUE = 125
_CELL = 46


class Bar(NamedTuple):
    """One value: its label, bounds where known, `main`, `control` or `group`, and what is said where it is None."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    kind: str = "main"
    note: str = ""


def forest(bars: Sequence[Bar], title: str) -> Markup:
    """Values with their intervals on one scale: 0 to 1, or to the largest bound where that is above 1."""
    known = [one for bar in bars for one in (bar.value, bar.low, bar.high) if one is not None]
    top = max([1.0, *known])
    bottom = min([0.0, *known])
    height = _ROW * len(bars) + 24

    def x(number: float) -> float:
        return _LABEL + _PLOT * (number - bottom) / (top - bottom)

    parts = [_line(x(tick), 4, x(tick), height - 20, "grid") for tick in _ticks(bottom, top)]
    parts += [_text(x(tick), height - 6, f"{tick:g}", "tick middle") for tick in _ticks(bottom, top)]
    for number, bar in enumerate(bars):
        y = _ROW * number + 16
        parts.append(_text(_LABEL - 10, y + 4, _short(bar.label, 25), "end"))
        if bar.value is None:
            parts.append(_text(_LABEL + 6, y + 4, bar.note or "not defined", "quiet"))
            continue
        if bar.low is not None and bar.high is not None:
            parts.append(_line(x(bar.low), y, x(bar.high), y, f"range {bar.kind}"))
        parts.append(Markup('<circle cx="{:.1f}" cy="{}" r="4.5" class="{}"/>').format(x(bar.value), y, bar.kind))
        parts.append(_text(_LABEL + _PLOT + 14, y + 4, _told(bar), "number"))
    return _svg(_LABEL + _PLOT + _VALUE, height, title, parts)


def reliability(bins: Sequence[dict[str, Any]], title: str) -> Markup:
    """Stated probability against how often it came true; the area of a point is its share of the samples."""
    size, edge = 240, 42
    most = max((int(one["samples"]) for one in bins), default=1) or 1
    parts = [_line(edge, size + 10, edge + size, 10, "diagonal")]
    for tick in (0, 0.5, 1):
        parts.append(_text(edge + size * tick, size + 26, f"{tick:g}", "tick middle"))
        parts.append(_text(edge - 6, size + 14 - size * tick, f"{tick:g}", "tick end"))
    parts.append(Markup('<rect x="{}" y="10" width="{}" height="{}" class="frame"/>').format(edge, size, size))
    for one in bins:
        if one["samples"] and one["probability"] is not None and one["rate"] is not None:
            x, y = edge + size * one["probability"], 10 + size * (1 - one["rate"])
            radius = 3 + 9 * (one["samples"] / most) ** 0.5
            tip = f"{one['samples']} answers said {one['probability']:.0%}; {one['rate']:.0%} were yes"
            mark = '<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="main soft"><title>{}</title></circle>'
            parts.append(Markup(mark).format(x, y, radius, tip))
    parts.append(_text(edge + size / 2, size + 44, "probability of yes, as stated", "tick middle"))
    parts.append(_text(edge, 4 + 3, "truly yes", "tick"))
    return _svg(edge + size + 20, size + 52, title, parts)


def confusion(table: dict[str, Any], title: str) -> Markup:
    """Counts by reference (rows) and answer (columns), each row shaded by its shares; up to 12 classes."""
    truths, answers = list(map(str, table["truth"]))[:12], list(map(str, table["answer"]))[:13]
    left = 130
    parts = [_text(left + _CELL * (j + 0.5), 30, _short(name, 9), "tick middle") for j, name in enumerate(answers)]
    parts.append(_text(left, 12, "answer", "tick"))
    for i, name in enumerate(truths):
        total = sum(table["counts"][i]) or 1
        parts.append(_text(left - 8, 38 + _CELL * (i + 0.58), _short(name, 18), "end"))
        for j, _ in enumerate(answers):
            count = int(table["counts"][i][j])
            kind = "right" if answers[j] == name else "wrong"
            cell = '<rect x="{:.0f}" y="{:.0f}" width="{}" height="{}" class="cell {}" fill-opacity="{:.2f}"/>'
            x, y = left + _CELL * j, 38 + _CELL * i
            parts.append(Markup(cell).format(x, y, _CELL - 2, _CELL - 2, kind, 0.06 + 0.8 * count / total))
            parts.append(_text(x + _CELL / 2 - 1, y + _CELL * 0.6, str(count), "middle"))
    return _svg(left + _CELL * len(answers) + 10, 44 + _CELL * len(truths), title, parts)


def lines(series: dict[str, Sequence[Bar]], labels: Sequence[str], title: str) -> Markup:
    """One line with intervals for each name over the same places, values 0 to 1."""
    wide, high, edge = 420, 200, 42
    step = wide / max(1, len(labels))
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = 10 + high * (1 - tick)
        parts += [_line(edge, y, edge + wide, y, "grid"), _text(edge - 6, y + 4, f"{tick:g}", "tick end")]
    parts += [
        _text(edge + step * (k + 0.5), high + 28, _short(name, 14), "tick middle") for k, name in enumerate(labels)
    ]
    for number, (name, bars) in enumerate(series.items()):
        shift = (number - (len(series) - 1) / 2) * 9
        points = []
        for k, bar in enumerate(bars):
            if bar.value is None:
                continue
            x, y = edge + step * (k + 0.5) + shift, 10 + high * (1 - bar.value)
            points.append(f"{x:.1f},{y:.1f}")
            if bar.low is not None and bar.high is not None:
                parts.append(_line(x, 10 + high * (1 - bar.low), x, 10 + high * (1 - bar.high), f"range line{number}"))
            tip = Markup("<title>{}: {}</title>").format(name, _told(bar))
            dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4.5" class="line{}">{}</circle>')
            parts.append(dot.format(x, y, number, tip))
        parts.append(Markup('<polyline points="{}" class="path line{}"/>').format(" ".join(points), number))
        parts.append(
            Markup('<circle cx="{}" cy="{}" r="4.5" class="line{}"/>').format(
                edge + wide + 22, 20 + 20 * number, number
            )
        )
        parts.append(_text(edge + wide + 32, 24 + 20 * number, _short(name, 24), ""))
    return _svg(edge + wide + 200, high + 40, title, parts)


def _told(bar: Bar) -> str:
    if bar.value is None:
        return "not defined"
    bounds = f" [{bar.low:.2f}, {bar.high:.2f}]" if bar.low is not None and bar.high is not None else ""
    return f"{bar.value:.2f}{bounds}"


def _ticks(bottom: float, top: float) -> list[float]:
    if top <= 1:
        return [tick for tick in (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0) if bottom <= tick <= top]
    step = top / 4
    return [round(bottom + step * number, 1) for number in range(5) if bottom + step * number <= top]


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, kind, printable(text))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def _svg(width: float, height: float, title: str, parts: Iterable[Markup]) -> Markup:
    head = '<svg viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" role="img" xmlns="http://www.w3.org/2000/svg"><title>{}</title>'
    return Markup(head).format(width, height, width, printable(title)) + Markup("").join(parts) + Markup("</svg>")
