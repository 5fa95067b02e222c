"""The command line from outside: stdout is the result, stderr the talk, and exit codes are kept."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def attending(*arguments, cwd=None):
    command = [sys.executable, "-m", "attending", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def shown(tmp_path, path, *options):
    done = attending("show", path, "--out", tmp_path / "out", "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_attending_loads_no_room():
    code = "import sys, attending; sys.exit(any(m in sys.modules for m in ('numpy', 'pydicom', 'torch', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_loads_no_room_and_teaches():
    code = (
        "import sys; from attending.cli import app\n"
        "try: app(['show', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'pydicom', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "DICOMDIR" in done.stdout
    assert "Example" in done.stdout


def test_show_prints_one_json_object_and_writes_the_sheet_it_names(tmp_path):
    found = shown(tmp_path, FILES / "CT_small.dcm")
    (series,) = found["series"]
    assert (series["modality"], series["shape"], series["orientation"]) == ("CT", [128, 128, 1], "LPS")
    assert series["spacing"] == pytest.approx([0.661468, 0.661468, 5])
    assert found["files"] == [series["contact_sheet"]]
    sheet = np.asarray(Image.open(series["contact_sheet"]))
    assert len(np.unique(sheet)) > 50, "there is a picture on it"


@pytest.mark.parametrize(
    ("name", "modality", "kind"),
    [
        ("MR_small.dcm", "MR", "volume"),
        ("examples_rgb_color.dcm", "US", "image"),
        ("examples_palette.dcm", "US", "image"),
    ],
)
def test_show_on_real_files(tmp_path, name, modality, kind):
    (series,) = shown(tmp_path, FILES / name)["series"]
    assert (series["modality"], series["kind"]) == (modality, kind)


@pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image brings the pictures")
@pytest.mark.parametrize("name", ["retina.jpg", "ihc.png"])
def test_show_on_photographs_with_the_modality_said(tmp_path, name):
    import skimage

    (series,) = shown(tmp_path, Path(skimage.__file__).parent / "data" / name, "--modality", "OP")["series"]
    assert (series["modality"], series["kind"], series["channels"]) == ("OP", "image", 3)


@pytest.mark.slow
def test_show_on_a_real_brain(tmp_path):
    brain = Path("/usr/share/mricron/templates/ch2.nii.gz")
    if not brain.exists():
        pytest.skip("Debian's mricron-data is not installed")
    (series,) = shown(tmp_path, brain, "--modality", "MRI")["series"]
    assert (series["shape"], series["modality"]) == ([181, 217, 181], "MR")


def test_a_table_goes_to_stdout_and_warnings_to_stderr(tmp_path):
    done = attending("show", FILES / "dicomdirtests", "--out", tmp_path)
    assert done.returncode == 0
    assert "Doe Peter" in done.stdout
    assert "warning" not in done.stdout
    assert "3 patients" not in done.stdout
    assert "slice(s) missing" in done.stderr
    assert "passed over" in done.stderr


def test_hostile_header_text_reaches_the_screen_as_text(tmp_path):
    ds = pydicom.dcmread(FILES / "CT_small.dcm")
    ds.SeriesDescription = "[red]evil[/red] \x1b[2J<script>\u202e"
    ds.PatientName = "a\x07b"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.save_as(tmp_path / "evil.dcm")
    done = attending("show", tmp_path / "evil.dcm", "--out", tmp_path / "out")
    assert done.returncode == 0
    for stream in (done.stdout, done.stderr):
        assert not set(stream) & set("\x1b\x07\u202e")
    assert "[red]evil[/red]" in "".join(done.stdout.split("\n"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01-red-evil-red-x1b-2j-script-u202e.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show"], 2, "STUDY"),
        (["show", "gone.dcm"], 3, "No such file"),
        (["show", FILES / "CT_small.dcm", "--modality", "XX"], 3, "must be one of CT, MR"),
        (["show", FILES / "CT_small.dcm", "--window", "nice"], 3, "CENTER/WIDTH"),
        (["show", FILES / "CT_small.dcm", "--series", "9"], 3, "there is:"),
        (["show", FILES / "CT_small.dcm", "--plane", "up"], 3, "plane"),
        (["show", FILES / "CT_small.dcm", "--sequence", "t9=1"], 3, "t1ce, t1, t2, flair"),
        (["show", FILES / "CT_small.dcm", "--sequence", "t1"], 3, "ROLE=SERIES"),
        (["show", FILES / "CT_small.dcm", "--tiles", "0"], 3, "tiles"),
        (["show", FILES / "CT_small.dcm", "--out", "/dev/null/x"], 3, "--out"),
    ],
)
def test_wrong_usage_and_bad_input_have_their_exit_codes(tmp_path, arguments, code, words):
    done = attending(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""


def test_a_fault_of_ours_is_one_line_and_exit_code_5(tmp_path):
    code = (
        "import sys, attending.imaging as i\n"
        "def broken(*a, **k): raise RuntimeError('oops')\n"
        "i.open_study = broken\n"
        "from attending.cli import main; sys.argv = ['attending', 'show', 'x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.strip() == "error: it broke: RuntimeError: oops (set ATTENDING_DEBUG=1 for the traceback)"


def test_limits_are_raised_and_checked_by_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENDING_LIMIT_IMAGE_PIXELS", "100")
    done = attending("show", FILES / "CT_small.dcm", "--out", tmp_path)
    assert done.returncode == 3
    assert "the limit is 100 (set ATTENDING_LIMIT_IMAGE_PIXELS to raise it)" in done.stderr
    monkeypatch.setenv("ATTENDING_LIMIT_IMAGE_PIXELS", "many")
    done = attending("show", FILES / "CT_small.dcm", "--out", tmp_path)
    assert "ATTENDING_LIMIT_IMAGE_PIXELS is many: must be a whole number above 0" in done.stderr
