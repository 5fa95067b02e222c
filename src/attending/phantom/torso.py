"""Torso: a patient's trunk as a CT volume with labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attending.phantom.abdomen import draw_abdomen
from attending.phantom.body import draw_body
from attending.phantom.canvas import Canvas, Grid, Points, Warp
from attending.phantom.chest import (
    Branch,
    Heart,
    draw_airways,
    draw_aorta,
    draw_heart,
    draw_lung_tree,
    draw_lungs,
    lung_tree,
)
from attending.phantom.finding import Finding
from attending.phantom.lesion import FOCAL, broken_rib, draw_chest_findings, draw_lesion
from attending.phantom.patient import Patient
from attending.phantom.random import stream
from attending.phantom.skeleton import draw_skeleton

_BASE = {"fat": -102.0, "inner fat": -98.0, "skin": 25.0, "muscle": 58.0, "csf": 12.0, "lung": -858.0}
PHASES: dict[str, dict[str, float]] = {
    "none": {
        "artery": 42, "vein": 40, "cava": 40, "superior cava": 40, "left heart": 42, "right heart": 42,
        "heart": 46, "liver": 58, "portal": 42, "hepatic vein": 42, "spleen": 48, "moire": 0,
        "renal cortex": 34, "renal medulla": 32, "ureter": 0, "pancreas": 42, "gut wall": 40,
    },
    "arterial": {
        "artery": 330, "vein": 120, "cava": 95, "superior cava": 260, "left heart": 310, "right heart": 230,
        "heart": 115, "liver": 72, "portal": 120, "hepatic vein": 70, "spleen": 140, "moire": 1,
        "renal cortex": 215, "renal medulla": 85, "ureter": 0, "pancreas": 118, "gut wall": 95,
    },
    "portal": {
        "artery": 165, "vein": 160, "cava": 140, "superior cava": 150, "left heart": 155, "right heart": 150,
        "heart": 105, "liver": 112, "portal": 182, "hepatic vein": 178, "spleen": 122, "moire": 0,
        "renal cortex": 195, "renal medulla": 165, "ureter": 0, "pancreas": 98, "gut wall": 92,
    },
}  # fmt: skip
"""HU of enhancing tissues by contrast phase."""


def draw_patient_torso(
    canvas: Canvas, patient: Patient, seed: int, phase: str, findings: Sequence[Finding], radiograph: bool = False
) -> npt.NDArray[np.uint8]:
    """Paint a trunk with its findings; return the map that gives the n-th finding's voxels the value n.

    Args:
        canvas: An empty canvas with the patient's warp.
        patient: Whose trunk.
        seed: Seed of the case.
        phase: A key of `PHASES`.
        findings: Those present at this visit.
        radiograph: Erect, with fluid sinking to the base; leaves out ribs, collarbones and lung vessels, which a
            radiograph draws from their centre lines, and the organs of the abdomen that it cannot show.
    """
    value = _BASE | PHASES[phase]
    numbers = {finding.id: i + 1 for i, finding in enumerate(findings)}
    instances = np.zeros(canvas.grid.shape, np.uint8)
    heart = patient_heart(patient, seed, findings)
    body = draw_body(canvas, patient, value, seed)
    draw_abdomen(canvas, body, stream(seed, "abdomen"), value, upper_only=radiograph)
    lung = draw_lungs(canvas, body, heart, stream(seed, "lungs"), value)
    draw_heart(canvas, body, heart, value, patient)
    if not radiograph:
        draw_lung_tree(canvas, lung, lung_vessels(seed), value["right heart"] * 0.6)
    draw_airways(canvas, stream(seed, "airways"))
    draw_aorta(canvas, patient, value)
    draw_chest_findings(canvas, body, lung, findings, numbers, instances, erect=radiograph)
    broken = [broken_rib(f) for f in findings if f.kind == "fracture"]
    draw_skeleton(canvas, patient, value, {(n, s): pieces for n, s, pieces, _ in broken}, thin=not radiograph)
    for finding, (_, _, pieces, gap) in zip([f for f in findings if f.kind == "fracture"], broken, strict=True):
        _mark_fracture(canvas, finding, pieces, gap, numbers[finding.id], instances)
    for finding in findings:
        if finding.kind in FOCAL:
            draw_lesion(canvas, finding, numbers[finding.id], value, instances)
        elif finding.kind == "cardiomegaly":
            instances[(canvas.label == finding.label) & (instances == 0)] = numbers[finding.id]
    return instances


def patient_heart(patient: Patient, seed: int, findings: Sequence[Finding]) -> Heart:
    """Pose of the heart; an enlarged one is as wide as its finding says."""
    rng = stream(seed, "heart")
    size = float(rng.uniform(0.92, 1.04))
    wide = [f.size for f in findings if f.kind == "cardiomegaly"]
    if wide:
        size = wide[0] / (126 * patient.scale[0])
    # The apex moves out and down as the heart grows; the right border stays.
    return Heart((-20 - 12 * (size - 1), 20 + float(rng.uniform(-3, 3)), 22 - 10 * (size - 1)), size)


def _mark_fracture(
    canvas: Canvas, finding: Finding, pieces: list[Points], gap: Points, number: int, instances: npt.NDArray[np.uint8]
) -> None:
    """Mark bone and gap within 11 mm of a fracture."""
    ball = canvas.ellipsoid(gap, [11, 11, 11])
    near = np.full(canvas.grid.shape, np.float32(99))
    for piece in (*pieces, np.stack([pieces[0][-1], pieces[1][0]])):
        tube = canvas.tube(piece, 4.5, flat=0.58)
        part = near[tube.region]
        np.minimum(part, tube.distance, out=part)
    mask = (ball.distance < 0) & (near[ball.region] < 0)
    canvas.label[ball.region][mask] = finding.label
    instances[ball.region][mask] = number


def lung_vessels(seed: int) -> list[Branch]:
    """The vessels of both lungs."""
    found = []
    for side in (1, -1):
        rng = stream(seed, "lung vessels", side)
        found += lung_tree(rng, side, np.array([side * 40.0, -14.0, 72.0]), 5, 5.0)
        found += lung_tree(rng, side, np.array([side * 38.0, -16.0, 52.0]), 4, 4.2)
    return found


def torso_warp(patient: Patient, seed: int) -> Warp:
    """The deformation that makes this patient's trunk differ from the canonical one."""
    return Warp.draw(stream(seed, "warp"), patient.scale, 7.0)


def torso_grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], top: float, depth: float = -8.0
) -> Grid:
    """A grid centred on the body whose last slice lies at `top` (RAS mm)."""
    half = [(n - 1) * s / 2 for n, s in zip(shape, spacing, strict=True)]
    return Grid(shape, spacing, (-half[0], depth - half[1], top - 2 * half[2]))
