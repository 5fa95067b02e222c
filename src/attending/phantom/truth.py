"""Truth: everything known about a case, measured from its label maps and put into words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.phantom.finding import KINDS, Finding
from attending.phantom.measure import longest_diameter, measure
from attending.phantom.wording import reserved_share

if TYPE_CHECKING:
    from attending.phantom.case import Case, Visit

VERSION = 1
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


def tell(case: Case) -> Truth:
    """Measure a case's label maps and write its report and questions."""
    from attending.phantom.questions import ask
    from attending.phantom.report import write_report

    visits = [_visit(case, visit) for visit in case.visits]
    changes = _changes(case, visits)
    patient = {k: v for k, v in asdict(case.patient).items() if k not in ("fat", "girth")}
    report = write_report(case, visits[-1], changes)
    questions = ask(case, visits[-1], changes, report)
    return Truth(
        version=VERSION,
        case=case.id,
        kind=case.kind,
        seed=case.seed,
        split=case.split,
        style={"name": case.style.name, "title": case.style.title},
        patient=patient,
        visits=visits,
        scene=_scene(visits[-1]),
        report=report,
        questions=questions,
        reserved_share=round(reserved_share(), 3),
    )


def _visit(case: Case, visit: Visit) -> dict[str, Any]:
    findings = [_finding(case, visit, i, f) for i, f in enumerate(visit.findings)]
    facts = dict(visit.facts)
    organs = _shadows(visit) if case.kind == "cxr" else _organs(case, visit)
    if case.kind == "cxr":
        facts["cardiothoracic_ratio"] = _ratio(visit)
    return {
        "date": visit.date.isoformat(),
        "images": sorted(visit.volumes),
        "organs": organs,
        "findings": findings,
        "facts": facts,
    }


def _finding(case: Case, visit: Visit, index: int, finding: Finding) -> dict[str, Any]:
    """One finding with its measurements in physical units."""
    affine = visit.instances.affine
    array = visit.instances.array
    record: dict[str, Any] = {
        "id": finding.id, "kind": finding.kind, "label": finding.label, "place": finding.place, "side": finding.side,
        "density": finding.density, "margin": finding.margin, "size_asked_mm": finding.size,
    }  # fmt: skip
    if case.kind == "cxr":
        mask = array[index] > 0
        pixel = float(np.linalg.norm(affine[:3, 0]))
        found = measure(mask, affine, diameter=False)
        record["measurements"] = {
            "area_cm2": round(found["voxels"] * pixel * pixel / 100, 2),
            "longest_diameter_mm": round(longest_diameter(mask, affine, axis=1), 1),
            "centroid_ras_mm": found["centroid_ras_mm"],
            "extent_mm": [found["extent_mm"][0], found["extent_mm"][2]],
            "box_pixels": [found["box_voxels"][0], found["box_voxels"][2]],
            "volume_ml": round(visit.facts["volumes_ml"][finding.id], 2),
        }
        return record
    mask = array == index + 1
    record["measurements"] = measure(mask, affine)
    if finding.kind == "brain tumor":
        labels = visit.labels.array
        voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        core = (labels == 1) | (labels == 4)
        record["measurements"] |= {
            "longest_axial_diameter_mm": round(longest_diameter(core, affine), 1),
            "whole_tumor_ml": round(float(np.isin(labels, (1, 2, 4)).sum() * voxel), 3),
            "tumor_core_ml": round(float(core.sum() * voxel), 3),
            "enhancing_tumor_ml": round(float((labels == 4).sum() * voxel), 3),
        }
    return record


def _organs(case: Case, visit: Visit) -> list[dict[str, Any]]:
    """Volume of every labelled organ, and more of the large ones."""
    from attending.phantom.case import label_names

    counts = np.bincount(visit.labels.array.ravel(), minlength=256)
    voxel = abs(float(np.linalg.det(visit.labels.affine[:3, :3]))) / 1000
    names = label_names(case.kind)
    found = []
    for label in np.flatnonzero(counts[1:]) + 1:
        name = names[int(label)]
        organ: dict[str, Any] = {
            "label": int(label),
            "name": name,
            "voxels": int(counts[label]),
            "volume_ml": round(float(counts[label] * voxel), 3),
        }
        if case.kind == "ct" and label in _ORGANS:
            organ |= {
                k: v
                for k, v in measure(visit.labels.array == label, visit.labels.affine, diameter=False).items()
                if k in ("centroid_ras_mm", "box_voxels")
            }
        found.append(organ)
    return found


def _shadows(visit: Visit) -> list[dict[str, Any]]:
    affine = visit.labels.affine
    pixel = float(np.linalg.norm(affine[:3, 0]))
    found = []
    for channel, name in enumerate(visit.channels[: len(visit.channels) - len(visit.findings)]):
        mask = visit.labels.array[channel] > 0
        found.append(
            {
                "channel": channel,
                "name": name,
                "area_cm2": round(float(mask.sum()) * pixel * pixel / 100, 2),
                "extent_mm": measure(mask, affine, diameter=False)["extent_mm"][::2],
            }
        )
    return found


def _ratio(visit: Visit) -> float:
    """Cardiothoracic ratio: greatest width of the heart's shadow over that of both lungs."""
    shadows = dict(zip(visit.channels, visit.labels.array.astype(bool), strict=True))

    def width(mask: np.ndarray) -> int:
        hit = np.flatnonzero(mask.any(axis=(1, 2)))
        return int(hit[-1] - hit[0] + 1)

    return round(width(shadows["heart"]) / width(shadows["right lung"] | shadows["left lung"]), 3)


def _changes(case: Case, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
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


def size_of(record: dict[str, Any]) -> float | None:
    """The diameter a report gives for a finding, mm; None for kinds that are told by amount."""
    if record["kind"] not in ("liver lesion", "lung nodule", "kidney lesion", "pancreas lesion", "brain tumor"):
        return None
    found = record["measurements"]
    return float(found.get("longest_axial_diameter_mm", found.get("longest_diameter_mm")))


def kinds_on(study: str) -> list[str]:
    """Kinds of finding that a study can show."""
    return [name for name, kind in KINDS.items() if study in kind.studies]
