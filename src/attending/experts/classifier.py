"""Any MONAI bundle that classifies radiographs as an expert: probabilities of findings, calibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.experts.bundle import BundleExpert, weights_hash
from attending.experts.card import ExpertCard, ExpertError, card_of, text_of
from attending.experts.expert import step
from attending.experts.finding import Finding, Record
from attending.experts.fit import digest, fit
from attending.imaging import Image2D, Study, percentile_window, picture_of

if TYPE_CHECKING:
    import torch

_SIDES = (8, 4096)
"""Of the picture that a network sees."""
_MAPS = 4
"""Dimensions of maps of logits: images, findings, rows, columns."""
_SEEN = 1000
"""A finding is as likely as the mean logit of the thousandth of the film where it is likeliest."""


class Classifier(BundleExpert):
    """A bundle whose network takes one radiograph and returns a logit, or a map of logits, for each of its findings.

    The metadata also says the size of the picture (`input_size`), and may hold `calibration`: by finding the slope and
    offset of Platt's line, so that `sigmoid(slope * logit + offset)` is how often it is there among cases like this.

    Args:
        card: What the model is told.
        folder: The bundle.
    """

    def __init__(self, card: ExpertCard, folder: Path) -> None:
        super().__init__(folder)
        self._card = card

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return self._card

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network in float32, as it stands: a picture takes it milliseconds."""
        return self.bundle.network()

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Probabilities of the findings; see `Expert`."""
        (series,), warnings = fit(self.card, study)
        if len(series.image.array) > 1:
            warnings.append(f"{len(series.image.array)} frames; the first was examined")
        step(0, 1)
        scores = self.scores(series.image)
        step(1, 1)
        record = Record(
            "",
            self.bundle.version,
            weights_hash(self.bundle.weights_file),
            inputs={series.id: digest(series)},
            device="cpu",
            settings={"size": list(self._size()), "calibrated": bool(self.bundle.metadata.get("calibration"))},
        )
        return Finding("done", likely(scores), record, scores=scores, warnings=tuple(warnings))

    def scores(self, image: Image2D) -> dict[str, float]:
        """Probabilities by finding, of the first frame.

        Raises:
            InputError: The bundle's metadata is wrong.
            ExpertError: The network does not give a number for each finding.
        """
        import torch

        lines = self._lines()
        film = as_seen(grey(image), self._size())
        with torch.inference_mode():
            out: Any = self.network(self.bundle.recipe().scale(film)[None])
        out = torch.as_tensor(out[0] if isinstance(out, tuple | list) else out).double()
        logits = pooled(out).reshape(-1).tolist()
        if len(logits) != len(lines) or not all(map(math.isfinite, logits)):
            raise ExpertError(f"the network did not return a number for each of its {len(lines)} findings")
        return {
            name: 1 / (1 + math.exp(-max(-700.0, min(700.0, slope * logit + offset))))
            for logit, (name, (slope, offset)) in zip(logits, lines.items(), strict=True)
        }

    def _size(self) -> tuple[int, int]:
        """Rows and columns that the network sees."""
        size = self.bundle.metadata.get("input_size")
        low, high = _SIDES
        if not (
            isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and low <= n <= high for n in size)
        ):
            raise self._wrong(f"expected two sides from {low} to {high}", "input_size", size)
        return size[0], size[1]

    def _lines(self) -> dict[str, tuple[float, float]]:
        """Slope and offset by finding, in the order of the network's outputs."""
        names = [name for _, name in sorted(self.bundle.labels.items())]
        if not names or len(set(names)) < len(names):
            raise self._wrong("expected findings by output", "network_data_format.outputs.pred.channel_def", names)
        calibration = self.bundle.metadata.get("calibration") or {}
        if not (isinstance(calibration, dict) and set(calibration) <= set(names)):
            raise self._wrong(f"expected some of {', '.join(names)}", "calibration", calibration)
        for name, line in calibration.items():
            if not (isinstance(line, list) and len(line) == 2 and all(_finite(value) for value in line)):
                raise self._wrong("expected slope and offset", f"calibration.{name}", line)
        return {name: tuple(calibration.get(name, (1.0, 0.0))) for name in names}

    def _wrong(self, problem: str, field: str, value: object) -> InputError:
        return InputError(problem, path=self.folder / "configs" / "metadata.json", field=field, value=value)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def grey(image: Image2D) -> npt.NDArray[np.float64]:
    """Grey levels 0 to 255 `[rows, columns]` of the first frame, as training shows films.

    8-bit pictures keep their levels; others go through `percentile_window`, since files differ in what window they ask
    for.
    """
    frame = image.array[0]
    window = None if frame.dtype == np.uint8 else percentile_window(frame)
    levels: npt.NDArray[np.float64] = picture_of(image, 0, window).pixels.mean(2)
    return levels


def as_seen(levels: npt.NDArray[Any], size: tuple[int, ...]) -> torch.Tensor:
    """The whole film stretched to the network's size, `[1, rows, columns]` float32, before its intensity transforms."""
    import torch

    film = torch.from_numpy(np.ascontiguousarray(levels, np.float32))[None, None]
    return torch.nn.functional.interpolate(film, tuple(size), mode="bilinear", antialias=True)[0]


def pooled(logits: torch.Tensor) -> torch.Tensor:
    """Logits `[images, findings]` of maps of them, `[images, findings, rows, columns]`; others stay as they are."""
    if logits.ndim != _MAPS:
        return logits
    flat = logits.flatten(2)
    return flat.topk(max(1, flat.shape[2] // _SEEN), dim=2).values.mean(2)


def likely(scores: Mapping[str, float]) -> str:
    """Probabilities in words: those of a half or more, and how many others there are."""
    told = [f"{name} {score:.2f}" for name, score in sorted(scores.items(), key=lambda x: -x[1]) if score >= 0.5]
    rest = f"All other {len(scores) - len(told)} findings are below 0.50."
    return f"Probabilities of 0.50 or more: {', '.join(told)}. {rest}" if told else rest.replace("other ", "")


def classifier_expert(table: Mapping[str, Any], path: Path) -> Classifier:
    """The expert that a YAML card with `kind: monai-classifier` describes.

    Raises:
        InputError: A field is missing or of the wrong kind.
    """
    folder = path.parent / Path(text_of(table, "folder", path)).expanduser()
    return Classifier(card_of({**table, "task": "classification"}, path), folder)
