"""`attending.load()`, `ask` and `chat` without a model: the embedded one with its experts, or what is missing."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from dicom_files import voxels, write_series
from first_use import stand_in

import attending
from attending.cli import main
from attending.consult.domain import Domain


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words, stdin=""):
        monkeypatch.setattr(sys, "argv", ["attending", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def ct(tmp_path):
    write_series(tmp_path / "ct", voxels((140, 120, 60)), BodyPartExamined="ABDOMEN")
    return tmp_path / "ct"


def test_load_without_arguments_gives_the_embedded_model_with_its_experts_and_a_domain_check(monkeypatch):
    model, experts = stand_in(monkeypatch, "Yes.")
    doctor = attending.load()
    assert doctor.backend is model
    assert doctor.experts == list(experts.values())
    assert isinstance(doctor.domain, Domain)
    assert doctor.warnings == []
    assert attending.load(experts=[]).experts == []
    assert [one.card.name for one in attending.load(experts=["chest"]).experts] == ["CHEST"]


def test_an_expert_without_weights_is_left_out_and_told(monkeypatch, ct):
    _, experts = stand_in(monkeypatch, "I cannot tell.")
    experts["CHEST"].available = lambda: "its weights are gone"
    doctor = attending.load()
    assert doctor.experts == [experts["TORSO"]]
    answer = doctor.ask(attending.open_study(ct), "What is this?")
    assert "CHEST is not available here: its weights are gone" in answer.warnings


@pytest.mark.parametrize("missing", [("gguf",), ("torch", "monai")])
def test_what_is_not_installed_is_named_with_the_extra(command, ct, monkeypatch, missing):
    from importlib.util import find_spec

    monkeypatch.setattr("attending.assembly.find_spec", lambda name: None if name in missing else find_spec(name))
    code, out, err = command("ask", ct, "What is this?")
    assert (code, out) == (4, "")
    assert f"the embedded model needs {', '.join(missing)}: pip install 'attending[nano]'" in err


def test_ask_needs_no_model(command, ct, monkeypatch):
    _, experts = stand_in(monkeypatch, "<TORSO(liver lesion)>", "There is a liver lesion.")
    code, out, err = command("ask", ct, "Is there a liver lesion?", "--json")
    assert not code, err
    told = json.loads(out)
    assert told["answer"].endswith("There is a liver lesion.")
    assert "unlike the synthetic ones" in told["answer"], "the domain check speaks"
    assert told["findings"][0]["expert"] == "TORSO"
    assert len(experts["TORSO"].ran) == 1
    assert "asking TORSO(liver lesion)" in err


def test_chat_needs_no_model(command, ct, monkeypatch, tmp_path):
    model, _ = stand_in(monkeypatch, "A CT.", "Sixty.")
    code, out, err = command("chat", ct, "--out", tmp_path / "out", stdin="What is it?\nHow many slices?\n\n")
    assert not code, err
    assert out.index("A CT.") < out.index("Sixty.")
    assert (tmp_path / "out" / "2" / "report.html").is_file()
    assert len(model.asked) == 2


def test_both_commands_have_the_same_options():
    import typer.main

    from attending.cli import app

    commands = typer.main.get_command(app).commands
    options = []
    for name in ("ask", "chat"):
        options.append({one.name: one.default for one in commands[name].params if one.opts[0].startswith("--")})
    assert options[0] == options[1]
    assert {"model", "experts", "out", "as_json", "sequence", "device"} <= options[0].keys()


def test_a_cache_that_cannot_be_used_ends_in_one_line(command, ct, monkeypatch, tmp_path):
    from attending.model import embedded

    (tmp_path / "parts").mkdir()
    language = dict.fromkeys(("package", "version", "file", "sha256"), "x")
    manifest = {"name": "nano", "context": 1, "files": {}, "language_model": language}
    (tmp_path / "parts" / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(embedded, "PARTS", tmp_path / "parts")
    monkeypatch.setenv("ATTENDING_CACHE", "/proc/attending")
    code, out, err = command("ask", ct, "What is this?")
    assert (code, out) == (4, "")
    assert "ATTENDING_CACHE" in err
    monkeypatch.setenv("ATTENDING_CACHE", str(tmp_path / "cache"))
    code, _, err = command("ask", ct, "What is this?")
    assert code == 4
    assert "pip install --no-deps x==x" in err.replace("\n", " ")
    assert Path(tmp_path / "cache" / "embedded.lock").is_file()


def test_the_python_of_the_page_runs(monkeypatch, ct, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    stand_in(monkeypatch, "There is none.")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient7").symlink_to(ct)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/quickstart.md", "exec"), {})
    assert (tmp_path / "answer" / "report.html").is_file()
