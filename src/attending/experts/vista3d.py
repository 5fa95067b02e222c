"""VISTA3D: organs, bones, vessels and tumours in CT, by the MONAI bundle `vista3d` (arXiv 2406.05285)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.experts.bundle import BundleExpert, Recipe, bundles_folder
from attending.experts.card import ExpertCard
from attending.experts.expert import Progress, run_expert
from attending.experts.finding import Finding
from attending.experts.fit import fit
from attending.imaging import Study

if TYPE_CHECKING:
    import torch

    from attending.experts.points import Point

_BUFFER_BYTES = 1 << 30
"""What the blending buffers may take."""


@cache
def vista3d_labels() -> dict[str, Any]:
    """`names` by id, `groups` of ids, `parts` that stand in for three of them, ids of `lesions`."""
    text = files("attending.experts").joinpath("data/vista3d.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return {
        "names": {int(label): name for label, name in table["names"].items()},
        "groups": table["groups"],
        "parts": {int(label): parts for label, parts in table["parts"].items()},
        "lesions": table["lesions"]["ids"],
    }


def group_ids(group: str) -> tuple[int, ...]:
    """The label ids the network is asked for, in the group's order: kidney, lung and bone by their parts."""
    table = vista3d_labels()
    ids = [part for label in table["groups"][group] for part in table["parts"].get(label, [label])]
    return tuple(dict.fromkeys(ids))


class Vista3D(BundleExpert):
    """The expert.

    Args:
        folder: The bundle; by default `vista3d` in `bundles_folder()`.
    """

    pull = "vista3d"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder or bundles_folder() / self.pull)

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return ExpertCard(
            name="VISTA3D",
            modality=("CT",),
            body_part=(),
            task="segmentation",
            overview="domain-specialized interactive foundation model developed for segmenting and annotating human "
            "anatomies with precision",
            accuracy="127 organs: 0.792 Dice on average",
            arguments={"structures": tuple(vista3d_labels()["groups"])},
            licence="code Apache-2.0; weights NCLS v1 (NVIDIA, non-commercial)",
            version="0.5.4",
        )

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Segment a group of structures; see `Expert`."""
        from attending.experts.segment import run_bundle, tell

        used, warnings = fit(self.card, study)
        table, ids = vista3d_labels(), group_ids(arguments["structures"])
        recipe = self.bundle.recipe()

        def segment(network: torch.nn.Module, image: torch.Tensor, roi: tuple[int, ...], device: torch.device) -> Any:
            return segment_classes(network, image, ids, roi, recipe, device)

        labels, record, told = run_bundle(self, used, recipe, segment)
        names = {label: table["names"][label] for label in ids}
        return tell(labels, names, used[0], record, [*warnings, *told], table["lesions"])

    def at_points(
        self,
        study: Study,
        points: Sequence[Point | tuple[float, float, float]],
        structure: str | None = None,
        *,
        seconds: float = 600,
        progress: Progress = lambda done, total: None,
    ) -> Finding:
        """Segment what a user has pointed at; the points are a user's, never a model's.

        Args:
            study: What is examined.
            points: RAS mm, each within the volume; a plain `(x, y, z)` lies on the structure. At least one does, or
                `structure` is given: then points that lie beside it take away from what is found without them.
            structure: One of `attending.experts.points.structures()`; None for what has no name there (zero-shot).
            seconds: The time it may take.
            progress: As `run_expert` says.

        Returns:
            As `run_expert`; refused when a point is no place in the volume.
        """
        from attending.experts.points import AtPoints, Point

        placed = AtPoints(self, [Point(*point) for point in points])
        arguments = {} if structure is None else {"structure": structure}
        return run_expert(placed, study, arguments, seconds=seconds, progress=progress)


def segment_classes(
    network: Any,
    image: torch.Tensor,
    ids: Sequence[int],
    roi: Sequence[int],
    recipe: Recipe,
    device: torch.device,
) -> Any:
    """Label ids `[X, Y, Z]` uint8: of the classes whose logit is above 0, the one with the greatest.

    A class's logit is the product of its embedding and the network's features at a voxel, so blending the features
    and multiplying afterwards gives the blended logits of any number of classes in one pass over the windows. It is
    done where the features take less memory than the logits, and where neither fits, classes are done in turns.
    In bfloat16 the sums of features are kept in float16, which is finer than what the network computes in.
    """
    import torch

    from attending.experts.device import computing, precision
    from attending.experts.window import blended, count_windows

    longest = int(np.argmax(image.shape[1:]))  # slabs across the longest axis are the smallest
    image = image.movedim(longest + 1, 1)
    sides = [roi[longest], *(side for axis, side in enumerate(roi) if axis != longest)]
    shape = image.shape[1:]
    embedding = _embedding(network, ids, device)
    half = torch.float16 if precision(device) is torch.bfloat16 else torch.float32
    channel = sides[0] * max(shape[1], sides[1]) * max(shape[2], sides[2])  # values in a buffer of one channel
    of_features = channel * half.itemsize * embedding.shape[1]
    wide = of_features < min(4 * channel * len(ids), _BUFFER_BYTES)
    turn = len(ids) if wide else max(1, min(len(ids), _BUFFER_BYTES // (4 * channel)))
    turns = [ids[i : i + turn] for i in range(0, len(ids), turn)]

    def predict(window: torch.Tensor, some: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode(), computing(device):
            window = window.movedim(2, longest + 2).to(device)
            if wide:
                _, encoded = network.image_encoder(window, with_point=False, with_label=True)
                out = network.class_head.image_post_mapping(encoded)[0]
            else:
                out = network(window, class_vector=torch.tensor(some, device=device)[:, None])[:, 0]
            return torch.as_tensor(out).movedim(longest + 1, 1)

    windows = count_windows(shape, sides, recipe.overlap)
    best, labels = torch.zeros(shape), torch.zeros(shape, dtype=torch.uint8)
    for number, some in enumerate(turns):
        these = torch.tensor(some, dtype=torch.uint8)
        for at, slab in blended(
            image,
            partial(predict, some=some),
            roi=sides,
            overlap=recipe.overlap,
            padding=recipe.padding,
            buffer=half if wide else torch.float32,
            done=number * windows,
            total=windows * len(turns),
        ):
            for plane, values in enumerate(slab.unbind(1), at):
                logits = torch.tensordot(embedding, values, 1) if wide else values
                value, index = logits.max(0)
                better = value > best[plane]
                labels[plane][better] = these[index[better]]
                best[plane][better] = value[better]
    return labels.movedim(0, longest).numpy()


def _embedding(network: Any, ids: Sequence[int], device: torch.device) -> torch.Tensor:
    """What the features are multiplied with for each class: `[K, F]` float32 on the CPU."""
    import torch

    from attending.experts.device import computing

    head = network.class_head
    with torch.inference_mode(), computing(device):
        found = head.class_embeddings(torch.tensor(ids, device=device)[:, None])
        found = head.mlp(found) if head.use_mlp else found
    return torch.as_tensor(found)[:, 0].float().cpu()
