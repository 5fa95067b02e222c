"""CT of thorax and abdomen: a torso with its findings, seen by one hospital's scanner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attending.phantom.canvas import Canvas, Field, Grid
from attending.phantom.finding import Finding
from attending.phantom.patient import Patient
from attending.phantom.random import stream
from attending.phantom.style import Style
from attending.phantom.torso import draw_patient_torso, torso_grid, torso_warp

SHAPE = (160, 160, 128)


class Scan(NamedTuple):
    """What a scanner gives.

    Attributes:
        value: `[X, Y, Z]` int16 HU.
        label: `[X, Y, Z]` uint8 organ and finding ids.
        instance: `[X, Y, Z]` uint8, n for the n-th finding, 0 elsewhere.
        grid: Where the voxels lie (RAS).
        facts: What else is known of the scan (contrast phase).
    """

    value: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    grid: Grid
    facts: dict[str, str]


def scan_ct(
    patient: Patient,
    seed: int,
    style: Style,
    findings: Sequence[Finding],
    visit: int,
    shape: tuple[int, int, int] = SHAPE,
) -> Scan:
    """A CT of one patient at one visit."""
    settings = style.ct
    warp = torso_warp(patient, seed)
    width = (2 * (176 * warp.scale[0] + 12 * patient.fat) + 12) * settings["fov"]
    spacing = (
        round(width / shape[0], 3),
        round(width / shape[1], 3),
        round(settings["length"] * warp.scale[2] / shape[2], 3),
    )
    grid = torso_grid(shape, spacing, float(214 * warp.scale[2]))
    names = list(settings["phases"])
    phase = names[int(stream(seed, "phase", style.name).choice(len(names), p=list(settings["phases"].values())))]
    canvas = Canvas(grid, warp)
    instance = draw_patient_torso(canvas, patient, seed, phase, findings)
    _couch(canvas, settings["table"])
    noise = stream(seed, "noise", style.name, visit)
    value = _acquire(canvas.value, grid, settings, noise, canvas.z)
    return Scan(value, canvas.label, instance, grid, {"phase": phase})


def _couch(canvas: Canvas, table: str) -> None:
    """The table under the patient, where air still is."""
    if table == "none":
        return
    x = canvas.grid.axis(0)[:, None]
    y = canvas.grid.axis(1)[None, :]
    low = -142 * canvas.warp.scale[1] - 12
    top = low + (x**2) * np.float32(0.0006 if table == "curved" else 0.0)
    width = 215.0 if table == "curved" else 240.0
    shell = np.maximum(np.minimum(np.abs(y - top), np.abs(y - top + 22)) - 1.2, np.abs(x) - width)
    share = np.clip(0.5 - shell / canvas.soft, 0, 1)[:, :, None]
    air = np.clip((-900 - canvas.value) / 100, 0, 1)
    canvas.value += share * air * np.float32(760)


def _acquire(
    value: Field, grid: Grid, settings: dict[str, float], rng: np.random.Generator, height: Field
) -> npt.NDArray[np.int16]:
    """Blur or sharpen by the kernel, add noise of the same grain and streaks across the shoulders, round to HU."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    grain = rng.standard_normal(grid.shape, dtype=np.float32)
    if settings["kernel"] > 0:
        sigma = settings["kernel"] / grid.spacing[0]
        for axis in (0, 1):
            value = gaussian_filter1d(value, sigma * 0.7, axis, truncate=2.5)
            grain = gaussian_filter1d(grain, sigma + 0.35, axis, truncate=2.5)
    else:
        value = value + np.float32(-settings["kernel"] * 0.5) * (
            value - gaussian_filter(value, (0.8, 0.8, 0), truncate=2.5)
        )
    scale = np.float32(settings["noise"]) / grain[::7, ::7, ::7].std()
    # Less light reaches the detector through shoulders and pelvis.
    thick = (
        0.75 + 0.6 * np.exp(-(((height[0, 0] - 190) / 40) ** 2)) + 0.35 * np.exp(-(((height[0, 0] + 290) / 50) ** 2))
    )
    grain *= scale * thick.astype(np.float32)
    lines = rng.standard_normal((1, grid.shape[1], grid.shape[2]), dtype=np.float32)
    lines *= np.float32(settings["streaks"]) * np.exp(-(((height[0, 0] - 192) / 26) ** 2)).astype(np.float32)
    body = np.clip((value + 900) / 600, 0.25, 1)
    value = value + body * (grain + lines)
    return np.clip(np.rint(value), -1024, 3071).astype(np.int16)
