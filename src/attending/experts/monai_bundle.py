"""Any MONAI segmentation bundle as an expert, by a card in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attending.errors import InputError
from attending.experts.bundle import BundleExpert
from attending.experts.card import ExpertCard, card_of, text_of
from attending.experts.finding import Finding
from attending.experts.fit import fit
from attending.imaging import Study

if TYPE_CHECKING:
    import torch


class MonaiBundle(BundleExpert):
    """A bundle whose network takes an image (or the card's sequences) and returns one channel a label.

    Args:
        card: What the model is told.
        folder: The bundle.
        labels: Names by output channel; channel 0 is the background unless `overlapping`.
        lesions: Which of them are lesions, to be measured as such.
        overlapping: Each channel has its own yes or no (sigmoid), as opposed to one label a voxel (softmax). Where two
            say yes, the later channel wins. Label ids are then the channel's plus 1.
    """

    def __init__(
        self,
        card: ExpertCard,
        folder: Path,
        labels: Mapping[int, str] | None = None,
        lesions: tuple[int, ...] = (),
        overlapping: bool = False,
    ) -> None:
        super().__init__(folder)
        self._card, self._labels, self.lesions, self.overlapping = card, labels, lesions, overlapping

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
        labels, record, told = run_bundle(self, used, self.bundle.recipe(), self._segment)
        return tell(labels, self.names, used[0], record, [*warnings, *told], self.lesions)

    def _segment(
        self, network: torch.nn.Module, image: torch.Tensor, roi: tuple[int, int, int], device: torch.device
    ) -> Any:
        import torch

        from attending.experts.device import computing
        from attending.experts.window import blended

        def predict(window: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), computing(device):
                out: Any = network(window.to(device))
                return torch.as_tensor(out[0] if isinstance(out, tuple | list) else out)[0]

        recipe = self.bundle.recipe()
        labels = torch.zeros(image.shape[1:], dtype=torch.uint8)
        for at, logits in blended(image, predict, roi=roi, overlap=recipe.overlap, padding=recipe.padding):
            slab = labels[at : at + logits.shape[1]]
            if self.overlapping:
                for channel, one in enumerate(logits):
                    slab[one > 0] = channel + 1
            else:
                slab[:] = logits.argmax(0).to(torch.uint8)
        return labels.numpy()


def bundle_expert(table: Mapping[str, Any], path: Path) -> MonaiBundle:
    """The expert that a YAML card with `kind: monai-bundle` describes.

    Raises:
        InputError: A field is missing or of the wrong kind.
    """
    labels = table.get("labels")
    if labels is not None and not (
        isinstance(labels, dict) and all(isinstance(k, int) and isinstance(v, str) for k, v in labels.items())
    ):
        raise InputError("expected names by channel number", path=path, field="labels")
    lesions = table.get("lesions", [])
    if not (isinstance(lesions, list) and all(isinstance(one, int) for one in lesions)):
        raise InputError("expected a list of label ids", path=path, field="lesions", value=lesions)
    overlapping = table.get("overlapping", False)
    if not isinstance(overlapping, bool):
        raise InputError("expected true or false", path=path, field="overlapping", value=overlapping)
    folder = path.parent / Path(text_of(table, "folder", path)).expanduser()
    return MonaiBundle(card_of(table, path), folder, labels, tuple(lesions), overlapping)
