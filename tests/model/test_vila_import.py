"""Importing: what is written, what is refused and how it is named, and how much memory it takes."""

import hashlib
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import InputError
from attending.model import LocalModel, import_checkpoint
from attending.model.importing import _packed
from attending.model.info import describe
from attending.model.published import read_published
from attending.model.weights import StoredTensor, read_folder, read_header


@pytest.fixture
def folder(published: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(published["llama"], tmp_path / "source"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(path: Path, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def overlap(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    header, body = header_of(path)
    first, second = sorted(
        (one for one in header if one != "__metadata__"), key=lambda one: header[one]["data_offsets"]
    )[:2]
    start, end = header[second]["data_offsets"]
    begin = header[first]["data_offsets"][0]
    header[second]["data_offsets"] = [begin, begin + end - start]
    with_header(path, header, body)


def truncated(folder: Path) -> None:
    path = folder / "llm/model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def cut_header(folder: Path) -> None:
    path = folder / "llm/model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def missing_shard(folder: Path) -> None:
    os.rename(folder / "llm/model.safetensors", folder / "llm/model-1.safetensors")
    weight_map = {"lm_head.weight": "model-1.safetensors", "model.norm.weight": "model-2.safetensors"}
    (folder / "llm/model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def pickled(folder: Path) -> None:
    (folder / "llm/model.safetensors").unlink()
    (folder / "llm/pytorch_model.bin").write_bytes(pickle.dumps({"x": 1}))


def climbing_index(folder: Path) -> None:
    weight_map = {"lm_head.weight": "../../model.safetensors"}
    (folder / "llm/model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def wrong_shape(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    save_file({**load_file(path), "layers.2.weight": torch.zeros(32, 95)}, path)


def missing_tensor(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    save_file({name: one for name, one in load_file(path).items() if name != "layers.4.bias"}, path)


def strange_tensor(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    save_file({**load_file(path), "layers.9.weight": torch.zeros(3)}, path)


def whole_numbers(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    save_file({**load_file(path), "layers.4.bias": torch.zeros(32, dtype=torch.int64)}, path)


def two_names(folder: Path) -> None:
    path = folder / "llm/config.json"
    path.write_text('{"model_type": "llama", ' + path.read_text()[1:])


def pipe(folder: Path) -> None:
    (folder / "llm/model.safetensors").unlink()
    os.mkfifo(folder / "llm/model.safetensors")


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: shutil.rmtree(folder / "mm_projector"), r"not a VILA-M3 checkpoint: expected config\.json and"),
    (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is .*: not valid JSON"),
    (lambda folder: (folder / "config.json").write_text("[" * 100_000), r"config\.json.*not valid JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object"),
    (truncated, r"llm/model\.safetensors: file size is \d+: truncated or too long: expected \d+ bytes"),
    (cut_header, r"llm/model\.safetensors: header length is \d+: not a safetensors file, or truncated"),
    (missing_shard, r"model-2\.safetensors: the file is missing"),
    (pickled, r"pytorch_model\.bin: weights are read from safetensors only; this is a pickle"),
    (climbing_index, r"weight_map of lm_head\.weight is \.\./\.\./model\.safetensors: expected the name of a"),
    (overlap, r"mm_projector/model\.safetensors: .* overlaps the tensor before it"),
    (wrong_shape, r"layers\.2\.weight: expected shape \[32, 96\], found \[32, 95\]"),
    (missing_tensor, r"mm_projector: model\.multi_modal_projector\.layers\.4\.bias: 1 tensors are missing.*\[32\]"),
    (strange_tensor, r"layers\.9\.weight: the model described by config\.json has no such tensor"),
    (whole_numbers, r"dtype of layers\.4\.bias is I64: expected one of F64, F32, F16, BF16"),
    (two_names, r"llm/config\.json: a name occurs twice"),
    (pipe, r"model\.safetensors: not a regular file"),
    (lambda f: edit(f / "llm/config.json", num_hidden_layers=10**9), r"num_hidden_layers is 10+: the weights hold 21"),
    (lambda f: edit(f / "llm/config.json", hidden_size="big"), r"llm/config\.json is .*: the settings do not fit"),
    (lambda f: edit(f / "llm/config.json", model_type="../evil"), "expected a model type that Transformers knows"),
    (lambda f: edit(f / "llm/config.json", vocab_size=3), r"vocab_size is 3: the tokenizer has 330 tokens"),
    (lambda f: edit(f / "llm/config.json", tokenizer_model_max_length="x"), "tokenizer_model_max_length is x"),
    (lambda f: edit(f / "vision_tower/config.json", num_attention_heads=5), "no model can be built"),
    (lambda f: edit(f / "mm_projector/config.json", mm_projector_type="magic"), "projector_type is 'magic'; exp"),
    (lambda f: edit(f / "config.json", s2=True), r"s2 is True: expected False"),
    (lambda f: edit(f / "config.json", mm_vision_select_layer=-9), r"vision_feature_layer is -9"),
    (lambda f: edit(f / "vision_tower/preprocessor_config.json", size=384), r"size is 384: the tower takes 42"),
    (lambda f: edit(f / "vision_tower/preprocessor_config.json", image_std=[1, 0, 1]), "image_std is .*: expected"),
    (lambda f: (f / "llm/tokenizer.json").write_text("{}"), r"tokenizer\.json is .*: the tokenizer cannot be read"),
    (lambda f: (f / "llm/tokenizer.json").unlink(), r"tokenizer\.json: the file is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_and_nothing_is_written(
    folder: Path, damage: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=said):
        import_checkpoint(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_every_cut_of_a_shard_is_refused(folder: Path) -> None:
    path = folder / "mm_projector/model.safetensors"
    data = path.read_bytes()
    for sixteenth in range(16):
        path.write_bytes(data[: len(data) * sixteenth // 16])
        with pytest.raises(InputError):
            read_header(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1.0, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**64], "data_offsets": [0, 8]},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
        [],
        None,
    ],
)
def test_a_false_header_entry_is_refused(tmp_path: Path, entry: object) -> None:
    with_header(tmp_path / "model.safetensors", {"x": entry}, bytes(8))
    with pytest.raises(InputError):
        read_folder(tmp_path)


def test_shards_and_index_must_agree(tmp_path: Path) -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    save_file({"a": one, "b": two}, tmp_path / "m1.safetensors")
    save_file({"b": two}, tmp_path / "m2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    for weight_map, said in [
        ({"a": "m1.safetensors", "b": "m1.safetensors", "c": "m2.safetensors"}, "also in m1"),
        ({"a": "m1.safetensors"}, "the index does not place this tensor here"),
        ({"b": "m2.safetensors", "d": "m2.safetensors"}, "which lacks it"),
        ({}, "expected a map"),
    ]:
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(InputError, match=said):
            read_folder(tmp_path)


def test_the_destination_must_be_free_and_appears_whole(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    with pytest.raises(InputError, match="does not exist yet or is empty"):
        import_checkpoint(folder, tmp_path / "out")
    with pytest.raises(InputError, match="conversation mode is chatty"):
        import_checkpoint(folder, tmp_path / "other", "chatty")
    with pytest.raises(InputError, match=r"mine\.txt: cannot be written to: (Not a directory|File exists)"):
        import_checkpoint(folder, tmp_path / "out/mine.txt/x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    (tmp_path / "empty").mkdir()
    seen: list[tuple[int, int]] = []
    import_checkpoint(folder, tmp_path / "empty", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def test_the_folder_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").write_text("research only")
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: nvidia-oneway-noncommercial-license\n---\n")
    out = import_checkpoint(folder, tmp_path / "out")
    assert (out / "LICENSE").read_text() == "research only"
    card = (out / "README.md").read_text()
    assert "license_name: nvidia-oneway-noncommercial-license" in card
    assert "not for commercial use" in card
    assert hashlib.sha256((folder / "llm/model.safetensors").read_bytes()).hexdigest() in card
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert weights.metadata()["format"] == "pt"
        assert not any("head." in name and "lm_head" not in name for name in weights.keys())  # noqa: SIM118
    generation = GenerationConfig.from_pretrained(out)
    assert (generation.eos_token_id, generation.pad_token_id, generation.min_new_tokens) == ([1, 4], 1, 2)
    assert not generation.do_sample
    assert generation.max_new_tokens == 1024
    assert not any("/home/someone" in path.read_text(errors="replace") for path in out.glob("*.json"))


def test_large_models_are_written_in_shards(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LocalModel.load(import_checkpoint(folder, tmp_path / "whole")).model.state_dict()
    monkeypatch.setattr("attending.model.importing._SHARD", 30_000)
    out = import_checkpoint(folder, tmp_path / "out")
    assert len(list(out.glob("model-*.safetensors"))) > 2
    assert all(path.stat().st_size < 60_000 for path in out.glob("model-*.safetensors"))
    shards = LocalModel.load(out).model.state_dict()
    assert whole.keys() == shards.keys()
    assert all(torch.equal(whole[name], shards[name]) for name in whole)


def test_random_damage_never_ends_in_anything_but_a_named_error(published: dict[str, Path], tmp_path: Path) -> None:
    """Settings with one value swapped or taken away, and headers with bytes changed; a fixed seed."""
    draw = random.Random(4)
    values: list[Any] = [None, 0, -1, 10**12, -2.5, "x", "", [], {}, [1, 2], True, {"a": 1}, 1e308]
    settings = ["config.json", "llm/config.json", "vision_tower/config.json", "mm_projector/config.json"]
    refused = 0
    for number in range(60):
        folder = Path(shutil.copytree(published["llama"], tmp_path / str(number)))
        if number % 4:
            path = folder / draw.choice(settings)
            content = json.loads(path.read_text())
            name = draw.choice(sorted(content))
            content[name] = draw.choice(values)
            path.write_text(json.dumps(content))
        else:
            path = folder / "mm_projector/model.safetensors"
            data = bytearray(path.read_bytes())
            for _ in range(3):
                data[draw.randrange(500)] = draw.randrange(256)
            path.write_bytes(data)
        for act in (describe, read_published):
            try:
                act(folder)
            except InputError:
                refused += 1
    assert refused > 20


def test_packing_never_splits_a_tensor_and_keeps_order() -> None:
    tensors = [(str(n), StoredTensor(Path(), str(n), "U8", (n,), 0, n)) for n in (3, 4, 20, 1, 9)]
    assert [[name for name, _ in shard] for shard in _packed(tensors, 10)] == [["3", "4"], ["20"], ["1", "9"]]


@pytest.mark.slow
def test_importing_needs_little_memory_however_large_the_tensors(folder: Path, tmp_path: Path) -> None:
    """600 MB of zeros in the language model must not show in the process."""
    config = json.loads((folder / "llm/config.json").read_text())
    wide = 3_000_000
    weights = load_file(folder / "llm/model.safetensors")
    header: dict[str, Any] = {}
    offset = 0
    for name, one in weights.items():
        shape = list(one.shape)
        if "mlp" in name:
            shape = [wide if size == config["intermediate_size"] else size for size in shape]
            dtype, width = "BF16", 2
        else:
            dtype, width = "F32", 4
        size = int(torch.tensor(shape).prod()) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    assert offset > 10**9
    text = json.dumps(header).encode()
    with (folder / "llm/model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)  # a sparse file of zeros
    edit(folder / "llm/config.json", intermediate_size=wide)
    script = (
        "import resource, sys, attending.model as m\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "m.import_checkpoint(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, folder, tmp_path / "out"], capture_output=True, check=True)
    grown = int(ran.stdout) * (1024 if sys.platform == "linux" else 1)
    assert grown < 200e6, f"{grown / 1e6:.0f} MB"
    assert (tmp_path / "out/model.safetensors").stat().st_size > 10**9


def test_the_command_imports_and_describes(folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(app, ["model", "import", str(folder), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith(str(tmp_path / "out"))
    ours = json.loads(run(app, ["model", "info", str(tmp_path / "out"), "--json"]).stdout)
    theirs = json.loads(run(app, ["model", "info", str(folder), "--json"]).stdout)
    assert (ours["layout"], theirs["layout"]) == ("transformers", "published")
    assert ours["context"] == theirs["context"] == 1024
    assert ours["dtypes"] == {"F32": ours["parameters"]}
    assert ours["kv_bytes_per_token"] == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, head size, bytes
    assert ours["memory_bytes"] == ours["bytes"] + 1024 * ours["kv_bytes_per_token"]
    assert "parameters: " in run(app, ["model", "info", str(folder)]).stdout
    assert isinstance(run(app, ["model", "import", str(tmp_path), str(tmp_path / "x")]).exception, InputError)
    assert isinstance(run(app, ["model", "info", str(tmp_path)]).exception, InputError)


def test_nothing_is_unpickled_where_a_model_is_loaded(imported: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(imported["llama"], tmp_path / "model"))
    (folder / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "harmed"),))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="this is a pickle"):
        LocalModel.load(folder)
    assert not (tmp_path / "harmed").exists()


def test_no_code_from_a_folder_runs_or_is_asked_for(imported: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(imported["llama"], tmp_path / "model"))
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'harmed')!r})\nclass C: pass\n")
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C"})
    with pytest.raises(InputError, match="not a model that Transformers can load"):
        LocalModel.load(folder)
    assert not (tmp_path / "harmed").exists()


def test_a_model_folder_that_lacks_a_tensor_is_not_filled_with_random_numbers(
    imported: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(imported["llama"], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.multi_modal_projector.layers.4.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.4\.bias: the model needs this tensor, and no file has it"):
        LocalModel.load(folder)
    save_file(
        {**weights, "model.multi_modal_projector.layers.4.bias": torch.zeros(31)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="not a model that Transformers can load"):
        LocalModel.load(folder)
