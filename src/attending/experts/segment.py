"""What all segmentation experts share: prepare the image, run the network, measure the mask, tell what was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from attending.experts.bundle import BundleExpert, Recipe, weights_hash
from attending.experts.device import on_best_device, precision
from attending.experts.finding import Finding, Record, Segmentation
from attending.experts.fit import digest
from attending.experts.grid import Decide, Slabs, back, decided, network_grid, onto
from attending.experts.kept import Segmented
from attending.experts.window import window_for
from attending.imaging import Picture, Series, Volume, overlay_picture
from attending.imaging import window_for as display_window
from attending.spatial import containing, measure, region, regions, side

Made = npt.NDArray[Any] | tuple[Slabs, Decide]
"""Label ids `[X, Y, Z]`; or slabs of logits, and how label ids are decided from them: in two layers where the first
says whether something is there, the second how far it reaches if it is."""
Segment = Callable[[torch.nn.Module, torch.Tensor, tuple[int, int, int], torch.device], Made]
"""Network, image `[C, X, Y, Z]`, window and device to what was found on the image's grid."""

_COMPONENTS_MEASURED = 10


def prepare(volumes: Sequence[Volume | None], recipe: Recipe) -> tuple[torch.Tensor, Volume]:
    """The network's input `[C, X, Y, Z]` float32, one channel a volume, and the grid it lies on: that of the first.

    The channel of a volume that is missing (None) is 0 after the intensity transforms, as in training; these must then
    treat each channel by itself.
    """
    there = [volume for volume in volumes if volume is not None]
    grid = network_grid(there[0], recipe.spacing, recipe.orientation)
    channels = [onto(volume, grid, outside=float(volume.array.min())).array for volume in there]
    image = recipe.scale(torch.from_numpy(np.ascontiguousarray(np.stack(channels))))
    if len(there) < len(volumes):
        scaled, image = image, torch.zeros(len(volumes), *grid.shape)
        image[[volume is not None for volume in volumes]] = scaled
    return image, grid


def run_bundle(
    expert: BundleExpert,
    used: Sequence[Series | None],
    recipe: Recipe,
    segment: Segment,
    *,
    keep: bool = False,
    names: Mapping[str, tuple[int, ...]] = {},
    **settings: Any,
) -> Segmented:
    """Segment with a bundle's network on the best device.

    Args:
        expert: Has the bundle.
        used: The series it sees, one channel each; None for one that is missing.
        recipe: How it sees them.
        segment: Does the work.
        keep: The images alone decide the result, so that of the last time is used again.
        names: Label ids of what the bundle may name a smallest size for: parts below it are taken out.
        settings: More for the record.

    Returns:
        The mask on the grid of the first series, what ran on what (the runner adds name, arguments and time), and a
        warning when the window was smaller than the makers' where the image would have filled theirs.
    """
    first = next(series.volume for series in used if series is not None)
    inputs = {series.id: digest(series) for series in used if series is not None}
    least = expert.bundle.least_ml(names)

    def work(device: torch.device) -> Segmented:
        image, grid = prepare([None if series is None else series.volume for series in used], recipe)
        shape = image.shape[1:]
        roi = window_for(shape, recipe.roi, device)
        made = segment(expert.network.to(device), image, roi, device)
        labels, *reach = decided(*made, grid, first) if isinstance(made, tuple) else [back(made, grid, first)]
        if least:
            labels = without_specks(labels, least)
        for far in reach:
            labels = reaching(labels, far)
        record = Record(
            expert="",
            version=expert.bundle.version,
            weights=weights_hash(expert.bundle.weights_file),
            inputs=inputs,
            device=device.type,
            settings={
                "window": list(roi),
                "spacing": list(grid.spacing),
                "precision": str(precision(device)),
                **settings,
            },
        )
        warnings = []
        if any(taken < min(side, size) for taken, side, size in zip(roi, recipe.roi, shape, strict=True)):
            sizes = [" x ".join(map(str, sides)) for sides in (roi, recipe.roi)]
            warnings.append(f"the network saw windows of {sizes[0]} voxels instead of {sizes[1]}, to fit into memory")
        return labels, record, warnings

    if not keep:
        return on_best_device(work)
    key = tuple(series and (series.id, inputs[series.id]) for series in used)
    return expert.kept.get(key, lambda: on_best_device(work))


def without_specks(labels: Volume, least: Mapping[tuple[int, ...], float]) -> Volume:
    """The mask without parts that are too small to be believed; each becomes what most of its border is.

    Args:
        labels: Label ids, uint8.
        least: By ids that count as one structure, the smallest part in mL that stays.
    """
    array = labels.array.copy()
    voxel = abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000  # mL
    for ids, smallest in least.items():
        parts, count = ndimage.label(np.isin(array, ids), np.ones((3, 3, 3), int))
        sizes = np.sum([np.bincount(slab.ravel(), minlength=count + 1) for slab in parts], axis=0)
        boxes = ndimage.find_objects(parts)
        for number in np.flatnonzero(sizes[1:] * voxel < smallest) + 1:
            box = tuple(slice(max(0, one.start - 1), one.stop + 1) for one in boxes[number - 1])
            part = parts[box] == number
            border = ndimage.binary_dilation(part, np.ones((3, 3, 3))) & ~part
            array[box][part] = np.bincount(array[box][border], minlength=1).argmax()
    return replace(labels, array=array)


def reaching(labels: Volume, far: Volume) -> Volume:
    """The mask with each label as far as it reaches: the parts of the same label in `far` that it touches.

    Args:
        labels: Label ids: what is there.
        far: Label ids on the same grid, some labels of which reach farther.
    """
    array = labels.array.copy()
    for label in np.unique(far.array[far.array != labels.array]):
        parts, _ = ndimage.label(far.array == label, np.ones((3, 3, 3), int))
        touched = np.unique(parts[labels.array == label])
        array[np.isin(parts, touched[touched > 0])] = label
    return replace(labels, array=array)


def tell(
    labels: Volume,
    names: Mapping[int, str],
    series: Series,
    record: Record,
    warnings: Sequence[str],
    lesions: Collection[int] = (),
    reference: Volume | None = None,
    whole: Segmentation | None = None,
) -> Finding:
    """A finding from a mask on the series' grid: measurements, a sentence for each label, a picture.

    Args:
        labels: The mask.
        names: Names of the labels that were looked for.
        series: Where it was found.
        record: What ran.
        warnings: So far.
        lesions: Label ids of lesions: these also get what `measure_lesion` says and the organ they lie in.
        reference: As `measure_lesion` says.
        whole: All that the network found, where `labels` is only what was asked for: lesions lie in its organs.
    """
    volume = series.volume
    image = volume if volume.array.ndim == 3 else None
    whole = whole or Segmentation(labels, names)
    organs = {label: name for label, name in whole.names.items() if label not in lesions}
    measured: dict[str, dict[str, Any]] = {}
    sentences = []
    present = regions(labels)
    for label, found in present.items():
        name = names.get(label, f"label {label}")
        if label in lesions:
            facts = measure_lesion(labels, label, image, reference)
            within = containing(found, whole.labels, organs) if organs else None
            facts |= {"inside": within.name, "inside_share": within.share} if within else {}
        else:
            facts = measure(found, image=image).to_dict()
        measured[name] = facts
        sentences.append(sentence(name, facts))
    missing = [name for label, name in names.items() if label not in present]
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


def measure_lesion(
    mask: Volume, label: int | None = None, image: Volume | None = None, reference: Volume | None = None
) -> dict[str, Any]:
    """`Measurement.to_dict`, the `side` and what it was judged by (`midline`), and the largest components one by one.

    `largest_components` holds at most 10, largest first, each with `volume_ml`, `longest_axial_diameter_mm`,
    `perpendicular_diameter_mm`, `centroid_ras_mm` and `side`.

    Args:
        mask: Label ids or booleans.
        label: Which id; None for all that is not 0.
        image: For the intensity.
        reference: Mask of the body or of an organ across the midline; by default the midline is the volume's centre.
    """
    found = region(mask, label)
    facts = measure(found, image=image).to_dict()
    on = side(mask, label, reference)
    if on is None:
        return facts
    facts |= {"side": on.side, "midline": on.reference}
    astride = Volume(np.ones((2, 1, 1), bool), np.diag([2.0, 1, 1, 1]))  # two voxels, 1 mm to each side of the midline
    astride.affine[0, 3] = on.midline_mm - 1
    parts, count = ndimage.label(found.array, np.ones((3, 3, 3), int))
    sizes = np.sum([np.bincount(slab.ravel(), minlength=count + 1) for slab in parts], axis=0)[1:]
    told = []
    for index in np.argsort(-sizes, kind="stable")[:_COMPONENTS_MEASURED]:
        one = found if count == 1 else region(Volume(parts == index + 1, found.affine))
        its = facts if count == 1 else measure(one).to_dict()
        where = side(one, reference=astride)
        keys = ("volume_ml", "longest_axial_diameter_mm", "perpendicular_diameter_mm", "centroid_ras_mm")
        told.append({key: its[key] for key in keys} | {"side": where.side if where else on.side})
    return facts | {"largest_components": told}


def sentence(name: str, facts: Mapping[str, Any]) -> str:
    """A label's measurements in words; those of a lesion, which has a side, with its extent and place."""
    said = f"{name}: {facts['volume_ml']:.1f} mL"
    if "side" in facts:
        parts = facts["components"]
        said += f" in {parts} part{'s' if parts != 1 else ''}"
        said += f", the largest {facts['longest_axial_diameter_mm']:.0f} x {facts['perpendicular_diameter_mm']:.0f} mm"
        said += f", side: {facts['side']}"
        said += f", in: {facts['inside']}" if "inside" in facts else ""
    return said + "."


def _picture(volume: Volume, labels: Volume, names: Mapping[int, str], series: Series) -> tuple[Picture, ...]:
    """The axial slice with most of the mask; none when the mask is empty."""
    if not labels.array.any():
        return ()
    window = display_window(series.modality, series.body_part, volume.array)
    return (overlay_picture(volume, labels, "axial", names=names, window=window, square=True),)
