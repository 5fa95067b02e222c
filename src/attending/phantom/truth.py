"""Truth: everything known about a case, measured from its label maps and put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from attending.imaging import Volume
from attending.phantom.finding import Finding
from attending.phantom.questions import ask
from attending.phantom.report import write_report
from attending.phantom.study import Subject, Visit, label_names
from attending.phantom.wording import reserved_share
from attending.spatial import centroid, frontal_diameter, measure, region, regions, volume_ml

VERSION = 2
_ORGANS = (1, 3, 4, 5, 14, 6, 12, 10, 15, 28, 29, 30, 31, 32, 115)


@dataclass(frozen=True)
class Truth:
    """What `truth.json` holds.

    Attributes:
        version: Layout of this record.
        case: Case id.
        kind: `ct`, `mri` or `cxr`.
        seed: Seed.
        split: Split of the seed.
        style: Hospital: name and title.
        patient: Demographics.
        visits: Per visit: date, files, organs and findings with measurements, facts.
        scene: Scene graph of the latest visit: nodes, and edges (from, relation, to).
        report: Report of the latest visit: sections of sentences, each with what it rests on.
        questions: Questions with answers about the latest visit (comparisons: both).
        reserved_share: Share of phrasings that only test cases may use.
    """

    version: int
    case: str
    kind: str
    seed: int
    split: str
    style: dict[str, str]
    patient: dict[str, Any]
    visits: list[dict[str, Any]]
    scene: dict[str, Any]
    report: dict[str, Any]
    questions: list[dict[str, Any]]
    reserved_share: float

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


def tell(case: Subject, visits: Sequence[Visit]) -> Truth:
    """Measure the label maps of a case's visits and write its report and questions."""
    told = [_visit(case, visit) for visit in visits]
    changes = _changes(case, told)
    patient = {k: v for k, v in asdict(case.patient).items() if k not in ("fat", "girth")}
    report = write_report(case, told[-1], changes, told[0]["date"] if len(told) == 2 else "")
    questions = ask(case, told[-1], changes, report)
    return Truth(
        version=VERSION,
        case=case.id,
        kind=case.kind,
        seed=case.seed,
        split=case.split,
        style={"name": case.style.name, "title": case.style.title},
        patient=patient,
        visits=told,
        scene=_scene(told[-1]),
        report=report,
        questions=questions,
        reserved_share=round(reserved_share(), 3),
    )


def _visit(case: Subject, visit: Visit) -> dict[str, Any]:
    facts = dict(visit.facts)
    if case.kind == "cxr":
        facts["cardiothoracic_ratio"] = _ratio(visit)
        findings = [_shadow_of_finding(visit, i, f) for i, f in enumerate(visit.findings)]
    else:
        places = regions(visit.instances)
        findings = [_finding(visit, places[i], f) for i, f in enumerate(visit.findings, 1)]
    return {
        "date": visit.date.isoformat(),
        "images": sorted(visit.volumes),
        "organs": _shadows(visit) if case.kind == "cxr" else _organs(case.kind, visit.labels),
        "findings": findings,
        "facts": facts,
    }


def _words(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id, "kind": finding.kind, "label": finding.label, "place": finding.place, "side": finding.side,
        "density": finding.density, "margin": finding.margin, "size_asked_mm": finding.size,
    }  # fmt: skip


def _box(found: Volume, grid: Volume) -> list[list[int]]:
    """First voxel and the one after the last of a region, along each axis of the grid that it was cut from."""
    first = np.rint(grid.to_voxels(found.affine[:3, 3])).astype(int).tolist()
    return [[a, a + n] for a, n in zip(first, found.shape, strict=True)]


def _extent(found: Volume) -> list[float]:
    return [round(n * s, 1) for n, s in zip(found.shape, found.spacing, strict=True)]


def _finding(visit: Visit, found: Volume, finding: Finding) -> dict[str, Any]:
    """One finding with its measurements in physical units; a tumor's diameter is that of its core."""
    sizes = measure(found).to_dict()
    sizes |= {
        "voxels": int(np.count_nonzero(found.array)),
        "extent_mm": _extent(found),
        "box_voxels": _box(found, visit.instances),
    }
    if finding.kind == "brain tumor":
        labels = visit.labels
        core = measure(replace(labels, array=(labels.array == 1) | (labels.array == 4))).to_dict()
        sizes |= {name: core[name] for name in core if "diameter" in name or "ends" in name}
        sizes |= {
            "whole_tumor_ml": round(volume_ml(labels), 3),
            "tumor_core_ml": core["volume_ml"],
            "enhancing_tumor_ml": round(volume_ml(labels, 4), 3),
        }
    return _words(finding) | {"measurements": sizes}


def _shadow_of_finding(visit: Visit, index: int, finding: Finding) -> dict[str, Any]:
    """One finding with the size of its shadow on the detector, and its volume in the body."""
    film = replace(visit.instances, array=visit.instances.array[index])
    found = region(film)
    sizes = measure(found).to_dict()
    line = frontal_diameter(found)
    extent, box = _extent(found), _box(found, film)
    return _words(finding) | {
        "measurements": {
            "area_cm2": _area_cm2(found),
            "longest_diameter_mm": round(line.longest_mm, 3) if line else None,
            "centroid_ras_mm": sizes["centroid_ras_mm"],
            "extent_mm": [extent[0], extent[2]],
            "box_pixels": [box[0], box[2]],
            "volume_ml": round(visit.facts["volumes_ml"][finding.id], 2),
        }
    }


def _area_cm2(found: Volume) -> float:
    width, _, height = found.spacing
    return round(float(np.count_nonzero(found.array)) * width * height / 100, 2)


def _organs(kind: str, labels: Volume) -> list[dict[str, Any]]:
    """Volume of every labelled organ, and more of the large ones."""
    names = label_names(kind)
    found = []
    for label, part in regions(labels).items():
        organ: dict[str, Any] = {
            "label": label,
            "name": names[label],
            "voxels": int(np.count_nonzero(part.array)),
            "volume_ml": round(volume_ml(part), 3),
        }
        if kind == "ct" and label in _ORGANS:
            organ |= {"centroid_ras_mm": centroid(part).round(3).tolist(), "box_voxels": _box(part, labels)}
        found.append(organ)
    return found


def _shadows(visit: Visit) -> list[dict[str, Any]]:
    found = []
    for channel, name in enumerate(visit.channels[: len(visit.channels) - len(visit.findings)]):
        shadow = region(replace(visit.labels, array=visit.labels.array[channel]))
        extent = _extent(shadow)
        found.append(
            {"channel": channel, "name": name, "area_cm2": _area_cm2(shadow), "extent_mm": [extent[0], extent[2]]}
        )
    return found


def _ratio(visit: Visit) -> float:
    """Cardiothoracic ratio: greatest width of the heart's shadow over that of both lungs."""
    shadows = dict(zip(visit.channels, visit.labels.array.astype(bool), strict=True))

    def width(mask: np.ndarray) -> int:
        hit = np.flatnonzero(mask.any(axis=(1, 2)))
        return int(hit[-1] - hit[0] + 1)

    return round(width(shadows["heart"]) / width(shadows["right lung"] | shadows["left lung"]), 3)


def _changes(case: Subject, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What became of each finding between two visits, with both measurements."""
    if len(visits) == 1:
        return []
    before, now = ({f["id"]: f for f in v["findings"]} for v in visits)
    return [
        {
            "id": f.id,
            "kind": f.kind,
            "place": f.place,
            "side": f.side,
            "change": f.change,
            "before": before.get(f.id),
            "now": now.get(f.id),
        }
        for f in case.findings
    ]


def _scene(visit: dict[str, Any]) -> dict[str, Any]:
    """Organs and findings as nodes; where findings lie, and how they lie to each other, as edges."""
    nodes = [{"id": o["name"], "type": "organ"} for o in visit["organs"]]
    edges: list[tuple[str, str, str]] = []
    findings = visit["findings"]
    for f in findings:
        nodes.append(
            {"id": f["id"], "type": "finding", "kind": f["kind"], "density": f["density"], "margin": f["margin"]}
        )
        edges.append((f["id"], "located in", " ".join(filter(None, (f["side"], f["place"])))))
        if f["side"]:
            edges.append((f["id"], "on side", f["side"]))
    for i, a in enumerate(findings):
        for b in findings[i + 1 :]:
            gap = np.subtract(a["measurements"]["centroid_ras_mm"], b["measurements"]["centroid_ras_mm"])
            for axis, names in ((0, ("right of", "left of")), (2, ("above", "below"))):
                if abs(gap[axis]) > 15:
                    edges.append((a["id"], names[int(gap[axis] < 0)], b["id"]))
    return {"nodes": nodes, "edges": [list(e) for e in edges]}
