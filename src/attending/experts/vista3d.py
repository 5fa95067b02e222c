"""VISTA3D: organs, bones, vessels and tumours in CT, by the MONAI bundle `vista3d` (arXiv 2406.05285)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attending.experts.bundle import Bundle, bundles_folder, missing_for, read_bundle
from attending.experts.card import ExpertCard
from attending.experts.finding import Finding
from attending.experts.fit import fit
from attending.imaging import Study

if TYPE_CHECKING:
    import torch

_BUFFER_BYTES = 1 << 30
"""What the blending buffers of all classes may take; more classes are done in turns."""


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


class Vista3D:
    """The expert.

    Args:
        folder: The bundle; by default `vista3d` in `bundles_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or bundles_folder() / "vista3d"

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

    def available(self) -> str | None:
        """See `Expert`."""
        return missing_for("vista3d", self.folder)

    @cached_property
    def _bundle(self) -> Bundle:
        return read_bundle(self.folder)

    @cached_property
    def _network(self) -> torch.nn.Module:
        return self._bundle.network()

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Segment a group of structures; see `Expert`."""
        from attending.experts.device import on_best_device, precision
        from attending.experts.grid import back
        from attending.experts.segment import prepare, record_of, tell, window_warning
        from attending.experts.window import window_for

        (series,), warnings = fit(self.card, study)
        table, ids = vista3d_labels(), group_ids(arguments["structures"])
        recipe = self._bundle.recipe()
        image, grid = prepare([series.volume], recipe)

        def work(device: torch.device) -> Finding:
            roi = window_for(image.shape[1:], recipe.roi, device)
            labels = self._segment(image, ids, roi, recipe.overlap, recipe.padding, device)
            record = record_of(
                self._bundle,
                [series],
                device,
                window=list(roi),
                spacing=list(grid.spacing),
                precision=str(precision(device)),
            )
            names = {label: table["names"][label] for label in ids}
            told = [*warnings, *window_warning(recipe, roi, image.shape[1:])]
            return tell(back(labels, grid, series.volume), names, series, record, told, table["lesions"])

        return on_best_device(work)

    def _segment(
        self,
        image: torch.Tensor,
        ids: tuple[int, ...],
        roi: tuple[int, int, int],
        overlap: float,
        padding: str,
        device: torch.device,
    ) -> Any:
        """Label ids `[X, Y, Z]` uint8: of the classes whose logit is above 0, the one with the greatest."""
        import torch

        from attending.experts.device import computing
        from attending.experts.window import blended, count_windows

        network = self._network.to(device)
        shape = image.shape[1:]
        per_class = 4 * roi[0] * max(shape[1], roi[1]) * max(shape[2], roi[2])
        turn = max(1, min(len(ids), _BUFFER_BYTES // per_class))
        turns = [ids[i : i + turn] for i in range(0, len(ids), turn)]
        windows = count_windows(shape, roi, overlap)
        best = torch.zeros(shape) if len(turns) > 1 else None
        labels = torch.zeros(shape, dtype=torch.uint8)
        for number, some in enumerate(turns):
            classes = torch.tensor(some, device=device)[:, None]

            def predict(window: torch.Tensor, classes: torch.Tensor = classes) -> torch.Tensor:
                with torch.inference_mode(), computing(device):
                    return torch.as_tensor(network(window.to(device), class_vector=classes))[:, 0]

            ids_here = torch.tensor(some, dtype=torch.uint8)
            for at, logits in blended(
                image,
                predict,
                roi=roi,
                overlap=overlap,
                padding=padding,
                done=number * windows,
                total=windows * len(turns),
            ):
                slab = slice(at, at + logits.shape[1])
                value, index = logits.max(0)
                better = value > (0 if best is None else best[slab])
                labels[slab][better] = ids_here[index[better]]
                if best is not None:
                    best[slab][better] = value[better]
        return labels.numpy()
