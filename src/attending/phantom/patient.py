"""Patient: who the study is of, and the sizes that follow from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from attending.errors import InputError
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


@dataclass(frozen=True)
class Tie:
    """A planted link between a finding and who has it, for tests of bias; without one they are independent.

    Attributes:
        finding: Kind of finding; of its patients, `share` are made to be of `sex` or `ages`, the rest stay as drawn.
        sex: `F`, `M`, or None to leave it.
        ages: First and last year, or None to leave them.
        share: 0 to 1.
    """

    finding: str
    sex: str | None = None
    ages: tuple[int, int] | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str, kinds: Collection[str]) -> Tie:
        """Read `effusion:sex=F,share=0.9` or `edema:age=70-90`.

        Raises:
            InputError: It is not of that form; says what is allowed.
        """
        finding, _, rest = text.partition(":")
        if finding not in kinds:
            raise InputError(f"expected one of {', '.join(kinds)}", field="tie", value=finding)
        wishes = dict(part.partition("=")[::2] for part in rest.split(",") if part)
        try:
            share = float(wishes.pop("share", "1"))
            sex = wishes.pop("sex", None)
            ages = tuple(int(year) for year in wishes.pop("age").split("-")) if "age" in wishes else None
        except ValueError:
            raise InputError("expected FINDING:sex=F,age=70-90,share=0.9", field="tie", value=text) from None
        whole = ages is None or (len(ages) == 2 and ADULT[0] <= ages[0] <= ages[1] <= ADULT[1])
        if wishes or not whole or sex not in ("F", "M", None) or not 0 <= share <= 1 or (sex or ages) is None:
            raise InputError(
                f"expected FINDING:sex=F or M, age=FIRST-LAST within {ADULT[0]} to {ADULT[1]}, share=0 to 1",
                field="tie",
                value=text,
            )
        return cls(finding, sex, (ages[0], ages[1]) if ages else None, share)


def draw_patient(seed: int, tie: Tie | None = None) -> Patient:
    """The patient of a seed, independent of style and findings; one who has the finding of `tie`, if given."""
    rng, planted = stream(seed, "patient"), stream(seed, "tie")
    sex = "FM"[int(rng.integers(2))]
    if tie is not None and planted.random() >= tie.share:
        tie = None
    if tie is not None and tie.sex is not None:
        sex = tie.sex
    habitus = str(rng.choice(["slim", "average", "large"], p=[0.25, 0.5, 0.25]))
    low, high = {"slim": (0.35, 0.6), "average": (0.7, 1.3), "large": (1.6, 2.4)}[habitus]
    fat = float(rng.uniform(low, high))
    tall = float(np.clip(rng.normal(163 if sex == "F" else 176, 6), 148, 198))
    girth = float(rng.uniform(0.93, 1.0) * (0.94 if sex == "F" else 1.0) + 0.03 * (fat - 1))
    age = int(rng.integers(ADULT[0], ADULT[1] + 1))
    if tie is not None and tie.ages is not None:
        age = int(planted.integers(tie.ages[0], tie.ages[1] + 1))
    return Patient(f"PH{seed:08d}", sex, age, round(tall, 1), habitus, round(fat, 3), round(girth, 4))
