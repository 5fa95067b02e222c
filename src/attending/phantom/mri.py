"""Brain MRI: T1, contrast T1, T2 and FLAIR of one head, seen by one hospital's scanner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attending.phantom.brain import TISSUES, draw_head
from attending.phantom.canvas import Canvas, Field, Grid, Warp, rough
from attending.phantom.finding import Finding
from attending.phantom.patient import Patient
from attending.phantom.random import stream
from attending.phantom.style import Style

SHAPE = (128, 128, 128)
# Signal relative to white matter on T1, in the order of TISSUES.
_SIGNAL = {
    #        air   csf   grey  white deep  fat   muscle bone  marrow skin vitr. vessel necr. enh.  edema
    "t1":    (0.01, 0.22, 0.62, 1.00, 0.76, 1.18, 0.58, 0.07, 0.60, 0.62, 0.26, 0.42, 0.36, 0.62, 0.66),
    "t1ce":  (0.01, 0.22, 0.64, 1.02, 0.78, 1.18, 0.66, 0.07, 0.60, 0.70, 0.26, 1.65, 0.38, 1.62, 0.67),
    "t2":    (0.01, 1.85, 0.92, 0.60, 0.74, 1.05, 0.34, 0.07, 0.55, 0.60, 1.90, 0.10, 1.55, 1.05, 1.35),
    "flair": (0.01, 0.14, 0.86, 0.66, 0.78, 0.95, 0.44, 0.07, 0.50, 0.60, 0.15, 0.20, 0.62, 1.10, 1.42),
}  # fmt: skip
SEQUENCES = tuple(_SIGNAL)


class Brain(NamedTuple):
    """What the scanner gives.

    Attributes:
        values: `[X, Y, Z]` int16 by sequence, registered.
        tumor: `[X, Y, Z]` uint8 BraTS labels: 1 necrotic core, 2 oedema, 4 enhancing.
        tissue: `[X, Y, Z]` uint8 index into `TISSUES`.
        grid: Where the voxels lie.
    """

    values: dict[str, npt.NDArray[np.int16]]
    tumor: npt.NDArray[np.uint8]
    tissue: npt.NDArray[Any]
    grid: Grid


def scan_brain(
    patient: Patient,
    seed: int,
    style: Style,
    findings: Sequence[Finding],
    visit: int,
    shape: tuple[int, int, int] = SHAPE,
) -> Brain:
    """Four sequences of one patient at one visit."""
    from scipy.ndimage import gaussian_filter1d

    settings = style.mri
    size = 0.5 + 0.5 * patient.scale[2] * (0.97 if patient.sex == "F" else 1.0)
    rng = stream(seed, "head")
    warp = Warp.draw(rng, size * rng.uniform(0.97, 1.03, 3), 3.0)
    spacing = tuple(round(float(length * size / n), 3) for length, n in zip((192, 224, 192), shape, strict=True))
    origin = (-(shape[0] - 1) / 2 * spacing[0], -108 * size, -98 * size)
    canvas = Canvas(Grid(shape, spacing, origin), warp)  # type: ignore[arg-type]
    tumors = [f for f in findings if f.kind == "brain tumor"]
    head = draw_head(canvas, patient, seed, tumors[0] if tumors else None)
    mottle = rough(stream(seed, "mottle"), canvas.grid, 5)
    values = {}
    for name in SEQUENCES:
        noise = stream(seed, "mri", style.name, visit, name)
        signal = head.mixture.signal(dict(zip(TISSUES, _SIGNAL[name], strict=True)))
        signal *= 1 + np.float32(0.035) * mottle
        if settings["blur"]:
            for axis in range(3):
                signal = gaussian_filter1d(signal, settings["blur"] / spacing[axis] * 0.6, axis, truncate=2.5)
        values[name] = _acquire(signal, canvas, settings, noise)
    return Brain(values, head.tumor, head.mixture.main(), canvas.grid)


def _acquire(
    signal: Field, canvas: Canvas, settings: dict[str, float], rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """Coil bias, ghosts along the phase direction, Rician noise, and the scanner's own units."""
    bias = rough(rng, canvas.grid, 130)
    signal = signal * np.exp(np.float32(settings["bias"]) * bias.clip(-1.5, 1.5))
    if settings["ghost"]:
        shift = canvas.grid.shape[1] // 2
        signal = signal + np.float32(settings["ghost"]) * np.roll(signal, shift, axis=1)
    level = np.float32(settings["noise"])
    real = signal + level * rng.standard_normal(signal.shape, dtype=np.float32)
    other = level * rng.standard_normal(signal.shape, dtype=np.float32)
    gain = settings["scale"] * float(rng.uniform(0.85, 1.15))
    value: npt.NDArray[np.int16] = np.rint(np.sqrt(real * real + other * other) * np.float32(gain)).astype(np.int16)
    return value
