"""A MONAI bundle folder as data: its network, weights and recipe, read without running anything it says."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attending.errors import InputError
from attending.experts.kept import Kept

if TYPE_CHECKING:
    import torch

_MAX_CONFIG = 10_000_000  # bytes
_MAX_SPECK = 100  # mL
_MAX_OFFSET = 20  # of a logit
_INTENSITY = ("NormalizeIntensity", "ScaleIntensity", "ScaleIntensityRange", "ScaleIntensityRangePercentiles")
# Loading and typing is ours; cropping to the foreground only saves time; VISTA3D's own step handles its prompts.
_OURS = ("LoadImage", "EnsureChannelFirst", "EnsureType", "CastToType", "CropForeground", "VistaPreTransform")


@dataclass(frozen=True)
class Recipe:
    """How a bundle prepares an image and cuts windows.

    Attributes:
        spacing: mm, or None for the image's own.
        orientation: Such as `RAS`, or None for the image's own.
        intensity: MONAI array transforms by name with their arguments, in order.
        roi: Window sides.
        overlap: Share that neighbouring windows share.
        padding: How images smaller than the window are padded.
    """

    spacing: tuple[float, float, float] | None = None
    orientation: str | None = None
    intensity: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    roi: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.25
    padding: str = "constant"

    def scale(self, image: torch.Tensor) -> torch.Tensor:
        """Apply the intensity transforms to `[C, X, Y, Z]`."""
        import torch

        from attending.experts.monai_parts import transforms

        for name, arguments in self.intensity:
            image = getattr(transforms, name)(**arguments)(image)
        return torch.as_tensor(image).float()


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle folder.

    Attributes:
        folder: Where.
        config: `configs/inference.json` (or `.yaml`).
        metadata: `configs/metadata.json`.
    """

    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)

    @property
    def version(self) -> str:
        """What the metadata says."""
        return str(self.metadata.get("version", ""))

    @property
    def labels(self) -> dict[int, str]:
        """Names by output channel or label id, from the metadata; empty when it does not say."""
        outputs = self.metadata.get("network_data_format", {}).get("outputs", {}).get("pred", {})
        found = outputs.get("channel_def", {})
        return {int(key): str(name) for key, name in found.items() if str(key).isdigit()}

    def least_ml(self, names: Mapping[str, tuple[int, ...]]) -> dict[tuple[int, ...], float]:
        """The smallest part, in mL, that is more than a speck, by label ids: `least_ml` in the metadata, by name.

        Args:
            names: Label ids by name, of all that the metadata may speak of.

        Raises:
            InputError: It speaks of something else, or holds what is no volume.
        """
        return {names[name]: least for name, least in self._numbers("least_ml", names, _MAX_SPECK).items()}

    def offsets(self, names: Mapping[str, int]) -> dict[int, float]:
        """What is added to a label's logit where it is found, so that it comes out as large as it is: `offsets`.

        Args:
            names: Label ids by name, of all that the metadata may speak of.

        Raises:
            InputError: It speaks of something else, or holds what is no offset.
        """
        return {names[name]: offset for name, offset in self._numbers("offsets", names, _MAX_OFFSET).items()}

    def _numbers(self, key: str, names: Collection[str], most: float) -> dict[str, float]:
        """Numbers by name in the metadata."""
        told = self.metadata.get(key, {})
        path = self.folder / "configs" / "metadata.json"
        if not isinstance(told, dict) or not set(told) <= set(names):
            raise InputError(f"expected numbers by name, of {', '.join(names)}", path=path, field=key, value=told)
        for name, number in told.items():
            if not (isinstance(number, int | float) and 0 <= number <= most):
                raise InputError(f"expected 0 to {most}", path=path, field=f"{key}.{name}", value=number)
        return {name: float(number) for name, number in told.items()}

    @property
    def weights_file(self) -> Path:
        """`models/model.safetensors`, else `models/model.pt`.

        Raises:
            InputError: Neither is there.
        """
        for name in ("model.safetensors", "model.pt"):
            path = self.folder / "models" / name
            if path.is_file():
                return path
        raise InputError("expected model.safetensors or model.pt", path=self.folder / "models")

    def check(self) -> None:
        """Hold the weights against the SHA-256 that the metadata may keep of them (`weights_sha256`).

        Raises:
            InputError: There are none, or they are others: damaged or cut short.
        """
        path, wanted = self.weights_file, self.metadata.get("weights_sha256")
        if wanted is not None and weights_hash(path) != wanted:
            raise InputError(f"is damaged or cut short: metadata.json has the SHA-256 {wanted}", path=path)

    def value(self, key: str) -> Any:
        """An entry of the config with `@references` filled in.

        Raises:
            InputError: It holds an expression that is more than a plain value, or refers to what is not there.
        """
        return self._plain(self.config.get(key), key, 0)

    def _plain(self, value: Any, field: str, depth: int) -> Any:
        if depth > 20:
            raise InputError("refers to itself or is nested too deeply", path=self.folder, field=field)
        if isinstance(value, dict):
            return {key: self._plain(part, f"{field}.{key}", depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self._plain(part, field, depth + 1) for part in value]
        if not isinstance(value, str):
            return value
        text = value.removeprefix("$").strip()
        if re.fullmatch(r"@\w+", text):
            if text[1:] not in self.config:
                raise InputError("refers to what is not in the config", path=self.folder, field=field, value=value)
            return self._plain(self.config[text[1:]], field, depth + 1)
        if not value.startswith("$"):
            return value
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise InputError(
                "holds a Python expression, which is not run; write the value",
                path=self.folder,
                field=field,
                value=value,
            ) from error

    def network(self) -> torch.nn.Module:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises:
            InputError: The config names no network of `monai.networks.nets`, or the weights do not fit it or are
                damaged.
        """
        self.check()
        from attending.experts.monai_parts import nets

        name, arguments = self._network_def()
        if not re.fullmatch(r"[A-Za-z]\w*", name) or not callable(getattr(nets, name, None)):
            raise InputError(
                "expected a network of monai.networks.nets", path=self.folder, field="network_def", value=name
            )
        try:
            network = getattr(nets, name)(**arguments)
        except Exception as error:  # a network's constructor raises many types for arguments that do not suit it
            raise InputError(
                f"the network cannot be built: {type(error).__name__}: {error}", path=self.folder, field="network_def"
            ) from error
        _load(network, self.weights_file)
        network.eval().requires_grad_(False)
        return network  # type: ignore[no-any-return]

    def _network_def(self) -> tuple[str, dict[str, Any]]:
        """Name and arguments; written as a `_target_` with its arguments, or as one call with keywords."""
        found = self.config.get("network_def", self.config.get("network"))
        if isinstance(found, dict):
            arguments = self._plain({k: v for k, v in found.items() if not k.startswith("_")}, "network_def", 0)
            return str(found.get("_target_", "")).rpartition(".")[2], arguments
        text = re.sub(r"@(\w+)", r"\1", str(found).removeprefix("$").strip())
        try:
            call = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            call = None
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Attribute | ast.Name):
            raise InputError(
                "expected a network with keyword arguments", path=self.folder, field="network_def", value=found
            )
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
        arguments = {}
        for keyword in call.keywords:
            # A bare name can only have been a reference.
            reference = f"@{keyword.value.id}" if isinstance(keyword.value, ast.Name) else None
            value = reference or f"${ast.unparse(keyword.value)}"
            arguments[str(keyword.arg)] = self._plain(value, "network_def", 0)
        return name, arguments

    def recipe(self) -> Recipe:
        """Preparation and windows.

        Raises:
            InputError: A transform that is not known here, which left out would give wrong results.
        """
        steps = self.config.get("preprocessing_transforms")
        if steps is None:
            steps = (self.config.get("preprocessing") or {}).get("transforms", [])
        spacing, orientation, intensity = None, None, []
        for step in steps:
            target = str(step.get("_target_", "")).rpartition(".")[2].removesuffix("d")
            if step.get("_disabled_") is True or target in _OURS:
                continue
            rest = {k: v for k, v in step.items() if not k.startswith("_") and k not in ("keys", "allow_missing_keys")}
            arguments = self._plain(rest, f"preprocessing.{target}", 0)
            if target == "Spacing":
                a, b, c = (float(side) for side in arguments["pixdim"])
                spacing = (a, b, c)
            elif target == "Orientation":
                orientation = str(arguments["axcodes"])
            elif target in _INTENSITY:
                intensity.append((target, arguments))
            else:
                raise InputError(
                    f"this transform is not known; known are Spacing, Orientation, {', '.join((*_INTENSITY, *_OURS))}",
                    path=self.folder,
                    field="preprocessing",
                    value=target,
                )
        inferer = self.config.get("inferer") or {}
        window = self._plain(
            {k: inferer[k] for k in ("roi_size", "overlap", "padding_mode") if k in inferer}, "inferer", 0
        )
        roi = window.get("roi_size", [96, 96, 96])
        roi = [roi] * 3 if isinstance(roi, int) else roi
        overlap = window.get("overlap", 0.25)
        if len(roi) != 3 or not all(isinstance(n, int) and 8 <= n <= 512 for n in roi):
            raise InputError(
                "expected three sides from 8 to 512", path=self.folder, field="inferer.roi_size", value=roi
            )
        if not (isinstance(overlap, int | float) and 0 <= overlap < 1):
            raise InputError("expected 0 to below 1", path=self.folder, field="inferer.overlap", value=overlap)
        padding = "replicate" if window.get("padding_mode") == "replicate" else "constant"
        return Recipe(spacing, orientation, tuple(intensity), (roi[0], roi[1], roi[2]), float(overlap), padding)


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read the two configs of a bundle folder.

    Raises:
        InputError: A config is missing, too large, or not a JSON or YAML table.
    """
    root = Path(folder)
    configs = root / "configs"
    inference = next((p for p in (configs / f"inference.{e}" for e in ("json", "yaml", "yml")) if p.is_file()), None)
    if inference is None:
        raise InputError("is no MONAI bundle: expected configs/inference.json", path=root)
    metadata = configs / "metadata.json"
    return Bundle(root, _table(inference), _table(metadata) if metadata.is_file() else {})


def _table(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_CONFIG:
        raise InputError(f"is larger than {_MAX_CONFIG} bytes", path=path)
    parse: Callable[[str], Any] = json.loads
    if path.suffix != ".json":
        import yaml

        parse = yaml.safe_load
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, UnicodeError) as error:
        raise InputError(f"is not valid {path.suffix[1:]}", path=path) from error
    except Exception as error:  # yaml's errors have no common base among Python's own
        raise InputError(f"is not valid {path.suffix[1:]}: {type(error).__name__}", path=path) from error
    if not isinstance(found, dict):
        raise InputError("expected a table of names and values", path=path)
    return found


def _load(network: torch.nn.Module, path: Path) -> None:
    """Load weights from safetensors, or from a checkpoint restricted to tensors: nothing in it is executed."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors share no base
        raise InputError(f"holds no weights that can be loaded safely ({type(error).__name__})", path=path) from error
    for key in ("model", "state_dict", "network"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"does not fit the network: {str(error)[:300]}", path=path) from error


def weights_hash(path: Path) -> str:
    """SHA-256 of a weights file; computed once while size and time of the file stay."""
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundles_folder() -> Path:
    """Where bundles lie: `ATTENDING_BUNDLES`, else `~/.cache/attending/bundles`."""
    return Path(os.environ.get("ATTENDING_BUNDLES") or Path.home() / ".cache" / "attending" / "bundles")


def missing_for(folder: Path, pull: str = "") -> str | None:
    """What keeps a bundle expert from running, and how to get it; None when nothing does.

    Args:
        folder: Of the bundle.
        pull: What `attending experts pull` calls it, where that can fetch it.
    """
    for package in ("monai", "torch"):
        if find_spec(package) is None:
            return f"{package} is not installed; run: pip install 'attending[experts]'"
    if not (folder / "configs").is_dir():
        get = f"run: attending experts pull {pull}, or " if pull else ""
        if folder.is_relative_to(Path(__file__).parent):
            return f"no bundle at {folder}, where this package has it; install attending again"
        return f"no bundle at {folder}; {get}copy the MONAI bundle {pull or folder.name} there"
    try:
        read_bundle(folder).check()
    except InputError as error:
        return str(error)
    return None


class BundleExpert:
    """What experts that run a bundle share: its folder, and its network, loaded once.

    Attributes:
        folder: The bundle.
        pull: As `missing_for` says.
        kept: What the network found last, for experts whose arguments do not change it.
    """

    pull = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = Kept()

    def available(self) -> str | None:
        """See `Expert`."""
        return missing_for(self.folder, self.pull)

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle as data."""
        return read_bundle(self.folder)

    @cached_property
    def network(self) -> torch.nn.Module:
        """The bundle's network with its weights, on the CPU until it is moved."""
        from attending.experts.device import lean

        return lean(self.bundle.network())
