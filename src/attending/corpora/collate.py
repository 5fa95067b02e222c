"""Samples become the tensors of one forward pass: packed into one row, or padded, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attending.corpora.packing import IGNORED, Sample
from attending.imaging import Picture

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """What one forward pass takes.

    Attributes:
        ids: `[rows, length]` int64.
        labels: `[rows, length]` int64, `IGNORED` where nothing is learned.
        positions: `[rows, length]` int64, from 0 within each conversation. In a packed row they begin anew with each;
            by this Transformers' attention (eager, sdpa, flash, flex) keeps conversations apart.
        mask: `[rows, length]` int64, 0 on padding; None in a packed batch, which has none.
        images: Of all rows, in order.
        learned: How many labels are not ignored.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    images: tuple[Path | Picture, ...]
    learned: int

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        return replace(
            self, ids=self.ids.to(device), labels=self.labels.to(device), positions=self.positions.to(device), mask=mask
        )


def packed(samples: Sequence[Sample]) -> Batch:
    """One row that holds all samples, one after the other, without padding."""
    import torch

    return Batch(
        torch.from_numpy(np.concatenate([one.ids for one in samples]))[None],
        torch.from_numpy(np.concatenate([one.labels for one in samples]))[None],
        torch.from_numpy(np.concatenate([np.arange(len(one)) for one in samples]))[None],
        None,
        tuple(image for one in samples for image in one.images),
        _learned(samples),
    )


def padded(samples: Sequence[Sample], pad: int) -> Batch:
    """A row for each sample, filled on the right with the id `pad` to the length of the longest."""
    import torch

    longest = max(map(len, samples))
    ids = np.full((len(samples), longest), pad, np.int64)
    labels = np.full((len(samples), longest), IGNORED, np.int64)
    mask = np.zeros((len(samples), longest), np.int64)
    for row, one in enumerate(samples):
        ids[row, : len(one)], labels[row, : len(one)], mask[row, : len(one)] = one.ids, one.labels, 1
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()
    images = tuple(image for one in samples for image in one.images)
    there, told, where, kept = (torch.from_numpy(one) for one in (ids, labels, positions, mask))
    return Batch(there, told, where, kept, images, _learned(samples))


def _learned(samples: Sequence[Sample]) -> int:
    return int(sum((one.labels != IGNORED).sum() for one in samples))
