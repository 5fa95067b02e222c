"""Finding: what an expert found, or why it found nothing, with a record of what ran on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attending.errors import printable, printable_lines
from attending.imaging import Picture, Volume, label_color


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label mask on the grid of the series it was made from.

    Attributes:
        labels: Label ids `[X, Y, Z]`, uint8 or uint16, 0 for background; affine and shape are those of the series.
        names: Names by label id: those asked for, whether or not they are present.
    """

    labels: Volume
    names: Mapping[int, str]

    @cached_property
    def present(self) -> tuple[int, ...]:
        """The label ids in the mask, rising: the order in which the reference gives out its colours."""
        found: set[int] = set()
        for slab in self.labels.array:
            found.update(np.flatnonzero(np.bincount(slab.ravel())).tolist())
        return tuple(sorted(found - {0}))

    @property
    def colors(self) -> dict[int, tuple[int, int, int]]:
        """The colour of each label id present, that of `attending.imaging.overlay_picture`."""
        return {label: label_color(label) for label in self.present}


@dataclass(frozen=True)
class Record:
    """What ran.

    Attributes:
        expert: Name.
        version: Of its weights or program.
        weights: SHA-256 of its weights, or empty where it has none.
        arguments: As they were used, defaults filled in.
        inputs: For each series used: its id and the SHA-256 of its voxels, type and affine.
        seconds: Wall-clock time.
        device: `cpu`, or what torch calls the accelerator.
        settings: What else decided the result: window, spacing, precision.
    """

    expert: str
    version: str = ""
    weights: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Finding:
    """The outcome of one call of an expert.

    Attributes:
        status: `done`; `failed`: it ran and has no result; `refused`: it does not fit the study and was not run.
        text: For the model and the user: what was found, or the reason why nothing was.
        record: What ran on what.
        segmentation: Of a segmentation expert that is done.
        measurements: By label name: `attending.spatial.Measurement.to_dict` and what else was measured, mm, mL and HU.
        scores: Probabilities 0 to 1 by name.
        pictures: For people and for the model.
        warnings: What makes the result less sure, a sentence each.
    """

    status: str
    text: str
    record: Record
    segmentation: Segmentation | None = None
    measurements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without voxels; text is safe to print and is still to be escaped in HTML."""
        record = self.record
        told: dict[str, Any] = {
            "expert": record.expert,
            "arguments": dict(record.arguments),
            "status": self.status,
            "text": printable_lines(self.text, 4000),
            "measurements": {name: dict(values) for name, values in self.measurements.items()},
            "scores": dict(self.scores),
            "warnings": [printable(text, 1000) for text in self.warnings],
            "record": {
                "version": record.version,
                "weights": record.weights,
                "inputs": dict(record.inputs),
                "seconds": record.seconds,
                "device": record.device,
                "settings": dict(record.settings),
            },
        }
        if self.segmentation is not None:
            present = self.segmentation.present
            told["labels"] = {str(i): self.segmentation.names.get(i, f"label {i}") for i in present}
        return told
