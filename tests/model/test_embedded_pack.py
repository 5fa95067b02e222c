"""Packing a trained model: the parts give the model back, and what cannot be given back is refused."""

import importlib
import json
import shutil
import sys

import pytest
import torch
from nano_parts import FILE, write_package, write_run
from safetensors.torch import load_file, save_file

from attending.cli import main
from attending.errors import InputError, NotAvailableError
from attending.model import VilaM3ForConditionalGeneration
from attending.model.embedded import merged
from attending.model.language_model import locate, read_language_model
from attending.model.pack import pack

LAYER = "base_model.model.model.language_model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    write_package(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def run(site, tmp_path_factory):
    """A run of two stages with adapters of rank 2."""
    return write_run(tmp_path_factory.mktemp("run")).parent


@pytest.fixture
def spoilt(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run", symlinks=True)


def delta(folder):
    """What an adapter adds to one layer."""
    settings = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    up, down = (tensors[f"{LAYER}.lora_{which}.weight"].float() for which in "BA")
    return settings["lora_alpha"] / settings["r"] * up @ down


def rewrite(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_the_adapters_of_all_stages_become_one(run, tmp_path):
    packed = pack(run / "model", tmp_path / "parts", FILE)
    stages = [run / name / "model" / "adapter" for name in ("1-stage1", "2-stage2")]
    assert packed.rank == 4
    assert torch.allclose(delta(tmp_path / "parts" / "adapter"), sum(map(delta, stages)), atol=1e-3)
    alone = pack(run / "1-stage1" / "model", tmp_path / "first", FILE)
    assert alone.rank == 2
    assert torch.allclose(delta(tmp_path / "first" / "adapter"), delta(stages[0]), atol=1e-3)


def test_peft_reads_the_adapter(run, tmp_path):
    from peft import PeftModel

    from attending.training.parts import quiet

    pack(run / "model", tmp_path / "parts", FILE)
    model = VilaM3ForConditionalGeneration.from_pretrained(run / "model", dtype=torch.float32)
    language, _ = read_language_model(locate(FILE))
    base = {name: one.to(torch.bfloat16).float() for name, one in language.model.state_dict().items()}
    model.model.language_model.load_state_dict(base)
    with quiet():
        told = PeftModel.from_pretrained(model, tmp_path / "parts" / "adapter").merge_and_unload().state_dict()
    for name, one in merged(language, tmp_path / "parts" / "adapter").items():
        assert torch.allclose(told[name].to(torch.bfloat16).float(), one.float(), rtol=1e-2, atol=1e-5), name


def test_a_smaller_rank_is_the_best_there_is(run, tmp_path):
    packed = pack(run / "model", tmp_path / "parts", FILE, rank=3)
    whole = sum(delta(run / name / "model" / "adapter") for name in ("1-stage1", "2-stage2"))
    kept = delta(tmp_path / "parts" / "adapter")
    spectrum = torch.linalg.svdvals(whole)
    assert torch.linalg.matrix_rank(kept, rtol=1e-2) == packed.rank == 3
    assert torch.linalg.norm(whole - kept).item() == pytest.approx(spectrum[3].item(), rel=0.02)
    assert packed.error > pack(run / "model", tmp_path / "more", FILE).error
    assert pack(run / "model", tmp_path / "same", FILE, rank=9).rank == 4


def test_nothing_tells_where_it_was_made_and_a_card_stays(run, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "README.md").write_text("# Mine\n")
    packed = pack(run / "model", tmp_path / "parts", FILE)
    names = {one.relative_to(tmp_path / "parts").as_posix() for one in tmp_path.rglob("parts/**/*") if one.is_file()}
    assert names == {*packed.sizes, "manifest.json", "README.md"}
    assert (tmp_path / "parts" / "README.md").read_text() == "# Mine\n"
    for name in names:
        assert str(run.parent).encode() not in (tmp_path / "parts" / name).read_bytes(), name
        assert b"toy.gguf" not in (tmp_path / "parts" / name).read_bytes() or name == "manifest.json"
    settings = json.loads((tmp_path / "parts" / "config.json").read_text())
    assert "quantization_config" not in settings["text_config"]


def test_a_stage_whose_folder_is_gone_is_noticed(spoilt, tmp_path):
    shutil.rmtree(spoilt / "1-stage1")
    with pytest.raises(InputError, match=r"miss this by 0\.\d+ of its norm; the folders of all stages must lie beside"):
        pack(spoilt / "model", tmp_path / "parts", FILE)
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["model.language_model.norm.weight"].mul_(1.1), "norm.weight: .*nothing but adapters"),
        (lambda t: t["model.language_model.norm.weight"].fill_(float("nan")), "norm.weight is nan: expected numbers"),
        (lambda t: t.update({"model.language_model.more": torch.ones(2)}), "more: .*has no such tensor"),
    ],
)
def test_weights_that_adapters_do_not_explain_are_refused(spoilt, tmp_path, change, words):
    rewrite(spoilt / "model" / "model.safetensors", change)
    with pytest.raises(InputError, match=words):
        pack(spoilt / "model", tmp_path / "parts", FILE)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("adapter/adapter_config.json", "use_dora", True),
        ("adapter/adapter_config.json", "bias", "all"),
        ("adapter/adapter_config.json", "peft_type", "IA3"),
        ("adapter/adapter_config.json", "r", 0),
        ("adapter/adapter_config.json", "lora_alpha", "many"),
        ("config.json", "model_type", "llava"),
    ],
)
def test_models_and_adapters_of_another_kind_are_refused(spoilt, tmp_path, file, field, value):
    path = spoilt / "model" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=f"{field}.* is .*{value}.*: expected"):
        pack(spoilt / "model", tmp_path / "parts", FILE)


def test_what_is_no_such_model_is_refused(spoilt, tmp_path):
    for given, words in (("gone/toy.gguf", "expected package:NAME/FILE"), ("package:gone/x.gguf", "pip install")):
        with pytest.raises((InputError, NotAvailableError), match=words):
            pack(spoilt / "model", tmp_path / "parts", given)
    for one in spoilt.glob("*/model/adapter"):
        shutil.rmtree(one)
    with pytest.raises(InputError, match="expected adapter/ in this folder"):
        pack(spoilt / "model", tmp_path / "parts", FILE)
    with pytest.raises(InputError, match=r"config\.json: the file is missing"):
        pack(tmp_path / "nothing", tmp_path / "parts", FILE)


def test_the_command_tells_sizes_and_error(run, tmp_path, monkeypatch, capsys):
    words = ["attending", "model", "pack", str(run / "model"), str(tmp_path / "parts"), "--language-model", FILE]
    for more in ([], ["--rank", "1", "--json"]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    *plain, line = capsys.readouterr().out.splitlines()
    assert any(one.startswith("parts.safetensors: 0.06 MB") for one in plain)
    assert "adapter of rank 4" in plain[-2]
    told = json.loads(line)
    assert told["rank"] == 1
    assert told["error"] > 0.01
    assert told["files"].keys() == json.loads((tmp_path / "parts" / "manifest.json").read_text())["files"].keys()
