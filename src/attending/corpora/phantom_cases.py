"""Phantoms as labelled cases, for expert conversations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attending.corpora.cases import Case, Labelled, study_of
from attending.imaging import Image2D, Study, Volume

if TYPE_CHECKING:
    from attending.phantom import Case as Phantom

CLASSES = {
    "atelectasis": "Atelectasis", "cardiomegaly": "Cardiomegaly", "consolidation": "Consolidation", "edema": "Edema",
    "effusion": "Effusion", "fracture": "Fracture", "lung nodule": "Nodule", "pneumothorax": "Pneumothorax",
}  # fmt: skip
"""What TorchXRayVision calls the findings of a radiograph."""


_BOTH = ("ct", "cxr")


def phantom_cases(
    kind: str,
    seeds: Iterable[int],
    styles: Sequence[str] = ("A", "B", "C", "D"),
    *,
    findings: Sequence[str] | None = None,
    shape: tuple[int, int, int] | None = None,
) -> list[Case]:
    """Cases that are generated when they are opened.

    Args:
        kind: `ct`, `mri`, `cxr`, or `ct+cxr`: both of one patient, in one study.
        seeds: A seed is a patient; those of one split (`attending.phantom.seeds_of`).
        styles: Hospitals, taking turns by seed.
        findings: See `attending.phantom.generate`.
        shape: See `attending.phantom.generate`.
    """
    found = []
    for seed in seeds:
        style = styles[seed % len(styles)]
        opened = partial(_open, kind, seed, style, findings, shape)
        found.append(Case(f"{kind}-{style}-{seed:08d}", f"phantom {seed}", "phantom", opened, (), {"style": style}))
    return found


def _open(
    kind: str, seed: int, style: str, findings: Sequence[str] | None, shape: tuple[int, int, int] | None
) -> Labelled:
    from attending.phantom import generate

    if kind == "ct+cxr":
        both = [_open(one, seed, style, _shown_on(one, findings), shape if one == "ct" else None) for one in _BOTH]
        series = [*both[0].study.series, *both[1].study.series]
        return replace(both[0], study=Study(Path(), series), present=both[1].present)
    return labelled(generate(kind, seed, style, findings=findings, shape=shape))


def labelled(case: Phantom) -> Labelled:
    """A generated CT, MRI or radiograph, as its last visit shows it."""
    from attending.experts.brats import NAMES
    from attending.experts.vista3d import vista3d_labels
    from attending.phantom import label_names

    kind, patient = case.kind, f"phantom {case.truth.to_dict()['seed']}"
    if kind == "cxr":
        film = np.asarray(case.volumes["frontal"].array)[::-1, 0, ::-1].T
        levels = np.rint(film.astype(float) / 4095 * 255).astype(np.uint8)[None]
        study = study_of({"frontal": Image2D(levels, None, "DX", "frontal")}, "DX", "CHEST", patient)
        there = {finding.kind for finding in case.visits[-1].findings}
        return Labelled(study, None, {}, present={name: one in there for one, name in CLASSES.items()})
    volumes = case.volumes
    if kind == "mri":
        ordered = {name: volumes[name] for name in ("t1ce", "t1", "t2", "flair")}
        return Labelled(study_of(ordered, "MR", "BRAIN", patient), case.labels, NAMES, frozenset((1, 2, 4)))
    known = vista3d_labels()
    names = {label: known["names"][label] for label in label_names("ct") if label in known["names"]}
    labels = Volume(np.where(np.isin(case.labels.array, list(names)), case.labels.array, 0), case.labels.affine)
    study = study_of({"ct": volumes["ct"]}, "CT", "", patient)
    return Labelled(study, labels, names, frozenset(known["lesions"]) & set(names))


def _shown_on(kind: str, findings: Sequence[str] | None) -> list[str] | None:
    """The wishes that a kind of study can show."""
    from attending.phantom import KINDS

    if findings is None:
        return None
    return [wish for wish in findings if kind in KINDS[wish.partition(":")[0]].studies]
