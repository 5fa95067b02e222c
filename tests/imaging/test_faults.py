"""Each fault of an input file ends in one line that names what is wrong, exit code 3, and leaves nothing behind."""

import subprocess
import sys

import pytest
from dicom_files import voxels, write_series
from faults import FAULTS

import attending
from attending import InputError
from attending.cli import main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["attending", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.number} {fault.name}")
def test_a_fault_is_refused_in_one_line_that_names_it(tmp_path, monkeypatch, capfd, fault):
    folder = tmp_path / "input"
    folder.mkdir()
    path = fault.make(folder)
    made = sorted(folder.rglob("*"))
    assert run(monkeypatch, "show", path, "--out", tmp_path / "out") == 3
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    for words in fault.words:
        assert words in lines[0]
    assert sorted(folder.rglob("*")) == made
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.number in (1, 2, 3, 4, 7, 10)], ids=lambda fault: fault.name
)
def test_a_bomb_is_refused_in_little_memory(tmp_path, fault):
    path = fault.make(tmp_path)
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, sys.executable, "-m", "attending", "show", str(path), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400_000, "kilobytes; the program alone takes about 80,000"


def test_the_next_good_study_works_after_every_fault(tmp_path):
    values = voxels()
    write_series(tmp_path / "good", values)
    for number, fault in enumerate(FAULTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            _ = attending.open_study(fault.make(folder)).series[0].pixels
        except InputError:
            continue
        pytest.fail(f"{fault.name} was taken for good")
    assert (attending.open_study(tmp_path / "good").series[0].volume.array == values).all()


def test_a_fault_in_one_file_of_a_folder_leaves_the_others(tmp_path):
    values = voxels()
    write_series(tmp_path, values)
    for number, fault in enumerate(fault for fault in FAULTS if fault.number in (1, 3, 4, 5, 6)):
        (tmp_path / f"bad{number}").mkdir()
        fault.make(tmp_path / f"bad{number}")
    study = attending.open_study(tmp_path)
    assert (study.series[0].volume.array == values).all()
    assert len(study.rejected) >= 8
