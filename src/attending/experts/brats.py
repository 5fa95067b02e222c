"""BRATS: the parts of a brain tumour in four MRI sequences, by the MONAI bundle `brats_mri_segmentation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attending.errors import printable
from attending.experts.bundle import BundleExpert, bundles_folder
from attending.experts.card import ExpertCard
from attending.experts.finding import Finding, Record
from attending.experts.fit import channels, fit
from attending.imaging import Series, Study, Volume
from attending.spatial import same_grid

if TYPE_CHECKING:
    import torch

    from attending.experts.grid import Decide, Slabs

NAMES = {1: "necrotic and non-enhancing tumor core", 2: "peritumoral edema", 4: "enhancing tumor"}
"""BraTS 2018's label ids."""
_UNIONS = {"tumor core": (1, 4), "whole tumor": (1, 2, 4)}
_SPACING = (1.0, 1.0, 1.0)
"""The bundle was trained on images of this spacing; its config does not say so, its metadata does."""
_ORIENTATION = "LPS"
"""That of the BraTS files."""
_LEAST_BACKGROUND = 0.2
"""A skull-stripped head leaves more than this of a volume at exactly 0."""
CARD = ExpertCard(
    name="BRATS",
    modality=("MR",),
    body_part=("HEAD", "BRAIN", "SKULL", "NEURO"),
    task="segmentation",
    overview="A pre-trained model for volumetric (3D) segmentation of brain tumor subregions from multimodal "
    "MRIs based on BraTS 2018 data",
    accuracy="Tumor core (TC): 0.8559 - Whole tumor (WT): 0.9026 - Enhancing tumor (ET): 0.7905 - Average: 0.8518",
    licence="Apache-2.0; the training data's own terms apply",
    version="0.5.2",
    sequences=("t1ce", "t1", "t2", "flair"),
)


class Brats(BundleExpert):
    """The expert.

    Args:
        folder: The bundle; by default `brats_mri_segmentation` in `bundles_folder()`.
        card: What the model is told; by default `CARD`. With `any_sequences`, sequences may be missing.
        stripped: The network was trained on heads without their skulls, and warns of others.
    """

    pull = "brats_mri_segmentation"

    def __init__(self, folder: Path | None = None, card: ExpertCard = CARD, stripped: bool = True) -> None:
        super().__init__(folder or bundles_folder() / self.pull)
        self._card, self._stripped = card, stripped
        self.pull = self.pull if card is CARD else ""

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return self._card

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Segment tumour core, oedema and enhancing tumour on the grid of the first sequence; see `Expert`."""
        from attending.experts.segment import run_bundle

        used, warnings = fit(self.card, study)
        warnings += _warnings(used, self._stripped)
        seen = channels(self.card, used)
        recipe = self.bundle.recipe()
        recipe = replace(recipe, spacing=recipe.spacing or _SPACING, orientation=recipe.orientation or _ORIENTATION)
        labels, record, told = run_bundle(
            self,
            seen,
            recipe,
            partial(segment, overlap=recipe.overlap),
            keep=True,
            names=_UNIONS,
            sequences=[role for role, series in zip(self.card.sequences, seen, strict=True) if series is not None],
        )
        return tell_tumor(labels, used[0], record, [*warnings, *told])


def tell_tumor(labels: Volume, series: Series, record: Record, warnings: Sequence[str]) -> Finding:
    """A finding from BraTS label ids: the subregions, and the tumour core and whole tumour that they make up.

    Sides are those of the head: of all that is not 0, since the skull and the air around it were removed.

    Args:
        labels: Ids of `NAMES`, on the grid of `series`.
        series: The first sequence.
        record: What ran.
        warnings: So far.
    """
    from attending.experts.segment import measure_lesion, sentence, tell

    head = replace(series.volume, array=series.volume.array != 0)
    finding = tell(labels, NAMES, series, record, warnings, lesions=tuple(NAMES), reference=head)
    unions = {name: replace(labels, array=np.isin(labels.array, ids)) for name, ids in _UNIONS.items()}
    measured = {name: measure_lesion(mask, image=series.volume, reference=head) for name, mask in unions.items()}
    if not measured["whole tumor"]["volume_ml"]:
        return replace(finding, text="No tumor was found.", measurements=measured)
    told = " ".join(sentence(name, facts) for name, facts in measured.items())
    return replace(finding, text=f"{told} {finding.text}", measurements={**finding.measurements, **measured})


def segment(
    network: torch.nn.Module, image: torch.Tensor, roi: tuple[int, int, int], device: torch.device, overlap: float
) -> tuple[Slabs, Decide]:
    """BraTS label ids from the network's three overlapping outputs: core, whole, enhancing."""
    import torch

    from attending.experts.device import computing
    from attending.experts.window import blended

    def predict(window: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), computing(device):
            return torch.as_tensor(network(window.to(device)))[0]

    def decide(logits: torch.Tensor) -> torch.Tensor:
        core, whole, enhancing = logits > 0  # the probability is above a half
        labels = torch.zeros(1, *logits.shape[1:], dtype=torch.uint8)
        labels[0, whole] = 2
        labels[0, core] = 1
        labels[0, enhancing] = 4
        return labels

    return blended(image, predict, roi=roi, overlap=overlap), decide


def _warnings(used: list[Series], stripped: bool) -> list[str]:
    told = []
    first = used[0]
    moved = [s.sequence or "" for s in used[1:] if not same_grid(s.volume, first.volume)]
    if moved:
        told.append(
            f"{', '.join(moved)} lie on another grid than {first.sequence} and were resampled to it; the sequences "
            "are taken to be registered to each other"
        )
    whole = [printable(s.sequence or "") for s in used if float((s.volume.array == 0).mean()) < _LEAST_BACKGROUND]
    if stripped and whole:
        told.append(f"{', '.join(whole)} look as if the skull was not removed; the network was trained on brains alone")
    return told
