"""`attending ask` and `attending chat` from outside: a started server, real DICOM, a real bundle."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from bundles import vista3d_bundle
from chat_server import chat_server
from dicom_files import write_series
from scripted import Scripted

from attending.cli import main
from attending.consult import Done

COS, SIN = float(np.cos(0.3)), float(np.sin(0.3))
OBLIQUE = ((COS, SIN * 0.8, SIN * 0.6), (-SIN, COS * 0.8, COS * 0.6))
QUESTION = "Is there a liver tumor?"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A CT series with oblique slices, and a folder of bundles that holds a small VISTA3D."""
    folder = tmp_path_factory.mktemp("ask")
    values = np.random.default_rng(0).normal(0, 300, (40, 36, 16)).clip(-1000, 3000).astype(np.int16)
    write_series(folder / "ct", values, directions=OBLIQUE, BodyPartExamined="ABDOMEN", PatientName="DOE^JANE")
    vista3d_bundle(folder / "bundles" / "vista3d")
    return folder


def run(place, *words, stdin=None):
    environment = os.environ | {
        "ATTENDING_BUNDLES": str(place / "bundles"), "ATTENDING_EXPERTS": str(place), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "attending", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, input=stdin)


@pytest.fixture
def inside(place, monkeypatch, capsys):
    """Run the command in this process: its exit code, stdout and stderr."""
    monkeypatch.setenv("ATTENDING_BUNDLES", str(place / "bundles"))
    monkeypatch.setenv("ATTENDING_EXPERTS", str(place))

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["attending", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return command


def test_a_question_with_a_real_bundle_leaves_a_report_and_a_mask_on_the_source_grid(place, tmp_path):
    with chat_server("Let me trigger <VISTA3D(hepatic tumor)>.", "I cannot tell.") as server:
        done = run(place, "ask", place / "ct", QUESTION, "--model", server.url, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"] == "I cannot tell."
    (finding,) = told["findings"]
    assert (finding["expert"], finding["status"]) == ("VISTA3D", "done")
    assert finding["arguments"] == {"structures": "hepatic tumor"}
    assert {"model", "timings", "checks", "versions"} <= told.keys()
    assert "asking VISTA3D(hepatic tumor)" in done.stderr
    files = {path.name: path for path in map(type(tmp_path), told["files"])}
    assert {"answer.json", "transcript.json", "report.html"} <= files.keys()
    (mask,) = [path for name, path in files.items() if name.endswith(".nii.gz")]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(place / "ct")))
    source = reader.Execute()
    voxels = sitk.ReadImage(str(mask))
    for corner in np.ndindex(2, 2, 2):
        # Half a voxel is what the issue allows; the two libraries agree to a hundredth.
        at = [(size - 1) * end for size, end in zip(voxels.GetSize(), corner, strict=True)]
        there = source.TransformPhysicalPointToContinuousIndex(voxels.TransformIndexToPhysicalPoint(at))
        assert np.abs(np.array(there) - np.rint(there)).max() < 0.01
    assert sorted(voxels.GetSize()) == sorted(source.GetSize())
    assert "DOE" not in "".join(path.read_text(errors="ignore") for path in files.values())
    assert "data:image" in server.seen[0]["messages"][0]["content"][1]["image_url"]["url"]
    assert nib.load(mask).header["sform_code"] > 0


def test_stdout_is_the_answer_and_stderr_the_talk(place):
    with chat_server("There is a liver tumor of 30 mm.") as server:
        done = run(place, "ask", place / "ct", QUESTION, "--model", server.url, "--no-experts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("There is a liver tumor of 30 mm.")
    assert "unsupported" in done.stdout
    assert "For research use only" in done.stdout
    assert "error" not in done.stderr


def test_experts_that_are_routed_run_before_the_model_speaks(place):
    with chat_server("I cannot tell.") as server:
        done = run(
            place, "ask", place / "ct", QUESTION, "--model", server.url, "--experts", "vista3d", "--route", "--json"
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["findings"][0]["arguments"] == {"structures": "hepatic tumor"}
    assert len(server.seen) == 1
    assert len(server.seen[0]["messages"]) == 1


def test_a_chat_keeps_the_conversation_and_a_folder_for_each_answer(place, tmp_path):
    with chat_server("A CT.", "Forty.") as server:
        done = run(
            place, "chat", place / "ct", "--model", server.url, "--experts", "none", "--json", "--out",
            tmp_path / "out",
            stdin="What is it?\nHow many?\n\nnever asked\n",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["answer"] for line in done.stdout.splitlines()] == ["A CT.", "Forty."]
    assert [len(request["messages"]) for request in server.seen] == [1, 3]
    for number in ("1", "2"):
        assert (tmp_path / "out" / number / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--model", "{url}", "--experts", "nobody"], 3, "expected one of VISTA3D"),
        (["--model", "{url}", "--experts", "BRATS"], 4, "BRATS"),
        (["--model", "{url}", "--no-experts", "--experts", "vista3d"], 3, "--no-experts"),
        (["--model", "{url}", "--series", "none such"], 3, "is no series here"),
        (["--model", "{url}", "--sequence", "t1"], 3, "expected NAME=VALUE"),
        (["--model", "{url}", "--out", "{file}"], 3, "file"),
        (["--model", "http://127.0.0.1:9/v1#m"], 4, "127.0.0.1"),
        (["--model", "{file}"], 3, "expected a model folder"),
        (["--model", "{url}", "--rounds", "-1"], 2, ""),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(inside, place, tmp_path, words, code, says):
    (tmp_path / "file").write_text("mine")
    with chat_server("Yes.") as server:
        words = [word.format(url=server.url, file=tmp_path / "file") for word in words]
        ended, out, err = inside("ask", place / "ct", QUESTION, *words)
    assert ended == code, err
    assert says in err
    assert out == ""
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_question_is_refused(inside, place):
    with chat_server("Yes.") as server:
        ended, _, err = inside("ask", place / "ct", "  ", "--model", server.url)
        assert (ended, server.seen) == (3, [])
        assert "question" in err


def test_the_python_of_the_page_runs(place, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "consult.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("ATTENDING_BUNDLES", str(place / "bundles"))
    monkeypatch.setattr(
        "attending.model.load_backend", lambda *_: Scripted("<VISTA3D(hepatic tumor)>", "I cannot tell.")
    )
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient7").symlink_to(place / "ct")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "docs/consult.md", "exec"), names)
    assert names["answer"].findings[0].status == "done"
    assert (tmp_path / "answer" / "report.html").is_file()
    assert isinstance(names["event"], Done)


def _interruptible():
    """What a shell starts in the background ignores SIGINT, and so would all that these tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_run_that_is_killed_leaves_no_output_and_one_that_is_interrupted_says_so(place, tmp_path):
    for sent, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        with chat_server("Half an ans", hold=True) as server:
            command = [
                sys.executable, "-m", "attending", "ask", place / "ct", QUESTION, "--model", server.url,
                "--no-experts", "--out", tmp_path / "out",
            ]  # fmt: skip
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            child = subprocess.Popen(list(map(str, command)), preexec_fn=_interruptible, **pipes)
            assert server.asked.wait(120)
            child.send_signal(sent)
            out, _ = child.communicate(timeout=60)
        assert child.returncode == code
        assert out == ""
        assert not (tmp_path / "out").exists()


def test_pixels_alone_are_sent_never_names(place, tmp_path):
    path = tmp_path / "one.dcm"
    ds = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    ds.PatientName, ds.StudyDescription = "SECRET^NAME", "SECRET study"
    ds.save_as(path)
    with chat_server("A CT.") as server:
        done = run(place, "ask", path, "What is it?", "--model", server.url, "--no-experts")
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in json.dumps(server.seen)
