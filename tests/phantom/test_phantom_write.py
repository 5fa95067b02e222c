"""Writing: standard files that read back, whole cases only, resumable datasets, and the command."""

import json
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import InputError
from attending.phantom import check_apart, generate, seeds_of, split_of
from attending.phantom.dataset import Plan, build
from attending.phantom.write import clear_partial, write

TINY = Plan("cxr", 2, findings=(), formats=("png",), shape=(128, 1, 128))


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    return write(small, tmp_path_factory.mktemp("cases"))


def test_the_truth_lists_files_that_exist(written, small):
    record = json.loads((written / "truth.json").read_text())
    files = record["visits"][0]["files"]
    paths = [*files["nifti"].values(), files["labels"], files["findings"], *files["dicom"].values()]
    assert all((written / p).exists() for p in paths)
    assert written.name == small.id


def test_nifti_reads_back(written, small):
    for name, volume in small.volumes.items():
        image = nib.load(written / "visit1" / f"{name}.nii.gz")
        assert np.array_equal(np.asarray(image.dataobj), volume.array)
        assert np.allclose(image.affine, volume.affine, atol=1e-4)


def test_dicom_reads_back_in_place(written, small, kind):
    name = sorted(small.volumes)[0]
    files = sorted((written / "visit1" / "dicom" / name).glob("*.dcm"))
    images = [pydicom.dcmread(f) for f in files]
    assert len({i.SOPInstanceUID for i in images}) == len(images)
    assert len({i.SeriesInstanceUID for i in images}) == 1
    image, volume = images[len(images) // 2], small.volumes[name]
    if kind == "cxr":
        assert np.array_equal(image.pixel_array[::-1, ::-1].T, volume.array[:, 0, :])
        return
    row, column = 10, 20
    world = np.array(image.ImagePositionPatient, float)
    world = world + column * image.PixelSpacing[1] * np.array(image.ImageOrientationPatient[:3], float)
    world = world + row * image.PixelSpacing[0] * np.array(image.ImageOrientationPatient[3:], float)
    voxel = np.rint(volume.to_voxels(world * [-1, -1, 1])).astype(int)
    assert image.pixel_array[row, column] == volume.array[tuple(voxel)]


def test_writing_twice_gives_the_same_bytes(written, small, tmp_path):
    again = write(small, tmp_path)
    names = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((written / n).read_bytes() == (again / n).read_bytes() for n in names)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(written):
    for series in (written / "visit1" / "dicom").iterdir():
        ran = subprocess.run(
            ["dciodvfy", str(next(iter(sorted(series.glob("*.dcm")))))], capture_output=True, text=True, check=False
        )
        assert "Error" not in ran.stdout + ran.stderr, ran.stderr
        assert ran.returncode == 0


def test_a_case_that_fails_leaves_nothing(healthy, tmp_path, monkeypatch):
    monkeypatch.setattr("attending.phantom.write._nifti", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(healthy, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(healthy, tmp_path):
    with pytest.raises(InputError, match="dicom, nifti, png"):
        write(healthy, tmp_path, ["jpeg"])


def test_leftovers_of_dead_processes_are_cleared(tmp_path):
    for name in (".partial-ct-A-1-999999999", f".partial-ct-A-2-{os.getpid()}", "ct-A-3"):
        (tmp_path / name).mkdir()
    assert clear_partial(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".partial-ct-A-2-{os.getpid()}", "ct-A-3"]


def test_a_dataset_goes_on_where_it_stopped(tmp_path):
    ticks = []
    first = build(TINY, tmp_path, 1, lambda done, total: ticks.append((done, total)))
    assert (first.written, first.present) == (2, 0)
    assert ticks == [(0, 2), (1, 2), (2, 2)]
    gone = tmp_path / "cxr-A-00000001"
    kept = (gone / "truth.json").read_bytes()
    shutil.rmtree(gone)
    again = build(TINY, tmp_path, 1)
    assert (again.written, again.present) == (1, 1)
    assert (gone / "truth.json").read_bytes() == kept


def test_several_processes_write_the_same(tmp_path):
    build(TINY, tmp_path / "one", 1)
    build(TINY, tmp_path / "two", 2)
    for path in (tmp_path / "one").rglob("*.json"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_killed_run_leaves_whole_cases_and_no_process_and_goes_on(tmp_path):
    plan = "Plan('cxr', 40, findings=(), formats=('png',), shape=(128, 1, 128))"
    code = (
        "from attending.phantom.dataset import *\n" + f"if __name__ == '__main__': build({plan}, {str(tmp_path)!r}, 2)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and not list(tmp_path.glob("cxr-*/truth.json")):
            pass
        run.kill()
        assert run.stdout.read() == b""  # ends only when every worker, which holds the pipe too, has gone
    cases = list(tmp_path.glob("cxr-*"))
    assert 0 < len(cases) < 40
    assert all((c / "truth.json").exists() and (c / "visit1" / "frontal.png").exists() for c in cases)
    last = Plan("cxr", len(cases) + 1, findings=(), formats=("png",), shape=(128, 1, 128))
    again = build(last, tmp_path, 1)
    assert again.written >= 1
    assert not list(tmp_path.glob(".partial-*"))


def test_another_dataset_in_the_folder_is_refused(tmp_path):
    build(TINY, tmp_path, 1)
    with pytest.raises(InputError, match="another dataset"):
        build(Plan("cxr", 2, styles=("B",), findings=(), formats=("png",), shape=(128, 1, 128)), tmp_path, 1)


def test_a_broken_description_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("[1")
    with pytest.raises(InputError, match="dataset description"):
        build(TINY, tmp_path, 1)


@pytest.mark.parametrize("plan", [Plan("ct", 0), Plan("ct", 10, first=899_995), Plan("ct", 1, split="exam")])
def test_impossible_plans_are_refused_before_work(plan, tmp_path):
    with pytest.raises(InputError):
        build(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_splits_hold_their_seeds():
    assert [split_of(s) for s in (0, 899_999, 900_000, 950_000, 999_999)] == [
        "train",
        "train",
        "validation",
        "test",
        "test",
    ]
    assert seeds_of("test", 3, 2) == range(950_003, 950_005)


def test_leaks_are_found(tmp_path):
    def case(folder, seed):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "truth.json").write_text(json.dumps({"seed": seed}))

    case("train", 5)
    case("test", 950_001)
    assert check_apart([tmp_path / "train"], [tmp_path / "test"]) == (1, 1)
    with pytest.raises(InputError, match="training seed"):
        check_apart([tmp_path / "train"], [tmp_path / "train"])
    with pytest.raises(InputError, match="test seed"):
        check_apart([tmp_path / "test"], [tmp_path / "test"])
    with pytest.raises(InputError, match=r"no truth\.json"):
        check_apart([tmp_path / "nowhere"], [])
    (tmp_path / "train" / "truth.json").write_text("{}")
    with pytest.raises(InputError, match="with a seed"):
        check_apart([tmp_path / "train"], [])


def test_the_command_writes_and_reports(tmp_path):
    ran = CliRunner().invoke(
        app,
        [
            "phantom",
            "--kind",
            "cxr",
            "--finding",
            "none",
            "--format",
            "png",
            "--workers",
            "1",
            "--out",
            str(tmp_path),
            "--json",
        ],
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["written"] == 1
    assert (tmp_path / "cxr-A-00000000" / "visit1" / "frontal.png").exists()


def test_the_command_needs_a_folder():
    assert CliRunner().invoke(app, ["phantom"]).exit_code == 2


def test_the_command_refuses_the_impossible(tmp_path):
    ran = CliRunner().invoke(app, ["phantom", "--style", "Q", "--out", str(tmp_path)])
    assert isinstance(ran.exception, InputError)


def test_generate_is_what_is_written(tmp_path):
    build(TINY, tmp_path, 1)
    record = json.loads((tmp_path / "cxr-A-00000000" / "truth.json").read_text())
    truth = generate("cxr", 0, "A", findings=[], shape=(128, 1, 128)).truth.to_dict()
    assert record["questions"] == truth["questions"]
