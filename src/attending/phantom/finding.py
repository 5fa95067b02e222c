"""Findings: what can be asked for, what is drawn when nothing is asked for, and how a second visit changes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from attending.errors import InputError
from attending.phantom.random import stream

CHANGES = ("new", "grown", "stable", "smaller", "gone")


class FindingKind(NamedTuple):
    """What a kind of finding may be.

    Attributes:
        label: Id in the label map (VISTA3D's where it has one, 140 and up otherwise; BraTS 1, 2, 4 on MRI).
        studies: Kinds of study that show it.
        sizes: Smallest and largest size in mm; what size means is in `measure`.
        places: Where it may lie.
        sides: `right`, `left`, or empty where the place says it all.
        densities: How it looks.
        most: Largest number in one patient.
        usual: Largest size drawn unless asked for, mm.
    """

    label: int
    studies: tuple[str, ...]
    sizes: tuple[float, float]
    places: tuple[str, ...]
    sides: tuple[str, ...]
    densities: tuple[str, ...]
    most: int
    usual: float


_LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
_LIVER = ("segment II", "segment III", "segment IV", "segment V", "segment VI", "segment VII", "segment VIII")
_RENAL = ("upper pole", "interpolar region", "lower pole")
_BRAIN = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe")
_RIBS = tuple(f"rib {n}" for n in range(3, 10))
_BOTH, _AMOUNT = ("right", "left"), ("small", "moderate", "large")
KINDS: dict[str, FindingKind] = {
    "liver lesion": FindingKind(26, ("ct",), (8, 90), _LIVER, (), ("hypodense", "hyperdense", "cystic"), 4, 45),
    "lung nodule": FindingKind(23, ("ct", "cxr"), (6, 60), _LOBES, (), ("solid", "ground-glass", "calcified"), 4, 32),
    "kidney lesion": FindingKind(116, ("ct",), (8, 45), _RENAL, _BOTH, ("cystic", "solid"), 2, 32),
    "pancreas lesion": FindingKind(24, ("ct",), (8, 26), ("head", "body", "tail"), (), ("hypodense", "cystic"), 1, 26),
    "brain tumor": FindingKind(1, ("mri",), (18, 70), _BRAIN, _BOTH, ("necrotic", "solid"), 1, 55),
    "effusion": FindingKind(141, ("ct", "cxr"), (40, 150), ("pleural space",), _BOTH, _AMOUNT, 2, 110),
    "pneumothorax": FindingKind(142, ("ct", "cxr"), (14, 50), ("pleural space",), _BOTH, _AMOUNT, 1, 40),
    "consolidation": FindingKind(143, ("ct", "cxr"), (30, 110), _LOBES, (), ("patchy", "dense"), 2, 85),
    "atelectasis": FindingKind(144, ("ct", "cxr"), (30, 90), ("lower zone",), _BOTH, ("linear",), 2, 80),
    "edema": FindingKind(145, ("ct", "cxr"), (40, 90), ("both lungs",), (), ("mild", "severe"), 1, 90),
    "fracture": FindingKind(146, ("ct", "cxr"), (10, 24), _RIBS, _BOTH, ("displaced",), 2, 24),
    "cardiomegaly": FindingKind(115, ("ct", "cxr"), (150, 190), ("heart",), (), ("enlarged",), 1, 185),
}  # fmt: skip
MARGINS = ("smooth", "lobulated", "spiculated")


def kinds_on(study: str) -> list[str]:
    """Kinds of finding that a study can show."""
    return [name for name, kind in KINDS.items() if study in kind.studies]


@dataclass(frozen=True)
class Finding:
    """One finding of one patient.

    Attributes:
        id: `f1`, `f2`, ...; the same finding has the same id on both visits.
        kind: A key of `KINDS`.
        place: Lobe, segment, pole or part.
        side: `right`, `left` or empty.
        size: Size asked for, mm; the truth file holds what the label map says.
        density: How it looks.
        margin: One of `MARGINS`.
        seed: Stream of its shape, so that it keeps its shape between visits.
        change: Against the earlier visit: one of `CHANGES`, or empty on a first visit.
        before: Size on the earlier visit, mm; 0 where it was not there.
        center: Centre of a focal lesion in the canonical body, mm.
    """

    id: str
    kind: str
    place: str
    side: str
    size: float
    density: str
    margin: str
    seed: int
    change: str = ""
    before: float = 0.0
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def label(self) -> int:
        """Its id in the label map."""
        if self.kind == "kidney lesion":
            return 140 if self.density == "solid" else (117 if self.side == "right" else 116)
        return KINDS[self.kind].label


@dataclass(frozen=True)
class Request:
    """A wish for findings of one kind; what is left None is drawn.

    Attributes:
        kind: A key of `KINDS`.
        count: How many.
        size: mm.
        side: `right` or `left`.
        place: One of the kind's places.
        density: One of the kind's densities.
        margin: One of `MARGINS`.
        change: One of `CHANGES`, for two visits.
    """

    kind: str
    count: int = 1
    size: float | None = None
    side: str | None = None
    place: str | None = None
    density: str | None = None
    margin: str | None = None
    change: str | None = None

    @classmethod
    def parse(cls, text: str) -> Request:
        """Read `liver lesion` or `liver lesion:count=2,size=30,place=segment V`.

        Raises:
            InputError: An unknown field or a number that is none.
        """
        kind, _, rest = text.partition(":")
        fields: dict[str, str | int | float] = {}
        for part in filter(None, rest.split(",")):
            name, _, value = (p.strip() for p in part.partition("="))
            if name not in cls.__dataclass_fields__ or name == "kind":
                allowed = ", ".join(f for f in cls.__dataclass_fields__ if f != "kind")
                raise InputError(f"unknown field; allowed are {allowed}", field="finding", value=name)
            try:
                fields[name] = int(value) if name == "count" else float(value) if name == "size" else value
            except ValueError:
                raise InputError("expected a number", field=f"finding {name}", value=value) from None
        return cls(kind.strip(), **fields)  # type: ignore[arg-type]

    def check(self, study: str, visits: int) -> None:
        """Refuse what cannot be drawn.

        Raises:
            InputError: Says which field, and what is allowed.
        """
        allowed = [k for k, v in KINDS.items() if study in v.studies]
        _member(self.kind, allowed, f"finding on {study}")
        kind = KINDS[self.kind]
        if not 1 <= self.count <= kind.most:
            raise InputError(f"expected 1 to {kind.most} for {self.kind}", field="count", value=self.count)
        if self.size is not None and not kind.sizes[0] <= self.size <= kind.sizes[1]:
            low, high = kind.sizes
            raise InputError(
                f"{self.kind} can be {low:g} to {high:g} mm, or it would not fit", field="size", value=self.size
            )
        for name, value, among in (
            ("side", self.side, kind.sides),
            ("place", self.place, kind.places),
            ("density", self.density, kind.densities),
            ("margin", self.margin, MARGINS),
            ("change", self.change, CHANGES),
        ):
            if value is not None:
                _member(value, among, name)
        if self.change is not None and visits == 1:
            raise InputError("a change needs two visits", field="change", value=self.change)


def _member(value: str, allowed: Sequence[str], field: str) -> None:
    if value not in allowed:
        raise InputError(f"expected {', '.join(allowed) if allowed else 'nothing here'}", field=field, value=value)


def draw_findings(seed: int, study: str, requests: Sequence[Request] | None, visits: int) -> tuple[Finding, ...]:
    """The findings of a case, those that are gone at the last visit included.

    Args:
        seed: Seed of the case.
        study: `ct`, `mri` or `cxr`.
        requests: What was asked for; None draws kinds at random, an empty list means none.
        visits: 1 or 2.

    Raises:
        InputError: An impossible request.
    """
    rng = stream(seed, "findings", study)
    if requests is None:
        requests = _random_requests(rng, study)
    for request in requests:
        request.check(study, visits)
    found: list[Finding] = []
    for request in requests:
        used: set[tuple[str, str]] = set()
        for _ in range(request.count):
            finding = _draw(rng, request, len(found) + 1, used, visits)
            used.add((finding.place, finding.side))
            found.append(finding)
    return tuple(found)


def _random_requests(rng: np.random.Generator, study: str) -> list[Request]:
    """About a third of the cases have nothing; the others one to three kinds."""
    kinds = [k for k, v in KINDS.items() if study in v.studies]
    if study == "mri":
        return [Request("brain tumor")] if rng.random() < 0.65 else []
    if rng.random() < 0.3:
        return []
    # On CT mostly lesions: the other findings are told better on radiographs.
    weight = np.array([4, 3, 3, 2, 1, 0.5, 1, 0.5, 0.5, 0.5, 0.5]) if study == "ct" else np.ones(len(kinds))
    chosen = rng.choice(
        len(kinds), int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])), replace=False, p=weight / weight.sum()
    )
    return [
        Request(kinds[i], count=int(rng.integers(1, KINDS[kinds[i]].most + 1)) if rng.random() < 0.5 else 1)
        for i in sorted(chosen)
    ]


def _draw(rng: np.random.Generator, wish: Request, number: int, used: set[tuple[str, str]], visits: int) -> Finding:
    kind = KINDS[wish.kind]
    options = [
        (place, side)
        for place in ([wish.place] if wish.place else kind.places)
        for side in ([wish.side] if wish.side else kind.sides or ("",))
    ]
    free = [o for o in options if o not in used] or options
    place, side = free[int(rng.integers(len(free)))]
    low, high = kind.sizes[0], min(kind.sizes[1], kind.usual)
    size = wish.size or float(np.exp(rng.uniform(np.log(low * 1.15), np.log(high))))
    density = wish.density or _density(rng, wish.kind, size)
    margin = wish.margin or str(rng.choice(MARGINS[: 3 if wish.kind == "lung nodule" else 2]))
    finding = Finding(f"f{number}", wish.kind, place, side, round(size, 1), density, margin, int(rng.integers(2**31)))
    change = str(rng.choice(CHANGES))  # drawn on single visits too, so that the later draws stay the same
    factor = float(rng.uniform(1.3, 1.7))
    if visits == 1:
        return finding
    return _with_change(finding, wish.change or change, factor)


def _density(rng: np.random.Generator, kind: str, size: float) -> str:
    options = KINDS[kind].densities
    if kind in ("effusion", "pneumothorax"):  # the word follows from the size
        low, high = KINDS[kind].sizes
        return options[0 if size < low + (high - low) * 0.3 else 1 if size < low + (high - low) * 0.6 else 2]
    if kind == "edema":
        return options[int(size > 62)]
    return str(rng.choice(options))


def _with_change(finding: Finding, change: str, factor: float) -> Finding:
    """Sizes on both visits; both stay within what can be drawn."""
    low, high = KINDS[finding.kind].sizes
    size, step = finding.size, min(1.3, high / low)
    if change == "grown":
        before = round(max(low, size / factor), 1)
        return replace(finding, change=change, before=before, size=max(size, round(low * step, 1)))
    if change == "smaller":
        before = round(min(high, size * factor), 1)
        return replace(finding, change=change, before=before, size=min(size, round(high / step, 1)))
    return replace(
        finding, change=change, before=0.0 if change == "new" else size, size=0.0 if change == "gone" else size
    )


def at_visit(findings: Sequence[Finding], visit: int, visits: int) -> tuple[Finding, ...]:
    """The findings present on a visit (0 is the first), with their size then."""
    if visits == 1 or visit == 1:
        return tuple(f for f in findings if f.size > 0)
    return tuple(replace(f, size=f.before, change="", before=0.0) for f in findings if f.before > 0)
