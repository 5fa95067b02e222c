"""What a model is shown of a study first, and the slice on which a finding is seen best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from attending.errors import AttendingError
from attending.experts import Finding
from attending.imaging import (
    Picture,
    Series,
    Study,
    Volume,
    key_slices,
    largest_slice,
    picture_of,
    reference_picture,
    slice_picture,
    slice_positions,
)
from attending.imaging.sequences import SEQUENCES

_CHEST = ("CHEST", "THORAX", "LUNG", "RIBS")
_SPOKEN = {"CT": "CT", "MR": "MRI", "US": "US"}


class Shown(NamedTuple):
    """The first pictures of a study."""

    pictures: tuple[Picture, ...]
    modality: str | None
    """As a model is told: `CT`, `MRI`, `CXR`, `US`; None when none of these is known."""
    sequences: bool
    """Whether the pictures are t1ce, t1, t2 and flair of one brain-tumour study."""


def spoken_modality(series: Series) -> str | None:
    """A series' modality as models are told it, from a closed list."""
    part = series.body_part.upper()
    if series.modality in ("CR", "DX"):
        return "CXR" if not part or any(word in part for word in _CHEST) else None
    return _SPOKEN.get(series.modality or "")


def first_pictures(study: Study, series: Series | None = None, slices: int = 1, together: bool = False) -> Shown:
    """The pictures that go with a first question.

    The four sequences of a brain-tumour MRI are shown at one place each; of any other study the series with most voxels
    is shown, or the one that is named. CT and MR are shown as published checkpoints were trained to see them.

    Args:
        study: What is asked about.
        series: Which of its series to show.
        slices: How many axial slices of a volume: one is the middle one, more are spread over the body.
        together: Of a study that holds several modalities, show each: the modality is then such as `CT and CXR`.

    Raises:
        InputError: The voxels cannot be read.
    """
    if series is None and together and len(kinds := _kinds(study)) > 1:
        return _of_each(study, kinds, slices)
    if series is None:
        roles = _roles(study)
        if roles is not None:
            return Shown(tuple(_four(roles)), "MRI", True)
        candidates = [one for one in study.series if one.kind != "localizer"] or study.series
        series = max(candidates, key=lambda one: int(np.prod(one.shape)))
    if series.kind == "image":
        return Shown((picture_of(series.image),), spoken_modality(series), False)
    volume = series.volume
    places: list[int | None] = [None] if slices == 1 else list(key_slices(volume, "axial", slices))
    return Shown(tuple(slice_of(volume, place) for place in places), spoken_modality(series), False)


def told_modality(study: Study, series: Series | None = None, together: bool = False) -> str | None:
    """What a model is told that given pictures of a study were made with; arguments as `first_pictures`."""
    if series is None and together and len(kinds := _kinds(study)) > 1:
        return " and ".join(kinds)
    return spoken_modality(series or study.series[0])


def _kinds(study: Study) -> list[str]:
    """The modalities of a study, as models are told them, in the order of their names."""
    return sorted({kind for one in study.series if one.kind != "localizer" and (kind := spoken_modality(one))})


def _of_each(study: Study, kinds: Sequence[str], slices: int) -> Shown:
    """Pictures of every modality, in the order of their names."""
    parts = [
        first_pictures(
            replace(study, series=[one for one in study.series if spoken_modality(one) == kind]), None, slices
        )
        for kind in kinds
    ]
    return Shown(tuple(picture for part in parts for picture in part.pictures), " and ".join(kinds), False)


def slice_of(volume: Volume, index: int | None) -> Picture:
    """One axial slice as a model is shown it: CT and MR as the reference has it, anything else by its own window."""
    if volume.modality in ("CT", "MR"):
        return reference_picture(volume, index)
    return slice_picture(volume, "axial", index=index)


def focus(finding: Finding) -> int | None:
    """The axial slice on which a finding is seen best: of its largest lesion, else of all it segmented.

    None when it segmented nothing. Lesions are the labels whose measurements say on which side or in what they lie.
    """
    segmentation = finding.segmentation
    if segmentation is None or not segmentation.present:
        return None
    lesions = {
        label: float(facts.get("volume_ml", 0.0))
        for label in segmentation.present
        if (facts := finding.measurements.get(segmentation.names.get(label, "")))
        and ("side" in facts or "inside" in facts)
    }
    label = max(lesions, key=lambda one: lesions[one]) if lesions else None
    return largest_slice(segmentation.labels, "axial", label)


def series_of(finding: Finding, study: Study) -> Series | None:
    """The series on whose grid a finding's segmentation lies: the first it was made from."""
    return next((one for one in study.series if one.id in finding.record.inputs), None)


def _roles(study: Study) -> dict[str, Series] | None:
    try:
        roles = study.sequences
    except AttendingError:  # two series claim one role; which to show is then for the user to say
        return None
    return roles if all(role in roles and roles[role].kind == "volume" for role in SEQUENCES) else None


def _four(roles: dict[str, Series]) -> list[Picture]:
    """One slice of each, at the place of the first's middle slice."""
    first = reference_picture(roles[SEQUENCES[0]].volume)
    found = [first]
    for role in SEQUENCES[1:]:
        volume = roles[role].volume
        nearest = int(np.abs(slice_positions(volume, "axial") - (first.position or 0.0)).argmin())
        found.append(reference_picture(volume, nearest))
    return found
