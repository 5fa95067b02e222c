"""Cases for an expert: opened, brought to the network's grid and intensities by the expert's own code, kept on disk."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from attending.corpora.phantom_cases import CLASSES
from attending.errors import AttendingError, InputError
from attending.experts.bundle import Recipe as Preparation
from attending.experts.classifier import as_seen, grey
from attending.experts.segment import prepare
from attending.imaging import Volume, open_study, slice_picture
from attending.spatial import resample, same_grid
from attending.training.data import DataError
from attending.training.expert_recipe import ExpertRecipe, Volumes

if TYPE_CHECKING:
    from attending.phantom import Case

Truth = npt.NDArray[np.generic]
_COVERED = 0.5
"""Share of a pixel from which on it belongs to a shadow."""


def preparation(recipe: ExpertRecipe) -> Preparation:
    """How images are brought to the network; the bundle says the same."""
    name = str(recipe.scale.get("_target_", ""))
    arguments = {key: value for key, value in recipe.scale.items() if key != "_target_"}
    return Preparation(recipe.spacing, "RAS", ((name, arguments),))


def gather(recipe: ExpertRecipe, source: Volumes, folder: Path, tell: Callable[[str], None]) -> list[Path]:
    """Prepare every case of a source into `folder`, unless it is there already.

    Returns:
        Files with `image` `[C, X, Y, Z]` (radiographs `[1, rows, columns]`) float16 and `truth`: label ids or masks; of
        a radiograph 0, 1 and NaN for each finding, or where it is known masks `[findings, rows, columns]`.

    Raises:
        DataError: All cases that cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, problems = [], list[AttendingError]()
    listed = _listed(recipe, source)
    tell(f"preparing {len(listed)} cases")
    for name, make in listed:
        path = folder / f"{name}.npz"
        try:
            if not path.exists():
                image, truth = make()
                _keep(path, image, truth)
            found.append(path)
        except AttendingError as error:
            problems.append(error)
    if problems:
        raise DataError(problems)
    return found


def _keep(path: Path, image: torch.Tensor, truth: Truth) -> None:
    aside = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    save = np.savez_compressed if image.ndim == 3 else np.savez  # masks of films are mostly nothing
    save(aside, image=image.numpy().astype(np.float16), truth=truth)
    aside.replace(path)


Make = Callable[[], tuple[torch.Tensor, Truth]]


def _listed(recipe: ExpertRecipe, source: Volumes) -> list[tuple[str, Make]]:
    if source.phantom is not None:
        return _phantoms(recipe, source)
    rows = _decathlon(recipe, source) if source.decathlon is not None else _table(recipe, source)
    return rows[source.first : source.first + source.count]


def _phantoms(recipe: ExpertRecipe, source: Volumes) -> list[tuple[str, Make]]:
    from attending.phantom import seeds_of

    kind = str(source.phantom)
    if (kind == "cxr") != (recipe.task == "classification"):
        raise InputError("radiographs are for classification, CT and MRI for segmentation", field="data.phantom")

    def make(seed: int) -> tuple[torch.Tensor, Truth]:
        case = drawn(source, seed)
        if kind == "cxr":
            film = slice_picture(case.volumes["frontal"], "coronal", index=0)
            return _radiograph(recipe, film.pixels[..., 0]), shadows(recipe, case)
        names = recipe.sequences or tuple(case.volumes)[:1]
        return _segmented(recipe, [case.volumes[name] for name in names], case.labels)

    seeds = seeds_of(source.split, source.first, source.count)
    return [(f"{kind}-{seed}", partial(make, seed)) for seed in seeds]


def drawn(source: Volumes, seed: int) -> Case:
    """A patient with findings by their chances; what finds no room beside the others is left out."""
    from attending.phantom import between, generate
    from attending.phantom.finding import KINDS, Request

    kind, style = str(source.phantom), source.styles[seed % len(source.styles)]
    hospital = between(source.styles, np.random.default_rng([seed, 1])) if source.between else style
    if source.findings is None:
        return generate(kind, seed, hospital)
    draw = np.random.default_rng(seed)
    wishes = [
        Request(name, count=int(draw.integers(1, KINDS[name].most + 1)))
        for name, chance in source.findings.items()
        if draw.random() < chance
    ]
    while True:
        try:
            return generate(kind, seed, hospital, findings=wishes)
        except InputError:
            if not wishes:
                raise
            wishes.pop(int(draw.integers(len(wishes))))


def shadows(recipe: ExpertRecipe, case: Case) -> Truth:
    """Masks `[findings, rows, columns]` on the network's grid: those of a case lie along R and S, a film from above."""
    visit = case.visits[-1]
    masks = dict(zip(visit.channels, visit.labels.array[:, :, 0, :], strict=True))
    found = {name: np.zeros(recipe.patch, bool) for name in recipe.labels.values()}
    for finding in visit.findings:
        name = CLASSES[finding.kind]
        if name in found:
            shadow = masks["heart" if finding.kind == "cardiomegaly" else finding.id]
            found[name] |= as_seen(np.flip(shadow.T), recipe.patch)[0].numpy() > _COVERED
    return np.stack(list(found.values())).astype(np.uint8)


def _decathlon(recipe: ExpertRecipe, source: Volumes) -> list[tuple[str, Make]]:
    from attending.model.weights import read_json

    root = Path(str(source.decathlon)).expanduser()
    rows = read_json(root / "dataset.json").get("training")
    if not isinstance(rows, list) or not rows:
        raise InputError("expected a list of cases", path=root / "dataset.json", field="training")

    def make(row: Any, number: int) -> tuple[torch.Tensor, Truth]:
        try:
            image, label = (root / str(row[key]) for key in ("image", "label"))
        except (KeyError, TypeError) as error:
            where = f"training {number}"
            raise InputError("expected image and label", path=root / "dataset.json", field=where, value=row) from error
        for path in (image, label):
            if not path.resolve().is_relative_to(root.resolve()):
                raise InputError("leads out of the folder", path=root / "dataset.json", value=path)
        volume = open_study(image, modality=recipe.modality).series[0].volume
        channels = [replace(volume, array=one) for one in volume.array] if volume.array.ndim == 4 else [volume]
        return _segmented(recipe, channels, open_study(label).series[0].volume)

    return [(f"case-{number:05}", partial(make, row, number)) for number, row in enumerate(rows)]


def _table(recipe: ExpertRecipe, source: Volumes) -> list[tuple[str, Make]]:
    path = Path(str(source.table)).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"cannot be read as a table: {error}", path=path) from error
    columns = rows[0].keys() if rows else []
    for name in ("image", *recipe.labels.values()):
        if name not in columns:
            raise InputError(f"is no column; there are {', '.join(columns) or 'none'}", path=path, field=name)

    def make(row: dict[str, str], number: int) -> tuple[torch.Tensor, Truth]:
        told = []
        for name in recipe.labels.values():
            cell = (row[name] or "").strip()
            if cell not in ("", "0", "1", "0.0", "1.0"):
                raise InputError("expected 0, 1 or nothing", path=path, field=f"row {number}, {name}", value=cell)
            told.append(float(cell) if cell else np.nan)
        file = path.parent / row["image"]
        series = open_study(file, modality=recipe.modality).series[0]
        if series.kind != "image":
            raise InputError("expected a radiograph", path=file, field="kind", value=series.kind)
        return _radiograph(recipe, grey(series.image)), np.array(told, np.float32)

    return [(f"row-{number:06}", partial(make, row, number)) for number, row in enumerate(rows, 2)]


def _radiograph(recipe: ExpertRecipe, levels: npt.NDArray[Any]) -> torch.Tensor:
    """`[1, rows, columns]` on the network's grid."""
    return preparation(recipe).scale(as_seen(levels, recipe.patch))


def _segmented(recipe: ExpertRecipe, volumes: Sequence[Volume], labels: Volume) -> tuple[torch.Tensor, Truth]:
    """Image and truth on the network's grid; what is smaller than a window is padded."""
    image, grid = prepare(volumes, preparation(recipe))
    there = labels if same_grid(labels, grid) else resample(labels, grid, nearest=True)
    channels = [np.isin(there.array, recipe.merge.get(channel, [channel])) for channel in recipe.labels]
    if recipe.overlapping:
        truth = np.stack(channels).astype(np.uint8)
    else:
        truth = np.zeros((1, *grid.shape), np.uint8)
        for channel, mask in zip(recipe.labels, channels, strict=True):
            truth[0][mask] = channel
    short = [(0, max(0, side - size)) for side, size in zip(recipe.patch, grid.shape, strict=True)]
    padded = torch.from_numpy(np.pad(image.numpy(), [(0, 0), *short]))
    return padded, np.pad(truth, [(0, 0), *short])
