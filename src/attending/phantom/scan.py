"""Scan: one visit's images and labels, made by the scanner of the kind of study."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging import Volume
from attending.phantom.ct import SHAPE as CT_SHAPE
from attending.phantom.ct import scan_ct
from attending.phantom.finding import Finding
from attending.phantom.mri import SHAPE as MRI_SHAPE
from attending.phantom.mri import scan_brain
from attending.phantom.patient import Patient
from attending.phantom.study import Visit
from attending.phantom.style import Style
from attending.phantom.xray import SIZE, take_radiograph


class Order(NamedTuple):
    """What a scanner is asked for.

    Attributes:
        patient: Who.
        seed: Seed of the case.
        style: The hospital.
        findings: Those present at this visit.
        visit: Which one, from 0.
        shape: Voxels, or None for the usual.
        date: Study date.
    """

    patient: Patient
    seed: int
    style: Style
    findings: tuple[Finding, ...]
    visit: int
    shape: tuple[int, int, int] | None
    date: datetime.date


def scan(kind: str, order: Order, asked: bool) -> Visit:
    """Make one visit; findings that cannot be seen are left out.

    Args:
        kind: `ct`, `mri` or `cxr`.
        order: What to make.
        asked: Whether the findings were asked for.

    Raises:
        InputError: A finding that was asked for cannot be seen.
    """
    return _only_visible({"ct": _scan_ct, "mri": _scan_mri, "cxr": _scan_cxr}[kind](order), asked)


def _scan_ct(order: Order) -> Visit:
    shape = order.shape or CT_SHAPE
    made = scan_ct(order.patient, order.seed, order.style, order.findings, order.visit, shape)
    affine = made.grid.affine
    images, facts = {"ct": Volume(made.value, affine, "CT")}, dict[str, Any](made.facts)
    labels, instances = Volume(made.label, affine), Volume(made.instance, affine)
    return Visit(order.date, images, labels, instances, order.findings, facts=facts)


def _scan_mri(order: Order) -> Visit:
    shape = order.shape or MRI_SHAPE
    brain = scan_brain(order.patient, order.seed, order.style, order.findings, order.visit, shape)
    affine = brain.grid.affine
    images = {name: Volume(value, affine, "MR") for name, value in brain.values.items()}
    instances = Volume((brain.tumor > 0).astype(np.uint8), affine)
    tissue = Volume(brain.tissue, affine)
    return Visit(order.date, images, Volume(brain.tumor, affine), instances, order.findings, tissue)


def _scan_cxr(order: Order) -> Visit:
    size = order.shape[0] if order.shape else SIZE
    film = take_radiograph(order.patient, order.seed, order.style, order.findings, order.visit, size)
    affine = film.detector.affine
    value = np.rint(film.value * 4095).astype(np.uint16)[:, None, :]
    ids = [f.id for f in order.findings]
    masks = [*film.organs.values(), *film.masks]
    stack: npt.NDArray[np.uint8] = np.stack(masks).astype(np.uint8)[:, :, None, :]
    shadows = stack[len(film.organs) :] if ids else np.zeros((1, *stack.shape[1:]), np.uint8)
    facts = {
        "volumes_ml": dict(zip(ids, film.volumes, strict=True)),
        "detector": {**film.detector._asdict(), "center": list(film.detector.center)},
    }
    images = {"frontal": Volume(value, affine, "DX")}
    labels, instances, channels = Volume(stack, affine), Volume(shadows, affine), (*film.organs, *ids)
    return Visit(order.date, images, labels, instances, order.findings, channels=channels, facts=facts)


def _only_visible(visit: Visit, asked: bool) -> Visit:
    """Drop findings that left no voxel: another lies over them, or they are outside the field of view.

    Raises:
        InputError: One of them was asked for.
    """
    array = visit.instances.array
    if array.ndim == 4:
        hit = [bool(shadow.any()) for shadow in array[: len(visit.findings)]]
    else:
        hit = (np.bincount(array.ravel(), minlength=len(visit.findings) + 1)[1:] > 0).tolist()
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
        shadows = replace(visit.instances, array=array[kept] if kept else np.zeros_like(array[:1]))
        labels = replace(visit.labels, array=visit.labels.array[rows])
        return replace(visit, findings=findings, channels=channels, labels=labels, instances=shadows)
    table = np.zeros(256, np.uint8)
    for new, old in enumerate(kept):
        table[old + 1] = new + 1
    return replace(visit, findings=findings, instances=replace(visit.instances, array=table[array]))
