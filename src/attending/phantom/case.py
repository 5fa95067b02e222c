"""Case: one patient's study or two visits, generated from a seed, with everything that is known about it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging import Volume
from attending.phantom.finding import KINDS, Finding, Request, at_visit, draw_findings
from attending.phantom.patient import Patient, Tie, draw_patient
from attending.phantom.random import stream
from attending.phantom.splits import split_of
from attending.phantom.style import Style, get_style

if TYPE_CHECKING:
    from attending.phantom.truth import Truth

STUDIES = ("ct", "mri", "cxr")
_EPOCH = datetime.date(2020, 1, 1)


@dataclass(frozen=True, eq=False)
class Visit:
    """The images of one visit.

    Attributes:
        date: Study date.
        volumes: Images by name: `ct`; `t1`, `t1ce`, `t2`, `flair`; or `frontal`, a radiograph `[X, 1, Z]` of 0 to 4095.
        labels: Label ids `[X, Y, Z]` uint8: VISTA3D's on CT, BraTS on MRI; on radiographs `[C, X, 1, Z]` with a
            channel per name in `channels`, since shadows overlap.
        instances: `[X, Y, Z]` uint8 with n for the n-th of `findings`; on radiographs `[C, X, 1, Z]`.
        findings: Those present, in that order.
        tissue: Tissue ids of a head (`attending.phantom.brain.TISSUES`), or None.
        channels: Names of the channels of a radiograph's `labels`.
        facts: What else is known: contrast phase, detector geometry, volumes behind shadows.
    """

    date: datetime.date
    volumes: dict[str, Volume]
    labels: Volume
    instances: Volume
    findings: tuple[Finding, ...]
    tissue: Volume | None = None
    channels: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Case:
    """One patient's study with its truth.

    Attributes:
        kind: `ct`, `mri` or `cxr`.
        seed: What it was made from.
        style: The hospital.
        patient: Who.
        findings: Of all visits, those that are gone included.
        visits: One or two, in order of time.
        split: `train`, `validation` or `test`, by seed.
    """

    kind: str
    seed: int
    style: Style
    patient: Patient
    findings: tuple[Finding, ...]
    visits: tuple[Visit, ...]
    split: str

    @property
    def id(self) -> str:
        """Name of the case's folder."""
        return f"{self.kind}-{self.style.name}-{self.seed:08d}"

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
        from attending.phantom.truth import tell

        return tell(self)


@cache
def label_names(kind: str) -> dict[int, str]:
    """Names by label id: VISTA3D's and our own for `ct`, BraTS for `mri`."""
    import tomllib

    table = tomllib.loads(files("attending.phantom").joinpath("data/labels.toml").read_text(encoding="utf-8"))
    names = {int(k): v for k, v in table["mri" if kind == "mri" else "ct"].items()}
    if kind != "mri":
        names |= {37 - i: f"vertebrae L{i + 1}" for i in range(5)} | {49 - i: f"vertebrae T{i + 1}" for i in range(12)}
        names |= {62 + i: f"left rib {i}" for i in range(1, 13) if 62 + i > 62} | {
            74 + i: f"right rib {i}" for i in range(1, 13)
        }
        names[62] = "colon"
    return dict(sorted(names.items()))


def generate(
    kind: str,
    seed: int,
    style: str = "A",
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
        style: Name of a hospital (`attending.phantom.styles`).
        visits: 2 adds an earlier visit.
        findings: Requests such as `"liver lesion:count=2,size=30"`; `[]` for a healthy patient; None draws at random,
            independently of sex, age and build.
        shape: Voxels along R, A, S; for a radiograph `(n, 1, n)`.
        tie: A planted link between a finding and who has it, such as `"effusion:sex=F,share=0.9"`.

    Raises:
        InputError: An impossible request: unknown kind, style, finding, or a size that does not fit.
        NotAvailableError: scipy is not installed.
    """
    _need_scipy()
    from attending.phantom.lesion import place_lesions

    if kind not in STUDIES:
        raise InputError(f"expected one of {', '.join(STUDIES)}", field="kind", value=kind)
    if visits not in (1, 2):
        raise InputError("expected 1 or 2", field="visits", value=visits)
    hospital, split = get_style(style), split_of(seed)
    _check_shape(kind, shape)
    wishes = None if findings is None else [f if isinstance(f, Request) else Request.parse(f) for f in findings]
    link = None if tie is None else Tie.parse(tie, KINDS)
    drawn = place_lesions(draw_findings(seed, kind, wishes, visits), wishes is not None)
    patient = draw_patient(seed, link if link and any(f.kind == link.finding for f in drawn) else None)
    taken = _days(seed, visits)
    seen: list[Visit] = []
    for index, date in enumerate(taken):
        present = at_visit(drawn, index, visits)
        visit = _SCANNERS[kind](patient, seed, hospital, present, index, shape, date)
        seen.append(_only_visible(visit, wishes is not None))
    shown = {f.id for v in seen for f in v.findings}
    drawn = tuple(_settle(f, seen) for f in drawn if f.id in shown)
    return Case(kind, seed, hospital, patient, drawn, tuple(seen), split)


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


def _need_scipy() -> None:
    from importlib.util import find_spec

    from attending.errors import NotAvailableError

    if find_spec("scipy") is None:
        raise NotAvailableError("phantoms need scipy; install it with: pip install 'attending[phantom]'")


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


def _scan_ct(
    patient: Patient,
    seed: int,
    style: Style,
    findings: tuple[Finding, ...],
    index: int,
    shape: Any,
    date: datetime.date,
) -> Visit:
    from attending.phantom.ct import SHAPE, scan_ct

    scan = scan_ct(patient, seed, style, findings, index, shape or SHAPE)
    affine = scan.grid.affine
    return Visit(
        date,
        {"ct": Volume(scan.value, affine, "CT")},
        Volume(scan.label, affine),
        Volume(scan.instance, affine),
        findings,
        facts=dict(scan.facts),
    )


def _scan_mri(
    patient: Patient,
    seed: int,
    style: Style,
    findings: tuple[Finding, ...],
    index: int,
    shape: Any,
    date: datetime.date,
) -> Visit:
    from attending.phantom.mri import SHAPE, scan_brain

    brain = scan_brain(patient, seed, style, findings, index, shape or SHAPE)
    affine = brain.grid.affine
    volumes = {name: Volume(value, affine, "MR") for name, value in brain.values.items()}
    return Visit(
        date,
        volumes,
        Volume(brain.tumor, affine),
        Volume((brain.tumor > 0).astype(np.uint8), affine),
        findings,
        Volume(brain.tissue, affine),
    )


def _scan_cxr(
    patient: Patient,
    seed: int,
    style: Style,
    findings: tuple[Finding, ...],
    index: int,
    shape: Any,
    date: datetime.date,
) -> Visit:
    from attending.phantom.xray import SIZE, take_radiograph

    film = take_radiograph(patient, seed, style, findings, index, shape[0] if shape else SIZE)
    affine = film.detector.affine
    value = np.rint(film.value * 4095).astype(np.uint16)[:, None, :]
    names = (*film.organs, *(f.id for f in findings))
    masks = [*film.organs.values(), *film.masks]
    stack: npt.NDArray[np.uint8] = np.stack(masks).astype(np.uint8)[:, :, None, :]
    facts = {
        "volumes_ml": dict(zip([f.id for f in findings], film.volumes, strict=True)),
        "detector": {**film.detector._asdict(), "center": list(film.detector.center)},
    }
    instances = Volume(stack[len(film.organs) :] if findings else np.zeros((1, *stack.shape[1:]), np.uint8), affine)
    return Visit(
        date,
        {"frontal": Volume(value, affine, "DX")},
        Volume(stack, affine),
        instances,
        findings,
        channels=names,
        facts=facts,
    )


_SCANNERS = {"ct": _scan_ct, "mri": _scan_mri, "cxr": _scan_cxr}


def _only_visible(visit: Visit, asked: bool) -> Visit:
    """Drop findings that left no voxel: another lies over them, or they are outside the field of view.

    Raises:
        InputError: One of them was asked for.
    """
    array = visit.instances.array
    hit = [
        bool(array[i].any()) if array.ndim == 4 else bool((array == i + 1).any()) for i in range(len(visit.findings))
    ]
    if all(hit):
        return visit
    lost = [f for f, h in zip(visit.findings, hit, strict=True) if not h]
    if asked:
        names = ", ".join(f"{f.kind} ({f.side or f.place})" for f in lost)
        raise InputError(
            "would be hidden by another finding or fall outside the picture; ask for another place or fewer",
            field="findings",
            value=names,
        )
    kept = [i for i, h in enumerate(hit) if h]
    findings = tuple(visit.findings[i] for i in kept)
    if array.ndim == 4:
        organs = len(visit.channels) - len(hit)
        rows = [*range(organs), *(organs + i for i in kept)]
        channels = tuple(visit.channels[i] for i in rows)
        instances = array[kept] if kept else np.zeros_like(array[:1])
        labels = replace(visit.labels, array=visit.labels.array[rows])
        shadows = replace(visit.instances, array=instances)
        return replace(visit, findings=findings, channels=channels, labels=labels, instances=shadows)
    table = np.zeros(256, np.uint8)
    for new, old in enumerate(kept):
        table[old + 1] = new + 1
    return replace(visit, findings=findings, instances=replace(visit.instances, array=table[array]))


def _settle(finding: Finding, visits: list[Visit]) -> Finding:
    """A finding hidden at one of two visits counts as new or gone."""
    if len(visits) == 1:
        return finding
    before, now = (any(f.id == finding.id for f in v.findings) for v in visits)
    if before and now:
        return finding
    return replace(finding, change="gone", size=0.0) if before else replace(finding, change="new", before=0.0)
