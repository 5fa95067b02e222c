"""Captions of phantoms, for the early stages: pictures with sentences of what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.corpora.conversation import Conversation, turns
from attending.corpora.dataset import Dataset
from attending.corpora.readers.gather import Built
from attending.errors import InputError
from attending.imaging import Picture, Volume, reference_picture, slice_picture
from attending.training.fields import build

if TYPE_CHECKING:
    from attending.phantom import Case

_SEQUENCES = {"t1": "T1", "t1ce": "contrast-enhanced T1", "t2": "T2", "flair": "FLAIR"}
_MOST_NAMED = 6
_LEAST_PIXELS = 12
"""Of a structure in a slice, for it to be named."""


@dataclass(frozen=True)
class CaptionOptions:
    """Options of `phantom-captions`."""

    kinds: str = "cxr,ct,mri"
    cases: int = 20
    """Of each kind."""
    slices: int = 4
    """Of each CT and MRI."""
    first: int = 0
    styles: str = "A,B,C"
    side: int = 0
    """Voxels of CT and MRI along each axis; 0 for the usual."""


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _seeds(split: str, first: int, cases: int) -> range:
    from attending.phantom import seeds_of

    return seeds_of({"validate": "validation"}.get(split, split), first, cases)


def _shape(kind: str, side: int) -> tuple[int, int, int] | None:
    """Radiographs have no fewer than 128 pixels, and four times those of a slice."""
    if not side:
        return None
    return (max(128, 4 * side), 1, max(128, 4 * side)) if kind == "cxr" else (side, side, side)


def captions(split: str, options: Mapping[str, Any]) -> Dataset:
    """Pictures of phantoms, each with sentences of what it shows and what it does not."""
    chosen = build(CaptionOptions, options, "options")
    from attending.phantom import generate

    styles = _listed(chosen.styles)

    @lru_cache(maxsize=1)
    def case(kind: str, seed: int) -> Case:
        return generate(kind, seed, styles[seed % len(styles)], shape=_shape(kind, chosen.side))

    def make(row: tuple[str, int, int]) -> Conversation:
        kind, seed, number = row
        made = case(kind, seed)
        draw = np.random.default_rng([seed, number])
        picture, text = _film(made) if kind == "cxr" else _slice(made, draw)
        return Conversation(
            f"{made.id}/{number}", turns("<image>", text), (picture,), f"phantom {seed}", "phantom-captions", split
        )

    seeds, kinds = _seeds(split, chosen.first, chosen.cases), _listed(chosen.kinds)
    for kind in kinds:
        if kind not in ("cxr", "ct", "mri"):
            raise InputError("expected some of cxr, ct, mri", field="options.kinds", value=kind)
    rows = [(kind, seed, n) for kind in kinds for seed in seeds for n in range(1 if kind == "cxr" else chosen.slices)]
    patients = frozenset(f"phantom {seed}" for seed in seeds)
    counts = {"rows": len(rows), "conversations": len(rows), "refused": 0}
    return Dataset("phantom-captions", split, Built(rows, make), counts, patients=patients, images=())


def _film(case: Case) -> tuple[Picture, str]:
    told = [sentence["text"] for sentence in case.truth.report["findings"]]
    picture = slice_picture(case.volumes["frontal"], "coronal", index=0)
    return picture, " ".join(["This is a chest X-ray.", *told[:_MOST_NAMED]])


def _slice(case: Case, draw: np.random.Generator) -> tuple[Picture, str]:
    """An axial slice, the structures in it from the largest on, and the findings it cuts."""
    from attending.phantom import label_names

    name = "ct" if case.kind == "ct" else str(draw.choice(tuple(_SEQUENCES)))
    volume: Volume = case.volumes[name]
    depth = volume.array.shape[2]
    index = int(draw.integers(depth // 6, depth - depth // 6))
    names = label_names(case.kind)
    labels, counts = np.unique(case.labels.array[:, :, index], return_counts=True)
    there = [
        names[int(label)]
        for label, count in sorted(zip(labels, counts, strict=True), key=lambda one: -one[1])
        if label and count >= _LEAST_PIXELS
    ]
    cut = set(np.unique(case.visits[-1].instances.array[:, :, index]).tolist())
    kinds = [finding.kind for number, finding in enumerate(case.visits[-1].findings, 1) if number in cut]
    kind = "a CT image" if case.kind == "ct" else f"a {_SEQUENCES[name]} MRI of the brain"
    told = [f"This is {kind}."]
    told += [f"It shows {', '.join(there[:_MOST_NAMED])}."] if there else []
    told += [f"There is {' and '.join(dict.fromkeys(kinds))}." if kinds else "There is no lesion in this slice."]
    return reference_picture(volume, index), " ".join(told)


MADE = {"phantom-captions": captions}
"""By the name that a recipe's `read` gives, beside the readers of `attending.corpora`."""
