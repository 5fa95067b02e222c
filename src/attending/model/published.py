"""Reads the layout in which VILA-M3 is published: `config.json`, `llm/`, `vision_tower/`, `mm_projector/`.

Paths stored inside are ignored: the parts are always the folders beside `config.json`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedConfig

from attending.errors import InputError
from attending.model.config import VilaM3Config
from attending.model.modeling import VilaM3ForConditionalGeneration
from attending.model.weights import StoredTensor, read_folder, read_json

PARTS = ("llm", "vision_tower", "mm_projector")
_NOT_OURS = {"_name_or_path", "architectures", "auto_map", "transformers_version", "torch_dtype", "dtype"}
_OF_TOKENIZER = {"model_max_length", "tokenizer_model_max_length", "tokenizer_padding_side"}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Published:
    """A checked checkpoint, no weight of which has been read yet.

    Attributes:
        folder: Where it is.
        config: The model it describes.
        tensors: What to write, by its name in the Transformers model; the vocabulary is as long as the tokenizer.
        unused: Stored tensors that no output depends on (the tower after the chosen layer).
        preprocessor: `vision_tower/preprocessor_config.json`.
        context: Longest prompt in tokens, pictures included.
        image_aspect_ratio: `resize` or `pad`.
    """

    folder: Path
    config: VilaM3Config
    tensors: dict[str, StoredTensor]
    unused: list[StoredTensor]
    preprocessor: dict[str, Any]
    context: int
    image_aspect_ratio: str


def is_published(folder: Path) -> bool:
    """Whether the folder has the parts of a published checkpoint."""
    return (folder / "config.json").is_file() and all((folder / part).is_dir() for part in PARTS)


def read_published(folder: Path, vocabulary: int | None = None) -> Published:
    """Read and check settings, names, shapes and byte ranges of a published checkpoint.

    Args:
        folder: The folder.
        vocabulary: Length of its tokenizer; embedding rows past it are cut off, as the reference does.

    Raises:
        InputError: Naming the file and the field or tensor, with what was expected and found.
    """
    if not is_published(folder):
        raise InputError(
            f"not a VILA-M3 checkpoint: expected config.json and the folders {', '.join(PARTS)}", path=folder
        )
    root = read_json(folder / "config.json")
    _refuse_unsupported(folder / "config.json", root)
    stored = {part: read_folder(folder / part) for part in PARTS}
    text = _sub_config(folder / "llm/config.json", len(stored["llm"]))
    vision = _sub_config(folder / "vision_tower/config.json", len(stored["vision_tower"]))
    llm_json = read_json(folder / "llm/config.json")
    rows = text.vocab_size
    if vocabulary is not None:
        if vocabulary > rows:
            raise InputError(
                f"the tokenizer has {vocabulary} tokens, the model fewer",
                path=folder / "llm/config.json",
                field="vocab_size",
                value=rows,
            )
        text.vocab_size = vocabulary
    config = _config(folder, root, text, vision, stored["llm"])
    tensors, unused = _match(config, stored, rows)
    context = llm_json.get("tokenizer_model_max_length") or text.max_position_embeddings
    if type(context) is not int or context < 1:
        raise InputError(
            "expected a positive whole number",
            path=folder / "llm/config.json",
            field="tokenizer_model_max_length",
            value=context,
        )
    return Published(
        folder=folder,
        config=config,
        tensors=tensors,
        unused=unused,
        preprocessor=_preprocessor(folder / "vision_tower/preprocessor_config.json", vision),
        context=context,
        image_aspect_ratio=root.get("image_aspect_ratio") or "resize",
    )


def _refuse_unsupported(path: Path, root: dict[str, Any]) -> None:
    """Refuse settings that no published VILA-M3 model uses and that would change what is computed."""
    allowed: dict[str, tuple[Any, ...]] = {
        "s2": (False, None),
        "mm_use_im_start_end": (False, None),
        "mm_use_im_patch_token": (False, None),
        "vision_resolution": (-1, None),
        "image_aspect_ratio": ("resize", "pad", None),
        "mm_vision_select_feature": ("cls_patch", "patch", None),
    }
    for field, values in allowed.items():
        if root.get(field) not in values:
            raise InputError(f"expected {values[0]!r}", path=path, field=field, value=root[field])


def _preprocessor(path: Path, vision: PreTrainedConfig) -> dict[str, Any]:
    """Read how pictures are prepared; they must come out in the tower's size."""
    settings = read_json(path)
    size = settings.get("crop_size") or settings.get("size")  # a crop takes the place of the size
    sides = set(size.values()) if isinstance(size, dict) else {size} if isinstance(size, int) else set()
    if sides != {vision.image_size}:
        raise InputError(f"the tower takes {vision.image_size} pixels a side", path=path, field="size", value=size)
    for field in ("image_mean", "image_std"):
        values = settings.get(field, [0.5] * 3)
        numbers = isinstance(values, list) and all(isinstance(one, (int, float)) for one in values)
        if not numbers or len(values) != 3 or (field == "image_std" and 0 in values):
            raise InputError("expected three numbers, none of a deviation zero", path=path, field=field, value=values)
    return settings


def _sub_config(path: Path, tensor_count: int) -> PreTrainedConfig:
    """Read the settings of one part with the Transformers class of its `model_type`; no code from the folder runs."""
    settings = {key: value for key, value in read_json(path).items() if key not in _NOT_OURS | _OF_TOKENIZER}
    model_type = settings.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise InputError(
            "expected a model type that Transformers knows", path=path, field="model_type", value=model_type
        )
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[model_type](**settings)
    except Exception as error:  # each configuration class validates in its own way
        raise InputError("the settings do not fit their model type", path=path, value=str(error)) from error
    layers = getattr(config, "num_hidden_layers", 0)
    if not 0 < layers <= tensor_count:  # before anything is built from it
        raise InputError(f"the weights hold {tensor_count} tensors", path=path, field="num_hidden_layers", value=layers)
    return config


def _config(
    folder: Path, root: dict[str, Any], text: PreTrainedConfig, vision: PreTrainedConfig, llm: dict[str, StoredTensor]
) -> VilaM3Config:
    projector = read_json(folder / "mm_projector/config.json").get("mm_projector_type", "")
    dtype = max(llm.values(), key=lambda one: one.end - one.start).dtype
    if dtype not in _DTYPES:
        raise InputError(f"expected weights of {', '.join(_DTYPES)}", path=folder / "llm", value=dtype)
    try:
        config = VilaM3Config(
            text_config=text,
            vision_config=vision,
            projector_type=projector,
            vision_feature_layer=root.get("mm_vision_select_layer", -2),
            vision_feature_select_strategy=root.get("mm_vision_select_feature") or "cls_patch",
            image_token_id=text.vocab_size,
            dtype=_DTYPES[dtype],
        )
    except Exception as error:  # strict configurations raise several types
        raise InputError("the settings do not fit together", path=folder / "config.json", value=str(error)) from error
    config.architectures = [VilaM3ForConditionalGeneration.__name__]
    return config


def _match(
    config: VilaM3Config, stored: dict[str, dict[str, StoredTensor]], rows: int
) -> tuple[dict[str, StoredTensor], list[StoredTensor]]:
    """Give each stored tensor its name in the Transformers model and check its shape, without allocating anything."""
    try:
        with torch.device("meta"):
            model = VilaM3ForConditionalGeneration(config)
            whole_tower = AutoModel.from_config(config.vision_config)
    except Exception as error:  # sizes that do not fit each other fail in many ways
        raise InputError("no model can be built from these settings", value=str(error)) from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tower_names = set(whole_tower.state_dict())
    tied = set(model.all_tied_weights_keys)
    tensors: dict[str, StoredTensor] = {}
    unused: list[StoredTensor] = []
    for name, tensor in ((_renamed(part, one.name), one) for part in PARTS for one in stored[part].values()):
        if name in tied:
            unused.append(tensor)
        elif name in expected:
            tensors[name] = _checked(tensor, expected[name], rows, config.text_config.vocab_size)
        elif name.removeprefix("model.vision_tower.") in tower_names or name.endswith(".rotary_emb.inv_freq"):
            unused.append(tensor)
        else:
            raise InputError(
                "the model described by config.json has no such tensor", path=tensor.path, field=tensor.name
            )
    missing = sorted(expected.keys() - tensors.keys() - tied)
    if missing:
        raise InputError(
            f"{len(missing)} tensors are missing; this one should be {list(expected[missing[0]])}",
            path=_part(missing[0]),
            field=missing[0],
        )
    return tensors, unused


def _part(name: str) -> str:
    """The folder of the published layout that holds a tensor of the Transformers model."""
    return "vision_tower" if "vision_tower" in name else "mm_projector" if "multi_modal_projector" in name else "llm"


def _renamed(part: str, name: str) -> str:
    if part == "llm":
        return "model.language_model." + name.removeprefix("model.") if name.startswith("model.") else name
    if part == "vision_tower":
        return "model.vision_tower." + name.removeprefix("vision_model.")
    return "model.multi_modal_projector." + name


def _checked(tensor: StoredTensor, shape: tuple[int, ...], rows: int, vocabulary: int) -> StoredTensor:
    """Compare shapes; a vocabulary longer than the tokenizer is cut to its first rows."""
    if (
        tensor.shape[:1] == (rows,)
        and shape[:1] == (vocabulary,)
        and tensor.shape[1:] == shape[1:]
        and rows > vocabulary
    ):
        length = (tensor.end - tensor.start) // rows * vocabulary
        tensor = tensor._replace(shape=shape, end=tensor.start + length)
    if tensor.shape != shape:
        raise InputError(
            f"expected shape {list(shape)}, found {list(tensor.shape)}", path=tensor.path, field=tensor.name
        )
    if tensor.dtype not in _DTYPES:
        raise InputError(
            f"expected one of {', '.join(_DTYPES)}",
            path=tensor.path,
            field=f"dtype of {tensor.name}",
            value=tensor.dtype,
        )
    return tensor
