"""CXR: 18 findings in a chest radiograph, by an ensemble of TorchXRayVision classifiers (arXiv 2111.00595)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from attending.experts.card import ExpertCard, ExpertError
from attending.experts.classifier import likely
from attending.experts.expert import step
from attending.experts.finding import Finding, Record
from attending.experts.fit import digest, fit
from attending.imaging import Image2D, Study

Classify = Callable[[npt.NDArray[np.float32]], Mapping[str, float]]
"""A network: grey levels `[rows, columns]` from -1024 to 1024, square, to probabilities by class."""

_RESNET = "resnet50-res512-all"
_DENSENETS = tuple(f"densenet121-res224-{d}" for d in ("all", "chex", "mimic_ch", "mimic_nb", "nih", "pc", "rsna"))
MODELS = (*_DENSENETS, _RESNET)
_FOUR = ("densenet121-res224-all", "densenet121-res224-chex", "densenet121-res224-pc", _RESNET)
SUBSETS = {
    "Pneumothorax": (_RESNET,),
    "Lung Opacity": MODELS,
    "Atelectasis": _FOUR,
    "Cardiomegaly": _FOUR,
    "Consolidation": _FOUR,
    "Edema": _FOUR,
    "Effusion": _FOUR,
    "Fracture": ("densenet121-res224-all", "densenet121-res224-nih", "densenet121-res224-chex", _RESNET),
}
"""The networks whose mean counts for a class, as VILA-M3 chose them; for the others it is all that know the class."""


class Cxr:
    """The expert.

    Args:
        networks: By name; by default TorchXRayVision's `MODELS`, loaded when first used.
    """

    def __init__(self, networks: Mapping[str, Classify] | None = None) -> None:
        self._given = networks

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return ExpertCard(
            name="CXR",
            modality=("DX", "CR"),
            body_part=("CHEST", "THORAX", "LUNG", "RIB"),
            task="classification",
            overview="pre-trained model which are trained on large cohorts of data",
            accuracy="Good accuracy across several diverse chest x-rays datasets",
            licence="Apache-2.0; the training data's own terms apply",
            version="torchxrayvision 1.3",
        )

    def available(self) -> str | None:
        """See `Expert`."""
        if self._given is not None or find_spec("torchxrayvision") is not None:
            return None
        return (
            "torchxrayvision is not installed; run: pip install 'attending[experts-cxr]' "
            "(it needs a torchvision that fits your torch)"
        )

    @cached_property
    def _networks(self) -> Mapping[str, Classify]:
        return load_networks() if self._given is None else self._given

    def _weights(self) -> str:
        """SHA-256 over the parameters of all networks that have some."""
        found = hashlib.sha256()
        for name, classify in self._networks.items():
            found.update(name.encode())
            if isinstance(classify, Network):
                for tensor in classify.model.state_dict().values():
                    found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Probabilities of 18 findings; see `Expert`."""
        (series,), warnings = fit(self.card, study)
        if series.image.array.shape[0] > 1:
            warnings.append(f"{series.image.array.shape[0]} frames; the first was examined")
        grey = grey_levels(series.image)
        answers: dict[str, Mapping[str, float]] = {}
        for number, (name, classify) in enumerate(self._networks.items()):
            step(number, len(self._networks))
            answers[name] = classify(grey)
        scores, spread = ensemble(answers)
        record = Record(
            "",
            weights=self._weights(),
            inputs={series.id: digest(series)},
            device="cpu",
            settings={"networks": list(answers)},
        )
        measured = {name: {"lowest": low, "highest": high} for name, (low, high) in spread.items()}
        return Finding("done", likely(scores), record, measurements=measured, scores=scores, warnings=tuple(warnings))


def ensemble(
    answers: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The mean over each class's networks, and the lowest and highest of them.

    Args:
        answers: By network, probabilities by class; an empty class name is one that a network was not trained on.

    Raises:
        ExpertError: A network of a class's subset is missing, or a probability is none.
    """
    classes = sorted({name for known in answers.values() for name in known if name})
    means, spread = {}, {}
    for name in classes:
        chosen = SUBSETS.get(name, tuple(answers))
        lost = [network for network in chosen if network not in answers]
        if lost:
            raise ExpertError(f"the networks {', '.join(lost)} are missing, on which {name} rests")
        values = [float(answers[network][name]) for network in chosen if name in answers[network]]
        if not values or not all(0 <= value <= 1 for value in values):  # NaN fails too
            raise ExpertError(f"a network returned a probability that is none, for {name}")
        means[name], spread[name] = float(np.mean(values)), (min(values), max(values))
    return means, spread


def grey_levels(image: Image2D) -> npt.NDArray[np.float32]:
    """The first frame's central square from -1024 to 1024, as the networks were trained.

    8-bit pictures keep their levels, as in the reference. Others, such as 12-bit DICOM, are first brought to 0 to 255
    through the window in the file, or from least to greatest.
    """
    frame = image.array[0]
    frame = frame[..., 0] if frame.ndim == 3 else frame
    if frame.dtype != np.uint8:
        if image.window is not None:
            frame = image.window.apply(frame)
        else:
            low, high = float(frame.min()), float(frame.max())
            frame = (frame.astype(np.float32) - low) / max(high - low, 1e-6) * 255
    side = min(frame.shape)
    top, left = ((length - side) // 2 for length in frame.shape)
    square = frame[top : top + side, left : left + side].astype(np.float32)
    return np.asarray((square / 255 * 2 - 1) * 1024, np.float32)


class Network:
    """One of TorchXRayVision's classifiers as a `Classify`."""

    def __init__(self, model: Any, side: int) -> None:
        self.model, self.side = model.eval(), side

    def __call__(self, grey: npt.NDArray[np.float32]) -> Mapping[str, float]:
        """Probabilities by class; classes that it was not trained on have an empty name and are left out."""
        import torch

        image = torch.from_numpy(grey)[None, None]
        scaled = torch.nn.functional.interpolate(image, (self.side, self.side), mode="bilinear", antialias=True)
        with torch.inference_mode():
            out = self.model(scaled)[0].tolist()
        return {name: value for name, value in zip(self.model.pathologies, out, strict=True) if name}


def load_networks() -> dict[str, Classify]:
    """TorchXRayVision's eight networks; it downloads their weights when they are not in its cache."""
    import torchxrayvision

    return {name: Network(torchxrayvision.models.get_model(name), 512 if name == _RESNET else 224) for name in MODELS}
