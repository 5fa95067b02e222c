"""The experts that come with the package: trained by our own recipes on phantoms, so they show the method, no more."""

from __future__ import annotations

from pathlib import Path

from attending.experts.brats import Brats
from attending.experts.card import ExpertCard
from attending.experts.classifier import Classifier
from attending.experts.expert import Expert
from attending.experts.monai_bundle import MonaiBundle

FOLDER = Path(__file__).parent / "data" / "embedded"
"""Of the bundles `torso`, `brain` and `chest`, each with its model card."""

TORSO_LABELS = {
    1: "liver", 2: "spleen", 3: "pancreas", 4: "right kidney", 5: "left kidney", 6: "heart", 7: "lungs",
    8: "liver lesion", 9: "lung nodule", 10: "kidney lesion", 11: "pancreatic lesion", 12: "pleural effusion",
    13: "pneumothorax", 14: "consolidation",
}  # fmt: skip
TORSO_LESIONS = tuple(range(8, 15))
TORSO_GROUPS = {"kidneys": (4, 5)}

_TORSO = ExpertCard(
    name="TORSO",
    modality=("CT",),
    body_part=("CHEST", "THORAX", "LUNG", "ABDOMEN", "TRUNK", "LIVER", "KIDNEY", "PANCREAS", "SPLEEN"),
    task="segmentation",
    overview="organs, lesions and fluid on CT of chest and abdomen; learned from synthetic studies alone",
    accuracy="on synthetic studies only: see its model card",
    licence="Apache-2.0",
    version="0.6.0",
)
_BRAIN = ExpertCard(
    name="BRAIN",
    modality=("MR",),
    body_part=("HEAD", "BRAIN", "SKULL", "NEURO"),
    task="segmentation",
    overview="the parts of a brain tumor on MRI, also with sequences missing; learned from synthetic studies alone",
    accuracy="on synthetic studies only: see its model card",
    licence="Apache-2.0",
    version="0.4.0",
    sequences=("t1ce", "t1", "t2", "flair"),
    any_sequences=True,
)
_CHEST = ExpertCard(
    name="CHEST",
    modality=("DX", "CR"),
    body_part=("CHEST", "THORAX", "LUNG", "RIB"),
    task="classification",
    overview="eight findings on chest radiographs; learned from synthetic studies alone",
    accuracy="on synthetic studies only: see its model card",
    licence="Apache-2.0",
    version="0.4.0",
)


def embedded(folder: Path = FOLDER) -> list[Expert]:
    """TORSO, BRAIN and CHEST, the experts of the embedded default.

    They are not among `experts()`: a published model is not offered them unless they are named.

    Args:
        folder: Where their bundles lie.
    """
    return [
        MonaiBundle(_TORSO, folder / "torso", TORSO_LABELS, TORSO_LESIONS, groups=TORSO_GROUPS),
        Brats(folder / "brain", _BRAIN, stripped=False),
        Classifier(_CHEST, folder / "chest"),
    ]
