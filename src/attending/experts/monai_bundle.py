"""Any MONAI segmentation bundle as an expert, by a card in YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attending.errors import InputError
from attending.experts.bundle import BundleExpert
from attending.experts.card import ExpertCard, card_of, flag_of, labels_of, text_of
from attending.experts.finding import Finding, Segmentation
from attending.experts.fit import channels, fit
from attending.imaging import Study

if TYPE_CHECKING:
    import torch

    from attending.experts.grid import Decide, Slabs


class MonaiBundle(BundleExpert):
    """A bundle whose network takes an image (or the card's sequences) and returns one channel a label.

    Args:
        card: What the model is told.
        folder: The bundle.
        labels: Names by output channel; channel 0 is the background unless `overlapping`.
        lesions: Which of them are lesions, to be measured as such.
        overlapping: Each channel has its own yes or no (sigmoid), as opposed to one label a voxel (softmax). Where two
            say yes, the later channel wins. Label ids are then the channel's plus 1.
        groups: Names for sets of label ids. The card then gains the argument `structures`, which says what is to be
            told (see the function); the network runs once for a study, whatever is asked of it.
    """

    def __init__(
        self,
        card: ExpertCard,
        folder: Path,
        labels: Mapping[int, str] | None = None,
        lesions: tuple[int, ...] = (),
        overlapping: bool = False,
        groups: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(folder)
        self._labels, self.lesions, self.overlapping = labels, lesions, overlapping
        self._groups = {} if groups is None else structures(self.names, lesions, groups)
        self._card = replace(card, arguments={"structures": tuple(self._groups)}) if self._groups else card

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return self._card

    @property
    def names(self) -> dict[int, str]:
        """Names by label id."""
        named = dict(self._labels) if self._labels is not None else self.bundle.labels
        if self.overlapping:
            return {channel + 1: name for channel, name in named.items()}
        return {channel: name for channel, name in named.items() if channel > 0}

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Segment; see `Expert`."""
        from attending.experts.segment import run_bundle, tell

        used, warnings = fit(self.card, study)
        seen = channels(self.card, used)
        ids = {name: (label,) for label, name in self.names.items()}
        labels, record, told = run_bundle(self, seen, self.bundle.recipe(), self._segment, keep=True, names=ids)
        whole = Segmentation(labels, self.names)
        asked = whole if not self._groups else _only(whole, self._groups[arguments["structures"]])
        return tell(asked.labels, asked.names, used[0], record, [*warnings, *told], self.lesions, whole=whole)

    def _segment(
        self, network: torch.nn.Module, image: torch.Tensor, roi: tuple[int, int, int], device: torch.device
    ) -> tuple[Slabs, Decide]:
        import torch

        from attending.experts.device import computing
        from attending.experts.window import blended

        def predict(window: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), computing(device):
                out: Any = network(window.to(device))
                return torch.as_tensor(out[0] if isinstance(out, tuple | list) else out)[0]

        recipe = self.bundle.recipe()
        offsets = self.bundle.offsets({name: label for label, name in self.names.items()})

        def label(values: torch.Tensor) -> torch.Tensor:
            if self.overlapping:
                return ((values > 0) * torch.arange(1, 1 + values.shape[-1])).amax(-1)
            return values.argmax(-1)

        def decide(logits: torch.Tensor) -> torch.Tensor:
            values = logits.movedim(0, -1)
            layers = [label(values)]
            if offsets:
                more = [offsets.get(channel + self.overlapping, 0.0) for channel in range(len(logits))]
                layers.append(label(values + torch.tensor(more)))
            return torch.stack(layers).to(torch.uint8)

        return blended(image, predict, roi=roi, overlap=recipe.overlap, padding=recipe.padding), decide


def structures(
    names: Mapping[int, str], lesions: Collection[int], groups: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """What may be asked for, with its label ids: `everything`, `organs`, `lesions`, the groups, each label by name."""
    sets = {"everything": tuple(names)}
    if lesions:
        sets["organs"] = tuple(label for label in names if label not in lesions)
        sets["lesions"] = tuple(label for label in names if label in lesions)
    return (
        {name: ids for name, ids in sets.items() if ids}
        | {name: tuple(ids) for name, ids in groups.items()}
        | {name: (label,) for label, name in names.items()}
    )


def _only(whole: Segmentation, ids: Sequence[int]) -> Segmentation:
    """The labels `ids` of a mask."""
    if set(ids) == set(whole.names):
        return whole
    kept = np.zeros(256, np.uint8)  # the network's label ids have one byte
    kept[list(ids)] = ids
    return Segmentation(
        replace(whole.labels, array=kept[whole.labels.array]), {label: whole.names[label] for label in ids}
    )


def bundle_expert(table: Mapping[str, Any], path: Path) -> MonaiBundle:
    """The expert that a YAML card with `kind: monai-bundle` describes.

    Raises:
        InputError: A field is missing or of the wrong kind.
    """
    labels = labels_of(table, path)
    lesions = table.get("lesions", [])
    if not (isinstance(lesions, list) and all(isinstance(one, int) for one in lesions)):
        raise InputError("expected a list of label ids", path=path, field="lesions", value=lesions)
    overlapping = flag_of(table, "overlapping", path)
    folder = path.parent / Path(text_of(table, "folder", path)).expanduser()
    card = card_of(table, path)
    groups = _groups(table, {label + overlapping: name for label, name in (labels or {}).items()}, path)
    if groups is not None and card.arguments:
        raise InputError("has none where groups make them", path=path, field="arguments", value=list(card.arguments))
    return MonaiBundle(card, folder, labels, tuple(lesions), overlapping, groups)


def _groups(table: Mapping[str, Any], names: Mapping[int, str], path: Path) -> dict[str, list[int]] | None:
    groups = table.get("groups")
    if groups is None:
        return None
    if not names:
        raise InputError("is needed where there are groups", path=path, field="labels")
    if not (isinstance(groups, dict) and all(isinstance(name, str) for name in groups)):
        raise InputError("expected names, each with a list of label ids", path=path, field="groups", value=groups)
    taken, known = {"everything", "organs", "lesions", *names.values()}, [label for label in names if label]
    for name, ids in groups.items():
        if name in taken:
            raise InputError("is the name of a label, or one that is there anyway", path=path, field=f"groups.{name}")
        if not (isinstance(ids, list) and ids and all(one in known for one in ids)):
            there = ", ".join(map(str, known))
            raise InputError(f"expected label ids among {there}", path=path, field=f"groups.{name}", value=ids)
    return groups
