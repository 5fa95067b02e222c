"""A recipe for an expert: a MONAI network on volumes or radiographs, written out as a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from attending.errors import InputError


@dataclass(frozen=True)
class Volumes:
    """Where images with their truth come from: exactly one of the three."""

    phantom: Literal["ct", "mri", "cxr"] | None = None
    """Made, not read."""
    decathlon: str | None = None
    """A folder in the layout of the Medical Segmentation Decathlon (`dataset.json`)."""
    table: str | None = None
    """A CSV file: `image` (a path, from the file's own folder), then a column of 0, 1 or nothing for each finding."""
    first: int = 0
    """First case."""
    count: int = 100
    """Cases; a Decathlon folder or table with fewer gives what it has."""
    styles: tuple[str, ...] = ("A", "B", "C")
    """Hospitals of the phantoms."""
    between: bool = False
    """Each patient at a hospital of their own, drawn between `styles`, every contrast phase as likely."""
    split: Literal["train", "validation", "test"] = "train"
    """Of the phantoms' seeds."""
    findings: dict[str, float] | None = None
    """Chance of each kind of finding in a phantom (`attending.phantom.KINDS`), so that what is rare is seen often; by
    default patients have what the phantom draws for them, many nothing."""

    def __post_init__(self) -> None:
        given = [name for name in ("phantom", "decathlon", "table") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError("give exactly one of phantom, decathlon and table", field="data", value=given)
        if self.count < 1 or self.first < 0:
            raise InputError("expected count of 1 or more, first of 0 or more", field="data.count")
        if self.findings is not None:
            self._check_findings(self.findings)

    def _check_findings(self, findings: dict[str, float]) -> None:
        from attending.phantom import KINDS

        if self.phantom is None:
            raise InputError("is for phantoms", field="data.findings", value=findings)
        known = [name for name, kind in KINDS.items() if self.phantom in kind.studies]
        for name, chance in findings.items():
            if name not in known:
                raise InputError(f"{self.phantom} shows {', '.join(known)}", field="data.findings", value=name)
            if not 0 <= chance <= 1:
                raise InputError("expected a chance of 0 to 1", field=f"data.findings.{name}", value=chance)


@dataclass(frozen=True)
class ExpertRecipe:
    """The whole."""

    name: str
    task: Literal["segmentation", "classification"]
    network: dict[str, Any]
    """A network of `monai.networks.nets`: `_target_` and its arguments."""
    data: Volumes
    labels: dict[int, str]
    """Segmentation: names by output channel; 0 is the background unless `overlapping`. Classification: findings by
    output."""
    modality: str
    """DICOM modality it takes."""
    merge: dict[int, list[int]] = field(default_factory=dict)
    """Segmentation: which of the data's label ids become each output channel; by default the channel's own number."""
    lesions: list[int] = field(default_factory=list)
    """Segmentation: the channels that are lesions, to be counted and placed."""
    overlapping: bool = False
    """Channels have a yes or no each, as BraTS' nested regions."""
    sequences: tuple[str, ...] = ()
    """MRI: the input channels, in order."""
    missing: float = 0.0
    """Chance that a sequence is left out in training, so that the network works without it."""
    foreground: float = 0.7
    """Segmentation: share of the windows that are drawn around a voxel of some label; less where labels are lesions
    alone, or what merely looks like one is not learned."""
    balance: float = 0.0
    """Segmentation of labels that exclude each other: how much more small classes count; see
    `objectives.dice_cross_entropy`."""
    brightness: float = 0.1
    """Greatest change of level and contrast in training, on the scale that `scale` gives."""
    noise: float = 0.05
    """Greatest noise added in training, on the same scale."""
    overview: str = ""
    """What the language model is told of it."""
    licence: str = "Apache-2.0"
    patch: tuple[int, ...] = (64, 64, 64)
    """Voxels of a training window and of inference; classification: rows and columns."""
    spacing: tuple[float, float, float] | None = None
    """mm that images are resampled to."""
    scale: dict[str, Any] = field(default_factory=lambda: {"_target_": "NormalizeIntensity"})
    """Intensity transform of MONAI, with its arguments."""
    start: str | None = None
    """A bundle's folder that training goes on from, instead of from nothing."""
    rate: float = 1e-3
    steps: int = 500
    batch: int = 2
    warmup: float = 0.05
    weight_decay: float = 1e-5
    clip: float = 1.0
    seed: int = 0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    held_out: Volumes | None = None
    evaluate_every: int = 100
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "save_every"):
            if getattr(self, name) < 1:
                raise InputError("expected 1 or more", field=name, value=getattr(self, name))
        if not 0 < self.rate < 1 or self.clip <= 0 or not 0 <= self.warmup < 1 or not 0 <= self.weight_decay < 1:
            raise InputError("rate is above 0, clip is above 0, warmup and weight_decay are 0 to below 1", field="rate")
        if not 0 <= self.missing < 1 or self.brightness < 0 or self.noise < 0:
            raise InputError("missing is 0 to below 1, brightness and noise are 0 or more", field="missing")
        for name, value in (("foreground", self.foreground), ("balance", self.balance)):
            if not 0 <= value <= 1:
                raise InputError("expected 0 to 1", field=name, value=value)
        self._check_task()

    def _check_task(self) -> None:
        wanted = 3 if self.task == "segmentation" else 2
        if len(self.patch) != wanted or min(self.patch, default=0) < 8:
            raise InputError(f"expected {wanted} sides of 8 or more", field="patch", value=self.patch)
        wrong = "table" if self.task == "segmentation" else "decathlon"
        for name, one in (("data", self.data), ("held_out", self.held_out)):
            if one is not None and getattr(one, wrong) is not None:
                raise InputError(f"{name}.{wrong} is not for {self.task}", field="task", value=self.task)
        if self.task == "classification" and (self.overlapping or self.merge or self.sequences or self.spacing):
            raise InputError("overlapping, merge, sequences and spacing are for segmentation", field="task")
        if self.missing and not self.sequences:
            raise InputError("is for recipes with sequences", field="missing", value=self.missing)
        first = 0 if self.overlapping or self.task == "classification" else 1
        if sorted(self.labels) != list(range(first, first + len(self.labels))) or not self.labels:
            raise InputError(f"expected names for {first}, {first + 1}, ...", field="labels", value=self.labels)
        for name, channels in (("merge", self.merge), ("lesions", self.lesions)):
            for channel in channels:
                if channel not in self.labels:
                    raise InputError("is not among labels", field=name, value=channel)
