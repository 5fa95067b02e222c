"""`attending demo` from outside, with a scripted model where the embedded one stands."""

import json
import sys

import pytest
from first_use import stand_in

import attending
from attending.cli import main
from attending.errors import InputError
from attending.phantom import SPLITS

make_study = sys.modules["attending.cli.demo"].make_study
SCRIPT = (
    "This is a CT scan.",
    "<TORSO(liver lesion)>",
    "There is a liver lesion.",
    "<TORSO(liver lesion)> <CHEST()>",
    "There is a liver lesion. There is a pleural effusion.",
)


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["attending", "demo", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which the demo has made its study."""
    out = tmp_path_factory.mktemp("demo")
    make_study(out)
    return out


def test_the_study_is_one_patient_with_a_ct_and_a_radiograph_that_nothing_was_trained_on(made):
    study = attending.open_study(made / "study")
    assert sorted(series.modality for series in study.series) == ["CT", "DX"]
    assert len(study.patients) == 1
    assert study.warnings == []
    known = json.loads((made / "truth.json").read_text())
    assert {known[kind]["seed"] for kind in ("ct", "cxr")} <= set(SPLITS["test"])
    assert {one["kind"] for one in known["ct"]["visits"][0]["findings"]} == {"liver lesion", "effusion"}
    assert {path.name for path in made.iterdir()} == {"study", "truth.json"}


def test_three_questions_leave_a_report_each_and_the_calls_are_shown(made, monkeypatch, capsys):
    model, experts = stand_in(monkeypatch, *SCRIPT)
    before = {path: path.stat().st_mtime_ns for path in (made / "study").rglob("*.dcm")}
    code, out, err = run(monkeypatch, capsys, "--out", made)
    assert not code, err
    assert [len(expert.ran) for expert in experts.values()] == [2, 1]
    told = err.replace("\n", " ")
    assert "asking TORSO(liver lesion)" in told
    assert "asking CHEST" in told
    assert told.index("asking TORSO") < told.index("done in") < told.rindex("asking TORSO")
    for number, findings in (("1", 0), ("2", 1), ("3", 2)):
        answer = json.loads((made / number / "answer.json").read_text())
        assert [one["status"] for one in answer["findings"]] == ["done"] * findings
        assert answer["status"] == "answered"
        assert str(made / number / "report.html") in out
    files = [line for line in out.splitlines() if line.startswith(str(made))]
    assert sum(line.endswith("-mask.nii.gz") for line in files) == 2
    assert sum(line.endswith("-overlay.png") for line in files) >= 2
    assert all((made / line).is_file() for line in files)
    assert "CT: liver lesion, " in out.partition("What is there in truth")[2]
    assert "chest X-ray: effusion, right" in out
    assert "For research use only" in out
    assert {path: path.stat().st_mtime_ns for path in (made / "study").rglob("*.dcm")} == before, "made once"
    assert len(model.asked) == len(SCRIPT)


def test_a_folder_that_holds_another_study_is_left_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.dcm").write_bytes(b"mine")
    code, out, err = run(monkeypatch, capsys, "--out", tmp_path)
    assert (code, out) == (3, "")
    assert "choose another --out" in err
    assert [path.name for path in tmp_path.rglob("*")] == ["study", "mine.dcm"]


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    code, _, err = run(monkeypatch, capsys, "--out", tmp_path / "file")
    assert code == 3
    assert "--out" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_study_that_was_not_finished_is_made_again(tmp_path, monkeypatch):
    def full(case, index, name, folder):
        folder.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("attending.phantom.dicom.write_series", full)
        with pytest.raises(InputError, match="No space left"):
            make_study(tmp_path)
    assert list(tmp_path.iterdir()) == []
