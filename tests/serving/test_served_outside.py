"""Other frameworks drive the served model: inspect_ai, run for real, gives the score that `attending eval` gives."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from started import NAME, Model, running

from attending.cli import main
from attending.consult import Attending
from attending.imaging import open_study

OUTSIDE = Path(__file__).parents[2] / "benchmarks" / "outside"
SAYINGS = (
    "Yes.", "No.", "There is no effusion.", "Notable opacity on the left; yes.", "I cannot tell.", "Yes or no.",
    "An effusion is present.", "No, but a normal heart.",
)  # fmt: skip


def says(messages, pictures):
    """One of many ways to answer, by the picture alone."""
    return SAYINGS[int(pictures[0].pixels.sum()) % len(SAYINGS)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    runpy.run_path(str(OUTSIDE / "make_pictures.py"))["make"](folder, 24)
    return folder


def attending_eval(folder, answers, monkeypatch, capsys) -> float:
    """The accuracy that `attending eval score` gives to answers by id."""
    lines = [json.dumps({"id": name, "text": words}) for name, words in answers.items()]
    (folder / "answers.jsonl").write_text("\n".join(lines))
    command = ["attending", "eval", "score", folder / "task.yaml", "--predictions", folder / "answers.jsonl"]
    monkeypatch.setattr(sys, "argv", [*map(str, command), "--data", str(folder / "data.csv"), "--json"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    (task,) = json.loads(capsys.readouterr().out)["tasks"].values()
    return task["parts"]["presence"]["metrics"]["accuracy"]["value"]


def test_the_table_asks_as_often_for_yes_as_for_no(pictures) -> None:
    answers = [line.split(",")[3] for line in (pictures / "data.csv").read_text().splitlines()[1:]]
    assert (answers.count("yes"), answers.count("no")) == (12, 12)
    assert len(list(pictures.glob("*.png"))) == 24


@pytest.mark.slow
def test_an_inspect_task_scores_as_attending_eval_does(pictures, tmp_path, monkeypatch, capsys) -> None:
    inspect = shutil.which("inspect")
    if inspect is None:
        pytest.skip("needs inspect-ai on the PATH, in an environment with attending: pip install inspect-ai")
    with running(Model(says)) as server:
        done = subprocess.run(
            [inspect, "eval", "inspect_yes_no.py", "--model", f"openai-api/attending/{NAME}", "-T",
             f"data={pictures}", "--log-dir", tmp_path, "--log-format", "json", "--display", "plain"],
            env={**os.environ, "ATTENDING_BASE_URL": f"{server.url}/v1", "ATTENDING_API_KEY": "none"},
            capture_output=True, text=True, check=False, timeout=900, cwd=OUTSIDE,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = tmp_path.glob("*.json")
    told = json.loads(log.read_text())
    assert told["status"] == "success"
    answers = {sample["id"]: sample["output"]["choices"][0]["message"]["content"] for sample in told["samples"]}
    doctor = Attending(Model(says), [])
    for name, words in answers.items():
        study = open_study(pictures / f"{name}.png", modality="CXR")
        assert words == doctor.ask(study, "Is there a pleural effusion?\nAnswer yes or no.").text
    assert len(set(answers.values())) >= len(SAYINGS) - 2  # the pictures choose among them
    theirs = {score["name"]: score["metrics"]["accuracy"]["value"] for score in told["results"]["scores"]}
    ours = attending_eval(pictures, answers, monkeypatch, capsys)
    print(f"attending eval {ours:.4f}, inspect {theirs}")
    assert len(answers) == 24
    assert theirs["read_as_attending_does"] == pytest.approx(ours)
    assert theirs["pattern"] != pytest.approx(ours)  # a simple pattern reads these answers otherwise
