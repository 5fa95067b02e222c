"""What all segmentation experts share: prepare the image, run the network, measure the mask, tell what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from attending.experts.bundle import Bundle, Recipe, weights_hash
from attending.experts.finding import Finding, Record, Segmentation
from attending.experts.fit import digest
from attending.experts.grid import network_grid, onto
from attending.imaging import Picture, Series, Volume, overlay_picture, window_for
from attending.spatial import containing, measure, regions, side


def prepare(volumes: Sequence[Volume], recipe: Recipe) -> tuple[torch.Tensor, Volume]:
    """The network's input `[C, X, Y, Z]` float32, one channel a volume, and the grid it lies on: that of the first."""
    grid = network_grid(volumes[0], recipe.spacing, recipe.orientation)
    channels = [onto(volume, grid, outside=float(volume.array.min())).array for volume in volumes]
    return recipe.scale(torch.from_numpy(np.ascontiguousarray(np.stack(channels)))), grid


def tell(
    labels: Volume,
    names: Mapping[int, str],
    series: Series,
    record: Record,
    warnings: Sequence[str],
    lesions: Collection[int] = (),
) -> Finding:
    """A finding from a mask on the series' grid: measurements, a sentence for each label, a picture.

    Args:
        labels: The mask.
        names: Names of the labels that were looked for.
        series: Where it was found.
        record: What ran.
        warnings: So far.
        lesions: Label ids of lesions: these also get diameters, intensity, side and the organ they lie in.
    """
    volume = series.volume
    image = volume if volume.array.ndim == 3 else None
    measured: dict[str, dict[str, Any]] = {}
    sentences = []
    for label, found in regions(labels).items():
        name = names.get(label, f"label {label}")
        facts = measure(found, image=image).to_dict()
        if label in lesions:
            on = side(labels, label)
            within = containing(found, labels, names, ignore=lesions)
            facts |= {"side": on.side, "midline": on.reference} if on else {}
            facts |= {"inside": within.name, "inside_share": within.share} if within else {}
        measured[name] = facts
        sentences.append(_sentence(name, facts, label in lesions))
    missing = [name for label, name in names.items() if label not in regions(labels)]
    if missing and len(missing) <= 10:
        sentences.append(f"Not found: {', '.join(missing)}.")
    text = " ".join(sentences) or "Nothing of what was looked for was found."
    return Finding(
        "done",
        text,
        record,
        Segmentation(labels, dict(names)),
        measured,
        pictures=_picture(volume, labels, names, series),
        warnings=tuple(warnings),
    )


def record_of(bundle: Bundle, used: Sequence[Series], device: torch.device, **settings: Any) -> Record:
    """What ran on what; the runner adds name, arguments and time."""
    return Record(
        expert="",
        version=bundle.version,
        weights=weights_hash(bundle.weights_file),
        inputs={series.id: digest(series) for series in used},
        device=device.type,
        settings=settings,
    )


def window_warning(recipe: Recipe, window: Sequence[int], shape: Sequence[int]) -> list[str]:
    """A warning when the window is smaller than the makers' where the image would have filled theirs."""
    if all(used >= min(side, size) for used, side, size in zip(window, recipe.roi, shape, strict=True)):
        return []
    sizes = [" x ".join(map(str, sides)) for sides in (window, recipe.roi)]
    return [f"the network saw windows of {sizes[0]} voxels instead of {sizes[1]}, to fit into memory"]


def _sentence(name: str, facts: Mapping[str, Any], lesion: bool) -> str:
    said = f"{name}: {facts['volume_ml']:.1f} mL"
    if lesion:
        parts = facts["components"]
        said += f" in {parts} part{'s' if parts != 1 else ''}"
        said += f", the largest {facts['longest_axial_diameter_mm']:.0f} x {facts['perpendicular_diameter_mm']:.0f} mm"
        said += f", side: {facts['side']}" if "side" in facts else ""
        said += f", in: {facts['inside']}" if "inside" in facts else ""
    return said + "."


def _picture(volume: Volume, labels: Volume, names: Mapping[int, str], series: Series) -> tuple[Picture, ...]:
    """The axial slice with most of the mask; none when the mask is empty."""
    if not labels.array.any():
        return ()
    window = window_for(series.modality, series.body_part, volume.array)
    return (overlay_picture(volume, labels, "axial", names=names, window=window, square=True),)
