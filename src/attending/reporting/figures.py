"""Figures: which slices of a study show a finding best, plain and with its labels, and what each shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from attending.errors import AttendingError, printable
from attending.experts import Finding, Segmentation
from attending.imaging import Picture, Study, Volume, Window, largest_slice, overlay_picture, slice_picture, window_for
from attending.imaging.slices import PLANES
from attending.reporting.plain import slug
from attending.reporting.tables import is_lesion
from attending.spatial import same_grid

_MOST_LESIONS = 3
_LEAST_MM = 100  # side of an enlarged part
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
    """The slices on which a finding is largest: all its labels, and each of its lesions by itself and enlarged.

    All labels are shown in the planes that show much; where there are lesions, on an axial slice through the largest.
    A lesion is what the expert measured as one (it has a side, or an organ that it lies in); the three largest are
    shown. Where the series cannot be read any more, the expert's own pictures are given.
    """
    expert = slug(finding.record.expert)
    found = finding.segmentation
    source = None if found is None else _source(finding, found, study)
    if found is None or source is None:
        for picture in finding.pictures:
            yield Figure(f"{expert}-{place_name(picture)}", "", picture)
        return
    volume, window = source
    lesions = _lesions(finding, found)
    planes = _planes(volume)
    for plane in planes[:1] if lesions else planes:
        index = largest_slice(found.labels, plane, lesions[0] if lesions else None)
        plain, overlay = _pair(volume, found, plane, index, window, outline=False)
        yield Figure(f"{expert}-{_legend_name(overlay)}-{plane}-{index:03d}", "", overlay, plain)
    for label in lesions:
        name = printable(found.names[label])
        alone = Segmentation(replace(found.labels, array=_only(found.labels.array, label)), found.names)
        for plane in planes:
            index = largest_slice(alone.labels, plane)
            whole, painted = _pair(volume, alone, plane, index, window, outline=True)
            plain, overlay = _around(alone, whole), _around(alone, painted)
            cut = plain.pixels.shape != whole.pixels.shape
            place = f"{expert}-{slug(name)}-{plane}-{index:03d}"
            yield Figure(f"{place}-enlarged" if cut else place, f"{name}, enlarged" if cut else name, overlay, plain)


def place_name(picture: Picture) -> str:
    """Structure, plane and slice of a picture, for a file name."""
    parts = [_legend_name(picture)] if picture.legend else []
    parts.append(picture.plane or "image")
    return "-".join(parts if picture.index is None else [*parts, f"{picture.index:03d}"])


def caption(picture: Picture, study: Study | None) -> str:
    """Series, plane, slice, place and window of a picture in words."""
    there = [] if study is None else [series for series in study.series if series.id == picture.series]
    told = [series.description or series.sequence or series.modality or "" for series in there]
    if picture.plane is not None:
        told.append(f"{picture.plane} slice {picture.index}")
    elif picture.index:
        told.append(f"frame {picture.index}")
    if picture.position is not None:
        told.append(f"{picture.position:.1f} mm")
    if picture.window is not None:
        told.append(f"window {picture.window.center:.4g} / {picture.window.width:.4g}")
    return ", ".join(filter(None, told)) or "image"


def _legend_name(picture: Picture) -> str:
    if len(picture.legend) > 2:
        return f"{len(picture.legend)}-structures"
    return slug(" ".join(name for name, _ in picture.legend))


def _source(finding: Finding, found: Segmentation, study: Study | None) -> tuple[Volume, Window] | None:
    """The first channel of the finding's first series on whose grid the mask lies, and the window to show it with."""
    if study is None or not found.labels.array.any():
        return None
    by_id = {series.id: series for series in study.series if series.kind == "volume"}
    for series in (by_id[name] for name in finding.record.inputs if name in by_id):
        try:
            volume = series.volume
        except AttendingError:  # the files have gone since: the report goes without
            continue
        if same_grid(found.labels, volume):
            array = volume.array if volume.array.ndim == 3 else volume.array[0]
            return replace(volume, array=array), window_for(series.modality, series.body_part, array)
    return None


def _lesions(finding: Finding, found: Segmentation) -> list[int]:
    """The label ids of at most three lesions, largest first."""
    volumes = {}
    for label in found.present:
        facts = finding.measurements.get(found.names.get(label, ""), {})
        if is_lesion(facts):
            volumes[label] = float(facts.get("volume_ml") or 0)
    return sorted(volumes, key=lambda label: -volumes[label])[:_MOST_LESIONS]


def _only(array: npt.NDArray[np.generic], label: int) -> npt.NDArray[np.generic]:
    return np.where(array == label, array, array.dtype.type(0))


def _pair(
    volume: Volume, found: Segmentation, plane: str, index: int, window: Window, *, outline: bool
) -> tuple[Picture, Picture]:
    """A slice plain, and with its labels; filled, many can be told apart; the outline of one shows what is inside."""
    plain = slice_picture(volume, plane, index=index, window=window, square=True)
    overlay = overlay_picture(
        volume,
        found.labels,
        plane,
        index=index,
        window=window,
        square=True,
        names=found.names,
        alpha=0.4,
        outline=outline,
    )
    return plain, overlay


def _around(found: Segmentation, picture: Picture) -> Picture:
    """The square part of a slice around the mask: three times its extent, at least 10 cm, within the picture."""
    plane = picture.plane or ""
    mask = np.moveaxis(found.labels.canonical().array, PLANES[plane], 0)[picture.index][::-1, ::-1].T
    shape = picture.pixels.shape[:2]
    spans = []
    for axis in (0, 1):
        hit = np.flatnonzero(mask.any(axis=1 - axis))
        scale = shape[axis] / mask.shape[axis]  # the picture has square pixels, the mask those of the grid
        spans.append((hit[0] * scale, (hit[-1] + 1) * scale))
    least = _LEAST_MM / picture.spacing[0] if picture.spacing else 0
    side = max(least, *(3 * (end - start) for start, end in spans))
    cut = []
    for (start, end), size in zip(spans, shape, strict=True):
        first = round(min(max(0, (start + end - side) / 2), max(0, size - side)))
        cut.append(slice(first, min(size, first + math.ceil(side))))
    return replace(picture, pixels=picture.pixels[tuple(cut)])


def _planes(volume: Volume) -> list[str]:
    """Axial first; planes that would be thin strips are left out, unless all are."""
    x, y, z = (step * count for step, count in zip(volume.canonical().spacing, volume.canonical().shape, strict=True))
    sides = {"axial": (x, y), "coronal": (x, z), "sagittal": (y, z)}
    length = {plane: max(two) / min(two) for plane, two in sides.items()}
    return [plane for plane in sides if length[plane] <= max(_LONGEST_STRIP, min(length.values()))]
