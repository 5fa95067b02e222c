"""Figures: which slices of a study show a finding best, plain and with its labels, and what each shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attending.errors import AttendingError, printable
from attending.experts import Finding, Segmentation
from attending.imaging import Picture, Study, Volume, Window, largest_slice, overlay_picture, slice_picture, window_for
from attending.reporting.plain import slug
from attending.spatial import same_grid

_MOST_STRUCTURES = 3
_LONGEST_STRIP = 8  # a plane whose slices are longer than this times their width shows little


@dataclass(frozen=True, eq=False)
class Figure:
    """One place in a study.

    Attributes:
        name: For files: expert, structure, plane, slice.
        about: The structure that it is about; empty for all of them.
        overlay: With the labels painted; its `legend` names them.
        plain: The same slice without; None where only the expert's own picture is there.
    """

    name: str
    about: str
    overlay: Picture
    plain: Picture | None = None


def figures_of(finding: Finding, study: Study | None) -> Iterator[Figure]:
    """The slices on which a finding is largest, in up to three planes, for each of its lesions or for all of its mask.

    What the expert measured as a lesion (it has a side, or an organ that it lies in) gets slices of its own, the three
    largest of them. Where the series cannot be read any more, the expert's own pictures are given.
    """
    expert = slug(finding.record.expert)
    found = finding.segmentation
    source = None if found is None else _source(finding, found, study)
    if found is None or source is None:
        for picture in finding.pictures:
            yield Figure(f"{expert}-{place_name(picture)}", "", picture)
        return
    volume, shown = source
    for label in _structures(finding, found):
        name = "" if label is None else printable(found.names.get(label, f"label {label}"))
        for plane in _planes(volume):
            index = largest_slice(found.labels, plane, label)
            plain = slice_picture(volume, plane, index=index, window=shown, square=True)
            overlay = overlay_picture(
                volume, found.labels, plane, index=index, window=shown, square=True, names=found.names, outline=True
            )
            structure = slug(name) if name else _legend_name(overlay)
            yield Figure(f"{expert}-{structure}-{plane}-{index:03d}", name, overlay, plain)


def place_name(picture: Picture) -> str:
    """Structure, plane and slice of a picture, for a file name."""
    parts = [_legend_name(picture)] if picture.legend else []
    parts.append(picture.plane or "image")
    return "-".join(parts if picture.index is None else [*parts, f"{picture.index:03d}"])


def caption(picture: Picture) -> str:
    """Plane, slice, place and window of a picture in words."""
    if picture.plane is None:
        told = ["image"] if not picture.index else [f"frame {picture.index}"]
    else:
        told = [f"{picture.plane} slice {picture.index}"]
    if picture.position is not None:
        told.append(f"{picture.position:.1f} mm")
    if picture.window is not None:
        told.append(f"window {picture.window.center:.4g} / {picture.window.width:.4g}")
    return ", ".join(told)


def _legend_name(picture: Picture) -> str:
    if len(picture.legend) > 2:
        return f"{len(picture.legend)}-structures"
    return slug(" ".join(name for name, _ in picture.legend))


def _source(finding: Finding, found: Segmentation, study: Study | None) -> tuple[Volume, Window] | None:
    """The first channel of the finding's first series on whose grid the mask lies, and the window to show it with."""
    if study is None or not found.labels.array.any():
        return None
    for series in study.series:
        if series.id not in finding.record.inputs or series.kind != "volume":
            continue
        try:
            volume = series.volume
            if not same_grid(found.labels, volume):
                continue
            array = volume.array if volume.array.ndim == 3 else volume.array[0]
            return replace(volume, array=array), window_for(series.modality, series.body_part, array)
        except AttendingError:  # the files have gone since: the report goes without
            continue
    return None


def _structures(finding: Finding, found: Segmentation) -> list[int | None]:
    """The label ids to look at one by one, largest first; None stands for the whole mask."""
    present = found.present
    lesions = {
        label: facts.get("volume_ml") or 0
        for label in present
        if {"side", "inside"} & set(facts := finding.measurements.get(found.names.get(label, ""), {}))
    }
    if lesions:
        return [*sorted(lesions, key=lambda label: -lesions[label])[:_MOST_STRUCTURES]]
    return [present[0]] if len(present) == 1 else [None]


def _planes(volume: Volume) -> list[str]:
    """Axial first; planes that would be thin strips are left out, unless all are."""
    x, y, z = (step * count for step, count in zip(volume.canonical().spacing, volume.canonical().shape, strict=True))
    sides = {"axial": (x, y), "coronal": (x, z), "sagittal": (y, z)}
    length = {plane: max(two) / min(two) for plane, two in sides.items()}
    return [plane for plane in sides if length[plane] <= max(_LONGEST_STRIP, min(length.values()))]
