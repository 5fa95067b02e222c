"""Study: the images and labels of one patient's visits, and whose they are."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from attending.imaging import Volume
from attending.phantom.finding import Finding
from attending.phantom.patient import Patient
from attending.phantom.style import Style

STUDIES = ("ct", "mri", "cxr")


@dataclass(frozen=True, eq=False)
class Visit:
    """The images of one visit.

    Attributes:
        date: Study date.
        volumes: Images by name: `ct`; `t1`, `t1ce`, `t2`, `flair`; or `frontal`, a radiograph `[X, 1, Z]` of 0 to 4095.
        labels: Label ids `[X, Y, Z]` uint8: VISTA3D's on CT, BraTS on MRI; on radiographs `[C, X, 1, Z]` with a
            channel per name in `channels`, since shadows overlap.
        instances: `[X, Y, Z]` uint8 with n for the n-th of `findings`; on radiographs `[C, X, 1, Z]`.
        findings: Those present, in that order.
        tissue: Tissue ids of a head (`attending.phantom.brain.TISSUES`), or None.
        channels: Names of the channels of a radiograph's `labels`.
        facts: What else is known: contrast phase, detector geometry, volumes behind shadows.
    """

    date: datetime.date
    volumes: dict[str, Volume]
    labels: Volume
    instances: Volume
    findings: tuple[Finding, ...]
    tissue: Volume | None = None
    channels: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Subject:
    """Who was seen, where and with what: all of a case but its images.

    Attributes:
        kind: `ct`, `mri` or `cxr`.
        seed: What it was made from.
        style: The hospital.
        patient: Who.
        findings: Of all visits, those that are gone included.
        split: `train`, `validation` or `test`, by seed.
    """

    kind: str
    seed: int
    style: Style
    patient: Patient
    findings: tuple[Finding, ...]
    split: str

    @property
    def id(self) -> str:
        """Name of the case's folder."""
        return f"{self.kind}-{self.style.name}-{self.seed:08d}"


@cache
def label_names(kind: str) -> dict[int, str]:
    """Names by label id: VISTA3D's and our own for `ct`, BraTS for `mri`."""
    table = tomllib.loads(files("attending.phantom").joinpath("data/labels.toml").read_text(encoding="utf-8"))
    names = {int(k): v for k, v in table["mri" if kind == "mri" else "ct"].items()}
    if kind != "mri":
        names |= {37 - i: f"vertebrae L{i + 1}" for i in range(5)} | {49 - i: f"vertebrae T{i + 1}" for i in range(12)}
        names |= {start + i: f"{side} rib {i}" for side, start in (("left", 62), ("right", 74)) for i in range(1, 13)}
    return dict(sorted(names.items()))
