"""Case: one patient's study or two visits, generated from a seed, with everything that is known about it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from attending.errors import InputError
from attending.imaging import Volume
from attending.phantom.finding import KINDS, Finding, Request, at_visit, draw_findings
from attending.phantom.lesion import place_lesions
from attending.phantom.patient import Tie, draw_patient
from attending.phantom.random import stream
from attending.phantom.scan import Order, scan
from attending.phantom.splits import split_of
from attending.phantom.study import STUDIES, Subject, Visit
from attending.phantom.style import Style, get_style
from attending.phantom.truth import Truth, tell

_EPOCH = datetime.date(2020, 1, 1)


@dataclass(frozen=True, eq=False)
class Case(Subject):
    """One patient's study with its truth.

    Attributes:
        visits: One or two, in order of time.
    """

    visits: tuple[Visit, ...]

    @property
    def volumes(self) -> dict[str, Volume]:
        """Images of the latest visit."""
        return self.visits[-1].volumes

    @property
    def labels(self) -> Volume:
        """Labels of the latest visit."""
        return self.visits[-1].labels

    @cached_property
    def truth(self) -> Truth:
        """Measurements, scene graph, report and questions; made when first asked for."""
        return tell(self, self.visits)


def generate(
    kind: str,
    seed: int,
    style: str | Style = "A",
    *,
    visits: int = 1,
    findings: Iterable[str | Request] | None = None,
    shape: tuple[int, int, int] | None = None,
    tie: str | None = None,
) -> Case:
    """Make one case; the same arguments give the same voxels and words in every process.

    Args:
        kind: `ct` (thorax and abdomen), `mri` (brain, four sequences) or `cxr` (frontal radiograph).
        seed: 0 to 999,999; decides patient, findings and split.
        style: A hospital, or the name of one (`attending.phantom.styles`).
        visits: 2 adds an earlier visit.
        findings: Requests such as `"liver lesion:count=2,size=30"`; `[]` for a healthy patient; None draws at random,
            independently of sex, age and build.
        shape: Voxels along R, A, S; for a radiograph `(n, 1, n)`.
        tie: A planted link between a finding and who has it, such as `"effusion:sex=F,share=0.9"`.

    Raises:
        InputError: An impossible request: unknown kind, style, finding, or a size that does not fit.
    """
    if kind not in STUDIES:
        raise InputError(f"expected one of {', '.join(STUDIES)}", field="kind", value=kind)
    if visits not in (1, 2):
        raise InputError("expected 1 or 2", field="visits", value=visits)
    hospital, split = style if isinstance(style, Style) else get_style(style), split_of(seed)
    _check_shape(kind, shape)
    wishes = None if findings is None else [f if isinstance(f, Request) else Request.parse(f) for f in findings]
    link = None if tie is None else Tie.parse(tie, KINDS)
    drawn = place_lesions(draw_findings(seed, kind, wishes, visits), wishes is not None)
    patient = draw_patient(seed, link if link and any(f.kind == link.finding for f in drawn) else None)
    taken = _days(seed, visits)
    seen: list[Visit] = []
    for index, date in enumerate(taken):
        present = at_visit(drawn, index, visits)
        seen.append(scan(kind, Order(patient, seed, hospital, present, index, shape, date), wishes is not None))
    shown = {f.id for v in seen for f in v.findings}
    drawn = tuple(_settle(f, seen) for f in drawn if f.id in shown)
    return Case(kind, seed, hospital, patient, drawn, split, tuple(seen))


def stream_cases(
    kind: str,
    seeds: Iterable[int],
    style: str | Sequence[str] = "A",
    *,
    visits: int = 1,
    findings: Iterable[str | Request] | None = None,
) -> Iterator[Case]:
    """Cases one after another, nothing written to disk; several styles take turns by seed."""
    names = [style] if isinstance(style, str) else list(style)
    wishes = None if findings is None else list(findings)
    for seed in seeds:
        yield generate(kind, seed, names[seed % len(names)], visits=visits, findings=wishes)


def _check_shape(kind: str, shape: tuple[int, int, int] | None) -> None:
    if shape is None:
        return
    low, high = (128, 1024) if kind == "cxr" else (48, 512)
    sides = shape[::2] if kind == "cxr" else shape
    if (
        len(shape) != 3
        or not all(low <= n <= high for n in sides)
        or (kind == "cxr" and (shape[1] != 1 or shape[0] != shape[2]))
    ):
        what = f"(n, 1, n) with n from {low} to {high}" if kind == "cxr" else f"three numbers from {low} to {high}"
        raise InputError(f"expected {what}", field="shape", value=shape)


def _days(seed: int, visits: int) -> list[datetime.date]:
    rng = stream(seed, "dates")
    last = _EPOCH + datetime.timedelta(days=int(rng.integers(400, 1400)))
    return [last - datetime.timedelta(days=int(rng.integers(60, 380))), last][-visits:]


def _settle(finding: Finding, visits: list[Visit]) -> Finding:
    """A finding hidden at one of two visits counts as new or gone."""
    if len(visits) == 1:
        return finding
    before, now = (any(f.id == finding.id for f in v.findings) for v in visits)
    if before and now:
        return finding
    return replace(finding, change="gone", size=0.0) if before else replace(finding, change="new", before=0.0)
