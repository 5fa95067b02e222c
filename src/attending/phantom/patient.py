"""Patient: who the study is of, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attending.phantom.random import stream

ADULT = (20, 90)
"""Ages drawn, in years."""


@dataclass(frozen=True)
class Patient:
    """Demographics and build.

    Attributes:
        id: Patient ID as written into DICOM.
        sex: `F` or `M`.
        age: Years at the latest visit.
        height: cm.
        habitus: `slim`, `average` or `large`.
        fat: Thickness of subcutaneous fat relative to an average build of that sex.
        girth: Width and depth of the trunk relative to the canonical body.
    """

    id: str
    sex: str
    age: int
    height: float
    habitus: str
    fat: float
    girth: float

    @property
    def scale(self) -> tuple[float, float, float]:
        """Size over the canonical 175 cm body along R, A, S."""
        frame = self.height / 175
        return self.girth * frame**0.5, self.girth * frame**0.5, frame

    @property
    def words(self) -> str:
        """How a report names the patient."""
        return f"{self.age}-year-old {'woman' if self.sex == 'F' else 'man'}"


def draw_patient(seed: int) -> Patient:
    """The patient of a seed; independent of style and findings."""
    rng = stream(seed, "patient")
    sex = "FM"[int(rng.integers(2))]
    habitus = str(rng.choice(["slim", "average", "large"], p=[0.25, 0.5, 0.25]))
    low, high = {"slim": (0.35, 0.6), "average": (0.7, 1.3), "large": (1.6, 2.4)}[habitus]
    fat = float(rng.uniform(low, high))
    tall = float(np.clip(rng.normal(163 if sex == "F" else 176, 6), 148, 198))
    girth = float(rng.uniform(0.93, 1.0) * (0.94 if sex == "F" else 1.0) + 0.03 * (fat - 1))
    age = int(rng.integers(ADULT[0], ADULT[1] + 1))
    return Patient(f"PH{seed:08d}", sex, age, round(tall, 1), habitus, round(fat, 3), round(girth, 4))
