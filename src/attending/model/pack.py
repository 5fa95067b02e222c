"""Packs a trained model into the parts that ship: settings, tower, projector, one adapter, and a list with hashes."""

from __future__ import annotations

import json
import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from attending.errors import InputError
from attending.model.embedded import merged, sha256
from attending.model.language_model import PACKAGE, locate, read_language_model
from attending.model.weights import read_folder, read_json

NAME = "attending-nano"
_STAGE = re.compile(r"(\d+)-.+")
_PLAIN = {"peft_type": "LORA", "bias": "none", "use_rslora": False, "use_dora": False, "rank_pattern": {},
          "alpha_pattern": {}, "modules_to_save": None}  # fmt: skip
_ROUNDING = 6e-3
"""Greatest difference of a matrix from the trained one, relative to it, that comes of rounding to bfloat16 after
every stage."""

Adapter = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By layer, as PEFT names it: what multiplies first, `[rank, in]`, and then, `[out, rank]`, the scale included."""


class Packed(NamedTuple):
    """What was packed."""

    folder: Path
    sizes: dict[str, int]
    """Bytes of each file."""
    rank: int
    """Of the adapter."""
    error: float
    """Greatest difference of a matrix of the language model from the trained one, relative to that (Frobenius norm)."""


def pack(run_model: Path, folder: Path, language_model: str, rank: int | None = None) -> Packed:
    """Extract the parts of a model that was trained from a packaged language model.

    The adapters of all stages of the run up to this model become one, whose rank is the sum of theirs. Put together
    anew, the parts are compared with the trained model before anything is written.

    Args:
        run_model: `runs/nano/model`, or the model of a stage.
        folder: Where to; files of the same names are replaced, others (a model card) stay.
        language_model: `package:NAME/FILE.gguf`, what the training began with.
        rank: Keep only the best approximation of this rank.

    Raises:
        InputError: Not such a model; or base and adapters do not give what was trained.
        NotAvailableError: The package is missing.
    """
    if not language_model.startswith(PACKAGE):
        raise InputError("expected package:NAME/FILE", field="--language-model", value=language_model)
    settings = _settings(run_model)
    trained: dict[str, torch.Tensor] = {}
    for file in dict.fromkeys(one.path for one in read_folder(run_model).values()):
        trained |= load_file(file)
    others = {name: one.to(torch.bfloat16) for name, one in trained.items() if not _is_language(name)}
    adapter = _summed([_read_adapter(one) for one in _adapters(run_model)])
    path = locate(language_model, "--language-model")
    language, _ = read_language_model(path)
    with TemporaryDirectory() as place:
        aside = Path(place)
        _write_adapter(adapter, aside / "adapter")
        error = _difference(merged(language, aside / "adapter"), trained)
        if error[1] > _ROUNDING:
            raise InputError(
                f"the packaged language model and the run's adapters miss this by {error[1]:.3f} of its norm; "
                "the folders of all stages must lie beside this one's, and nothing but adapters may have changed it",
                path=run_model,
                field=error[0],
            )
        if rank is not None:
            _write_adapter({name: _truncated(*pair, rank) for name, pair in adapter.items()}, aside / "adapter")
            error = _difference(merged(language, aside / "adapter"), trained)
        save_file(others, aside / "parts.safetensors", metadata={"format": "pt"})
        _write_json(aside / "config.json", settings)
        _write_json(aside / "generation_config.json", read_json(run_model / "generation_config.json"))
        names = sorted(one.relative_to(aside).as_posix() for one in aside.rglob("*") if one.is_file())
        sizes = {name: (aside / name).stat().st_size for name in names}
        files = {name: {"bytes": sizes[name], "sha256": sha256(aside / name)} for name in names}
        inside = language_model.removeprefix(PACKAGE)
        package = metadata.packages_distributions()[inside.partition("/")[0]][0]
        source = {"package": package, "version": metadata.version(package), "file": inside, "sha256": sha256(path)}
        context = read_json(run_model / "tokenizer_config.json").get("model_max_length")
        _write_json(
            aside / "manifest.json", {"name": NAME, "context": context, "language_model": source, "files": files}
        )
        for name in [*names, "manifest.json"]:
            _move(aside / name, folder / name)
    held = next(iter(adapter.values()))[0].shape[0]
    return Packed(folder, sizes, min(held, rank or held), error[1])


def _is_language(name: str) -> bool:
    return name.startswith(("model.language_model.", "lm_head."))


def _adapters(run_model: Path) -> list[Path]:
    """The adapters of all stages of a run up to this model, in their order; of a lone folder its own."""
    model = run_model.resolve()
    last = _STAGE.fullmatch(model.parent.name)
    stages = [model]
    if last:
        numbered = [(_STAGE.fullmatch(one.name), one / model.name) for one in model.parent.parent.iterdir()]
        stages = [one for _, one in sorted((int(n[1]), one) for n, one in numbered if n and int(n[1]) <= int(last[1]))]
    found = [one / "adapter" for one in stages if (one / "adapter" / "adapter_config.json").is_file()]
    if not found:
        raise InputError("expected adapter/ in this folder, as training with lora leaves it", path=run_model)
    return found


def _read_adapter(folder: Path) -> Adapter:
    settings = read_json(folder / "adapter_config.json")
    for field, plain in _PLAIN.items():
        if settings.get(field, plain) not in (plain, None):
            raise InputError(f"expected {plain}", path=folder, field=field, value=settings[field])
    alpha, rank = settings.get("lora_alpha"), settings.get("r")
    if not (isinstance(alpha, int | float) and type(rank) is int and rank > 0):
        raise InputError("expected numbers", path=folder, field="lora_alpha and r", value=(alpha, rank))
    scale = alpha / rank
    tensors = load_file(folder / "adapter_model.safetensors")
    stems = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    return {
        stem: (tensors[f"{stem}.lora_A.weight"].float(), scale * tensors[f"{stem}.lora_B.weight"].float())
        for stem in stems
        if _is_language(stem.removeprefix("base_model.model."))
    }


def _summed(adapters: list[Adapter]) -> Adapter:
    """One adapter that does what all do; its rank is the sum of theirs."""
    layers = sorted({name for one in adapters for name in one})
    found = {}
    for name in layers:
        pairs = [one[name] for one in adapters if name in one]
        found[name] = (torch.cat([down for down, _ in pairs]), torch.cat([up for _, up in pairs], 1))
    return found


def _truncated(down: torch.Tensor, up: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best approximation of `up @ down` that has this rank."""
    left, upper = torch.linalg.qr(up)
    right, lower = torch.linalg.qr(down.T)
    u, s, v = torch.linalg.svd(upper @ lower.T)
    root = s[:rank].sqrt()
    return root[:, None] * v[:rank] @ right.T, left @ u[:, :rank] * root


def _write_adapter(adapter: Adapter, folder: Path) -> None:
    """Write PEFT's form, in float16."""
    folder.mkdir(exist_ok=True)
    ranks = {down.shape[0] for down, _ in adapter.values()}
    if len(ranks) != 1:
        raise InputError("expected the stages' adapters on the same layers", path=folder, field="rank", value=ranks)
    prefix = "base_model.model."
    settings = {"base_model_name_or_path": None, "peft_type": "LORA", "r": max(ranks), "lora_alpha": max(ranks),
                "lora_dropout": 0.0, "bias": "none", "inference_mode": True,
                "target_modules": [name.removeprefix(prefix) for name in adapter]}  # fmt: skip
    _write_json(folder / "adapter_config.json", settings)
    tensors = {}
    for name, pair in adapter.items():
        for which, one in zip("AB", pair, strict=True):
            tensors[f"{name}.lora_{which}.weight"] = one.to(torch.float16).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _difference(made: dict[str, torch.Tensor], trained: dict[str, torch.Tensor]) -> tuple[str, float]:
    """The matrix that differs most from the trained one, and by what share of its norm."""
    worst = ("", 0.0)
    for name, wanted in trained.items():
        if not _is_language(name):
            continue
        if name not in made or made[name].shape != wanted.shape:
            raise InputError("the packaged language model has no such tensor of this shape", field=name)
        wanted = wanted.float()
        error = float((made[name].float() - wanted).norm() / wanted.norm().clamp_min(1e-12))
        if not error < 1e6:
            raise InputError("expected numbers", field=name, value=error)
        worst = max(worst, (name, error), key=lambda one: one[1])
    return worst


def _settings(run_model: Path) -> dict[str, Any]:
    """The model's config.json without traces of where it was made."""
    config = read_json(run_model / "config.json") | {"dtype": "bfloat16"}
    if config.get("model_type") != "vila_m3":
        raise InputError(
            "expected vila_m3", path=run_model / "config.json", field="model_type", value=config.get("model_type")
        )
    for part in (config, config["text_config"], config["vision_config"]):
        for field in ("_name_or_path", "quantization_config"):
            part.pop(field, None)
    return config


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _move(source: Path, goal: Path) -> None:
    """Copy beside the goal, then rename: a file there is whole."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    aside = goal.with_name(f".{goal.name}-{os.getpid()}")
    shutil.copyfile(source, aside)
    os.replace(aside, goal)
