"""Training of experts: a MONAI network on volumes or radiographs, written out as a bundle that experts are made of."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attending import __version__
from attending.corpora.mixture import permuted
from attending.errors import InputError, NotAvailableError
from attending.experts.classifier import pooled
from attending.training import checkpoint
from attending.training.augment import moved, vary, without_some
from attending.training.expert_cases import gather
from attending.training.expert_recipe import ExpertRecipe
from attending.training.logs import Journal, read_log
from attending.training.loop import Schedule, Tick, decayed, fit
from attending.training.objectives import dice_binary, dice_cross_entropy, findings
from attending.training.parallel import World, join
from attending.training.run import claimed

_LESION = 0.6
"""Share of the windows around labels that are drawn around a lesion, where the case has one: they are small and few."""
_HELD_OUT_WINDOWS = 2
"""Windows of each case held out."""


@dataclass(eq=False)
class Images:
    """Images `[n, C, ...]` and their truth; see `loop.Micro`."""

    images: torch.Tensor
    truth: torch.Tensor
    tokens: int = 0

    @property
    def count(self) -> int:
        """Images."""
        return len(self.images)

    @property
    def samples(self) -> int:
        """Images."""
        return len(self.images)


class Examiner(nn.Module):
    """The network with its loss, summed over images."""

    def __init__(self, network: nn.Module, recipe: ExpertRecipe, device: torch.device) -> None:
        super().__init__()
        self.network, self._device = network, device
        self._segments, self._overlapping = recipe.task == "segmentation", recipe.overlapping
        self._balance = recipe.balance

    def forward(self, one: Images) -> torch.Tensor:
        """The summed loss."""
        truth = one.truth.to(self._device)
        logits = self.network(one.images.to(self._device))
        logits = logits[0] if isinstance(logits, tuple | list) else logits
        if not self._segments:
            return _seen(logits, truth)
        if self._overlapping:
            return dice_binary(logits, truth)
        return dice_cross_entropy(logits, truth[:, 0].long(), self._balance)


class Examination:
    """The work of an expert's recipe; see `attending.training.loop.Work`."""

    def __init__(self, recipe: ExpertRecipe, cases: Sequence[Path], held_out: Sequence[Path], world: World) -> None:
        self._recipe, self._cases, self._held_out = recipe, cases, held_out
        torch.manual_seed(recipe.seed)
        network = build_network(recipe)
        if recipe.start is not None:
            from attending.experts.bundle import read_bundle

            _copy(read_bundle(Path(recipe.start).expanduser()).network(), network, recipe.start)
        if recipe.task == "classification":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
        self.module = Examiner(network, recipe, world.device).to(world.device)

    def groups(self) -> list[dict[str, Any]]:
        """See `Work`."""
        named = list(self.module.named_parameters())
        return decayed(named, self._recipe.rate, self._recipe.weight_decay, "network")

    def prepare(self, step: int) -> list[Images]:
        """See `Work`: windows around labels and elsewhere, as other scanners would show them.

        Never mirrored: sides have names.
        """
        drawn = []
        for position in range(step * self._recipe.batch, (step + 1) * self._recipe.batch):
            epoch, within = divmod(position, len(self._cases))
            key = np.random.default_rng([self._recipe.seed, epoch]).bytes(16)
            draw = np.random.default_rng([self._recipe.seed, position])
            found, truth = self._window(self._cases[permuted(within, len(self._cases), key)], draw)
            image, there = torch.from_numpy(found), torch.from_numpy(np.ascontiguousarray(truth))
            if self._recipe.task == "classification":
                both = torch.cat([image, there.float()]) if there.ndim == image.ndim else image
                both = moved(both, draw)
                image, there = both[:1], (both[1:] > 0.5).to(there.dtype) if len(both) > 1 else there
            image = vary(image, draw, self._recipe.brightness, self._recipe.noise)
            if self._recipe.missing:
                image = without_some(image, draw, self._recipe.missing)
            drawn.append((image, there))
        return [_stacked(drawn)]

    def _window(self, path: Path, draw: np.random.Generator) -> tuple[Any, Any]:
        with np.load(path, allow_pickle=False) as file:
            image, truth = file["image"].astype(np.float32), file["truth"]
        if self._recipe.task == "classification":
            return image, truth
        shape, patch = np.array(truth.shape[1:]), np.array(self._recipe.patch)
        centre = draw.uniform(0, shape)
        if draw.random() < self._recipe.foreground and truth.any():
            there = np.flatnonzero(np.bincount(truth.ravel())[1:]) + 1
            lesions = there[np.isin(there, self._recipe.lesions)]
            label = draw.choice(lesions if lesions.size and draw.random() < _LESION else there)
            where = np.flatnonzero(truth == label)
            centre = np.array(np.unravel_index(where[draw.integers(len(where))], truth.shape))[1:]
            centre = centre + draw.uniform(-8, 8, 3)
        start = np.clip((centre - patch / 2).astype(int), 0, shape - patch)
        cut = (slice(None), *(slice(a, a + n) for a, n in zip(start, patch, strict=True)))
        return np.ascontiguousarray(image[cut]), np.ascontiguousarray(truth[cut])

    def blank(self) -> Images:
        """See `Work`; never asked for, since one process trains an expert."""
        raise AssertionError

    def held_out(self) -> list[Images]:
        """See `Work`: always the same windows, as they are."""
        windows = 1 if self._recipe.task == "classification" else _HELD_OUT_WINDOWS
        return [
            _stacked(
                [
                    tuple(map(torch.from_numpy, self._window(path, np.random.default_rng([1, number]))))
                    for number in range(windows)
                ]
            )
            for path in self._held_out
        ]


def _stacked(drawn: Sequence[tuple[torch.Tensor, ...]]) -> Images:
    images, truths = (torch.stack([one[side] for one in drawn]) for side in (0, 1))
    return Images(images, truths)


def _seen(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The loss of findings on films: whether each is there, and where both sides tell, where."""
    if logits.ndim == truth.ndim == 4:
        masks = functional.adaptive_max_pool2d(truth.float(), logits.shape[2:])
        return findings(pooled(logits), _there(truth)) + dice_binary(logits, masks)
    return findings(pooled(logits), _there(truth))


def _there(truth: torch.Tensor) -> torch.Tensor:
    """0, 1 or NaN by finding `[images, findings]`, of masks or of that itself."""
    return truth.flatten(2).amax(2).float() if truth.ndim == 4 else truth


def build_network(recipe: ExpertRecipe) -> nn.Module:
    """The recipe's network, tried on an empty window.

    Raises:
        InputError: MONAI has no such network, or it does not fit the arguments, the window or the labels.
        NotAvailableError: MONAI is not installed.
    """
    try:
        from attending.experts.monai_parts import nets
    except ImportError as error:
        raise NotAvailableError("experts are trained with MONAI: pip install 'attending[experts]'") from error
    name = str(recipe.network.get("_target_", "")).rpartition(".")[2]
    kind = getattr(nets, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InputError("expected a network of monai.networks.nets", field="network._target_", value=name)
    arguments = {key: value for key, value in recipe.network.items() if key != "_target_"}
    inputs = max(1, len(recipe.sequences))
    wanted = len(recipe.labels) + (recipe.task == "segmentation" and not recipe.overlapping)
    try:
        network: nn.Module = kind(**arguments).eval()
        with torch.no_grad():
            out = network(torch.zeros(1, inputs, *recipe.patch))
    except Exception as error:  # networks raise many kinds for arguments and sizes that do not suit them
        raise InputError(f"cannot be built or run on {inputs} x {recipe.patch}: {error}", field="network") from error
    out = out[0] if isinstance(out, tuple | list) else out
    expected = (1, wanted, *(recipe.patch if recipe.task == "segmentation" else ()))
    maps = recipe.task == "classification" and out.ndim == 4
    if tuple(out.shape[:2] if maps else out.shape) != expected:
        shape = " x ".join(map(str, out.shape))
        raise InputError(f"gives {shape}, the labels need {' x '.join(map(str, expected))}", field="network")
    return network


def _copy(learned: nn.Module, network: nn.Module, start: str) -> None:
    try:
        network.load_state_dict(learned.state_dict())
    except RuntimeError as error:
        raise InputError(f"its network is another: {str(error)[:200]}", field="start", value=start) from error


def train_expert(recipe: ExpertRecipe, out: Path, tick: Tick, tell: Callable[[str], None]) -> Path:
    """Train an expert in `out`, or go on there; see `attending.training.run.train`.

    Returns:
        The bundle's folder, `out/model`. A card lies beside it that `attending experts` reads.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NotAvailableError("an expert is trained by one process: run it without torchrun")
    world = join()
    with claimed(out, asdict(recipe), world):
        done = out / "model"
        if done.is_dir():
            return done
        build_network(recipe)  # what is wrong with it is told before the cases are prepared
        cases = gather(recipe, recipe.data, out / "cases", tell)
        held = gather(recipe, recipe.held_out, out / "held_out", tell) if recipe.held_out else []
        work = Examination(recipe, cases, held, world)
        schedule = Schedule(
            recipe.name, recipe.steps, recipe.warmup, recipe.clip, recipe.evaluate_every, recipe.save_every,
            recipe.seed, recipe.dtype,
        )  # fmt: skip
        folder = out / "training"
        folder.mkdir(exist_ok=True)
        fit(work, schedule, folder, world, Journal(out), tick)
        last = read_log(out / "log.jsonl")[-1]
        scale = _calibrated(work, recipe.labels) if recipe.task == "classification" and held else {}
        write_bundle(recipe, work.module.network, last, done, scale)
        for old in checkpoint.found(folder):
            checkpoint.remove(old)
        return done


def calibration(logits: torch.Tensor, truth: torch.Tensor) -> list[tuple[float, float]]:
    """Platt's slope and offset of each finding: sigmoid(slope * logit + offset) is the chance (Platt, 1999).

    They are held near 1 and 0 by as much as one image counts, so that a finding with few examples keeps its logits.

    Args:
        logits: `[images, findings]`, of images that nothing was learned from.
        truth: `[images, findings]`: 0, 1, or NaN where it is not known.
    """
    found = []
    for told, there in zip(logits.float().T, truth.T, strict=True):
        known = there.isfinite()
        line = torch.tensor([1.0, 0.0], requires_grad=True)
        search = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

        def step(
            told: torch.Tensor = told[known, None],
            there: torch.Tensor = there[known, None],
            line: torch.Tensor = line,
            search: torch.optim.LBFGS = search,
        ) -> float:
            search.zero_grad()
            loss = findings(line[0] * told + line[1], there) + (line[0] - 1) ** 2 + line[1] ** 2
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        search.step(step)  # type: ignore[no-untyped-call]
        slope, offset = line.detach().tolist()
        found.append((round(slope, 4), round(offset, 4)))
    return found


def _calibrated(work: Examination, names: Mapping[int, str]) -> dict[str, tuple[float, float]]:
    """`calibration` by finding, on the cases held out."""
    work.module.eval()
    batches = work.held_out()
    with torch.no_grad():
        logits = pooled(torch.cat([work.module.network(one.images) for one in batches]))
    lines = calibration(logits, _there(torch.cat([one.truth for one in batches])))
    return dict(zip(names.values(), lines, strict=True))


def write_bundle(
    recipe: ExpertRecipe,
    network: nn.Module,
    last: dict[str, Any],
    folder: Path,
    scale_of: Mapping[str, tuple[float, float]],
) -> None:
    """Write a MONAI bundle: configs, weights in safetensors, and the card beside it.

    Args:
        recipe: What was trained.
        network: The result.
        last: The last line of the log.
        folder: The bundle's; must not be there.
        scale_of: Slope and offset by finding; see `calibration`.
    """
    arguments = {key: value for key, value in recipe.network.items() if key != "_target_"}
    target = str(recipe.network["_target_"]).rpartition(".")[2]
    scale = {**recipe.scale, "_target_": f"{recipe.scale['_target_']}d", "keys": "image"}
    spacing = [{"_target_": "Spacingd", "keys": "image", "pixdim": list(recipe.spacing)}] if recipe.spacing else []
    steps = [{"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}, *spacing, scale]
    inference = {
        "network_def": {"_target_": target, **arguments},
        "preprocessing": {"_target_": "Compose", "transforms": steps if recipe.task == "segmentation" else [scale]},
    }
    if recipe.task == "segmentation":
        inference["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": list(recipe.patch), "overlap": 0.25}
    kept: dict[str, Any] = {key: last[key] for key in ("step", "loss", "held_out") if key in last}
    names = {str(channel): name for channel, name in recipe.labels.items()}
    metadata = {
        "version": "0.1.0",
        "task": recipe.task,
        "network_data_format": {"outputs": {"pred": {"channel_def": names}}},
        "input_size": list(recipe.patch),
        "trained_by": f"attending {__version__}",
        "trained": kept,
    }
    if scale_of:
        metadata["calibration"] = {name: list(line) for name, line in scale_of.items()}
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        for name in ("configs", "models"):
            (aside / name).mkdir(parents=True)
        for name, table in (("inference", inference), ("metadata", metadata)):
            (aside / "configs" / f"{name}.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        state = {name: one.detach().cpu().contiguous().clone() for name, one in network.state_dict().items()}
        checkpoint.write_tensors(state, aside / "models" / "model.safetensors")
        _write_card(recipe, kept, folder)
        aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) or "os error 28" in str(error):
            raise NotAvailableError(f"{folder}: the bundle cannot be written ({error}); run the same again") from error
        raise


def _write_card(recipe: ExpertRecipe, kept: dict[str, Any], folder: Path) -> None:
    import yaml

    segments = recipe.task == "segmentation"
    held = f"held-out loss {kept['held_out']:.3f}" if "held_out" in kept else "not measured"
    card: dict[str, Any] = {
        "kind": "monai-bundle" if segments else "monai-classifier",
        "name": recipe.name.replace("-", "_"),
        "modality": [recipe.modality],
        "task": recipe.task,
        "overview": recipe.overview or f"{'segments' if segments else 'tells'} {', '.join(recipe.labels.values())}",
        "accuracy": held,
        "licence": recipe.licence,
        "version": "0.1.0",
        "folder": folder.name,
    }
    if segments:
        card |= {
            "labels": recipe.labels,
            "lesions": [channel + recipe.overlapping for channel in recipe.lesions],  # label ids
            "overlapping": recipe.overlapping,
            "sequences": list(recipe.sequences),
            "any_sequences": recipe.missing > 0,
        }
    checkpoint.write_text(folder.parent / f"{card['name']}.yaml", yaml.safe_dump(card, sort_keys=False))


def plan_expert(recipe: ExpertRecipe) -> dict[str, Any]:
    """The dry run: what would be trained; nothing is read but the recipe, and the network is tried once.

    Raises:
        InputError: See `build_network`.
    """
    import time

    network = build_network(recipe)
    count = sum(one.numel() for one in network.parameters())
    window = torch.zeros(recipe.batch, max(1, len(recipe.sequences)), *recipe.patch)
    began = time.perf_counter()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
        network(window)
    hours = 3 * (time.perf_counter() - began) * recipe.steps / 3600
    stage = {
        "name": recipe.name,
        "objective": recipe.task,
        "rates": {"network": recipe.rate},
        "trained": count,
        "steps": recipe.steps,
        "epochs": round(recipe.steps * recipe.batch / recipe.data.count, 2),
        "tokens": 0,
        "learned": 0,
        "pictures": recipe.steps * recipe.batch,
        "memory_gb": {"least": round(count * 16 / 1e9, 2), "likely": round(count * 16 / 1e9 + 1, 2)},
        "hours": round(hours, 3),
    }
    return {"recipe": recipe.name, "parameters": {"network": count}, "stages": [stage], "problems": []}
