"""What lies in the folder of an answer, whatever happens while it is written."""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from report_answers import answer, mask, radiograph, scored, segmented, series, without

from attending.errors import InputError
from attending.imaging import Picture, Study
from attending.reporting import write


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def told(folder):
    return json.loads((folder / "answer.json").read_text())


def is_whole(folder):
    """Every file that `answer.json` names is there with the bytes it was written with."""
    media = {Path(name).parent for name in told(folder)["files"]} - {Path()}
    assert len(media) == 1
    place = folder / media.pop()
    for line in (place / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    return all((folder / name).is_file() for name in told(folder)["files"])


def test_an_answer_becomes_a_report_json_pictures_and_masks(tmp_path):
    out = tmp_path / "a" / "b"
    written = write(answer(), out)
    assert [path.name for path in written[:3]] == ["answer.json", "report.html", "transcript.json"]
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    assert {path.suffix for path in written} == {".json", ".html", ".png", ".gz", ".csv", ".txt", ""}
    assert is_whole(out)


def test_names_of_pictures_tell_expert_structure_plane_and_slice(tmp_path):
    write(answer(), tmp_path)
    found = {Path(name).name for name in names(tmp_path)}
    assert {"01-vista3d-hepatic-tumor-axial-008-enlarged.png", "01-vista3d-mask.nii.gz"} <= found
    assert "01-vista3d-liver-hepatic-tumor-axial-008-overlay.png" in found
    assert "turn01-user-1-axial-003.png" in found


def test_the_json_is_the_answers_own_with_the_files_of_all_and_of_each_finding(tmp_path):
    asked = answer()
    write(asked, tmp_path)
    found = told(tmp_path)
    of_findings = [one.pop("files") for one in found["findings"]]
    files = found.pop("files")
    assert found | {"files": []} == json.loads(json.dumps(asked.to_dict()))
    assert of_findings[1] == []
    assert any(name.endswith("01-vista3d-mask.nii.gz") for name in of_findings[0])
    assert sorted(files) == names(tmp_path)
    assert set(of_findings[0]) < set(files)


def test_the_transcript_says_which_file_each_picture_is_and_the_pixels_are_those_shown(tmp_path):
    asked = answer()
    write(asked, tmp_path)
    found = json.loads((tmp_path / "transcript.json").read_text())
    assert [turn["role"] for turn in found["turns"]] == ["user", "assistant", "expert", "expert", "assistant"]
    (picture,) = found["turns"][0]["pictures"]
    pixels = np.asarray(Image.open(tmp_path / picture["file"]))
    assert np.array_equal(pixels, asked.transcript.turns[0].pictures[0].pixels)
    assert Picture(pixels).digest == picture["sha256"]


def test_overlays_have_their_legend_drawn_beside_the_slice(tmp_path):
    write(answer(), tmp_path)
    (overlay,) = tmp_path.glob("files-*/01-vista3d-liver-hepatic-tumor-axial-008-overlay.png")
    (plain,) = tmp_path.glob("files-*/01-vista3d-liver-hepatic-tumor-axial-008.png")
    wide, narrow = np.asarray(Image.open(overlay)), np.asarray(Image.open(plain))
    assert wide.shape[1] > narrow.shape[1] + 50
    assert wide[:, narrow.shape[1] :].any()
    changed = (wide[: narrow.shape[0], : narrow.shape[1]] != narrow).any(axis=-1)
    assert 0 < changed.mean() < 0.5


def test_no_file_holds_the_patients_name_id_or_the_folder_of_the_study(tmp_path):
    write(answer(), tmp_path)
    for path in tmp_path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not re.search(rb"Doe\^?|DOE_JANE|MRN-4711", data), path.name
    assert b"1.2.3" in (tmp_path / "report.html").read_bytes()


def test_a_second_answer_replaces_the_first_and_leaves_the_users_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write(answer(), tmp_path)
    (old,) = tmp_path.glob("files-*")
    write(answer([without()], text="Nothing."), tmp_path)
    assert not old.exists()
    assert told(tmp_path)["answer"] == "Nothing."
    assert not list(tmp_path.rglob("*.nii.gz"))
    assert is_whole(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_mask_that_the_user_corrected_and_files_put_beside_it_stay(tmp_path):
    write(answer(), tmp_path)
    (old,) = tmp_path.glob("files-*")
    (old / "01-vista3d-mask.nii.gz").write_bytes(b"corrected by hand")
    (old / "my.txt").write_text("mine")
    write(answer([without()]), tmp_path)
    assert sorted(path.name for path in old.iterdir()) == ["01-vista3d-mask.nii.gz", "my.txt"]
    assert not any(name.startswith(old.name) for name in told(tmp_path)["files"])


def test_a_checksum_list_cannot_lead_to_files_elsewhere(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    bad = tmp_path / "out" / "files-00000000"
    bad.mkdir(parents=True)
    (bad / "link").symlink_to(kept)
    (bad / "SHA256SUMS").write_text(f"{digest}  ../../kept.txt\n{digest}  {kept}\n{digest}  link\n{digest}\n")
    (tmp_path / "out" / "files-11111111").symlink_to(tmp_path)
    write(answer(), tmp_path / "out")
    assert kept.read_text() == "mine"
    assert (bad / "link").is_symlink()


def test_the_same_answer_twice_is_the_same_files(tmp_path):
    asked = answer()
    write(asked, tmp_path)
    first = names(tmp_path)
    write(asked, tmp_path)
    assert names(tmp_path) == first
    assert is_whole(tmp_path)


def test_equal_answers_have_equal_bytes_but_for_the_date_of_the_report(tmp_path):
    for name in ("a", "b"):
        write(answer(), tmp_path / name)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for name in names(tmp_path / "a"):
        if name != "report.html":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write(answer(), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
    with pytest.raises(InputError, match="cannot write"):
        write(answer(), tmp_path / "out" / "below")


def test_a_folder_in_place_of_a_file_is_refused_and_an_earlier_answer_stays(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html.*is a folder"):
        write(answer(), tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # root may write anywhere: let the system say no

        def refuse(self, *args, **kwargs):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"sealed: cannot write here: Permission denied"):
        write(answer(), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 300, 2_000, 8_000])
def test_a_full_disk_leaves_the_earlier_answer_and_nothing_else(tmp_path, limit):
    write(answer([without()], text="Earlier."), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # no file may grow beyond: a real failure to write
    try:
        with pytest.raises(InputError, match="cannot write here: File too large"):
            write(answer(), tmp_path)
        with pytest.raises(InputError, match="cannot write here: File too large"):
            write(answer(), tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert not (tmp_path / "new").exists()


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from report_answers import answer, without
from attending.reporting import folder, write
root, real = Path(sys.argv[2]), (os.replace, os.rename)
for step in range(8):
    out = root / str(step)
    write(answer(text="Earlier."), out)
    child = os.fork()
    if not child:
        left = [step]
        def dying(act):
            def move(*args):
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return act(*args)
            return move
        os.replace, os.rename = map(dying, real)
        write(answer(text="Later."), out)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_a_killed_run_leaves_an_answer_whole_and_the_next_cleans_up(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    ends = [int(status) for status in run.stdout.split()]
    assert ends[:4] == [9, 9, 9, 9], "killed before each of the moves"
    assert ends[-1] == 0
    for step in range(8):
        out = tmp_path / str(step)
        assert told(out)["answer"] == ("Later." if ends[step] == 0 else "Earlier.")
        assert is_whole(out)
        write(answer(text="Last."), out)
        assert told(out)["answer"] == "Last."
        assert is_whole(out)
        assert not list(out.glob(".attending*"))
        assert len(list(out.glob("files-*"))) == 1


def test_writers_at_the_same_time_take_turns(tmp_path):
    broke = []

    def work(number):
        try:
            write(answer(text=f"Answer {number}."), tmp_path)
        except BaseException as error:
            broke.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broke == []
    assert is_whole(tmp_path)
    assert len(list(tmp_path.glob("files-*"))) == 1


def test_without_a_study_the_experts_own_pictures_are_kept(tmp_path):
    shown = Picture(np.full((9, 9, 3), 7, np.uint8), plane="axial", index=4, legend=(("liver", (255, 0, 0)),))
    write(answer([segmented(pictures=(shown,))], study=None), tmp_path)
    assert [path.name for path in tmp_path.rglob("01-*overlay.png")] == ["01-vista3d-liver-axial-004-overlay.png"]
    assert [path.name for path in tmp_path.rglob("turn03*.png")] == ["turn03-vista3d-1-liver-axial-004.png"]


def test_a_series_whose_files_have_gone_does_not_stop_the_report(tmp_path):
    gone = series()

    def fail(_):
        raise InputError("is not there any more", path="x.dcm")

    lost = answer(study=Study(Path("x"), [gone]))
    gone.unload()
    gone.read = fail
    write(lost, tmp_path)
    assert [path.name for path in tmp_path.rglob("01-*.png")] == []
    assert list(tmp_path.rglob("01-vista3d-mask.nii.gz"))


def test_a_radiograph_has_scores_and_no_mask(tmp_path):
    write(answer([scored()], study=Study(Path("x"), [radiograph()])), tmp_path)
    assert told(tmp_path)["findings"][0]["scores"] == {"Effusion": 0.91, "Mass": 0.08}
    assert not list(tmp_path.rglob("*.nii.gz"))
    assert [path.name for path in tmp_path.rglob("*.png")] == ["turn01-user-1-image-000.png"]


def test_colour_pictures_stay_as_they_are(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 255, (1, 40, 30, 3)).astype(np.uint8)
    write(answer([without()], study=Study(Path("x"), [radiograph(pixels=pixels)])), tmp_path)
    (path,) = tmp_path.rglob("*.png")
    assert np.array_equal(np.asarray(Image.open(path)), pixels[0])


def test_nothing_found_and_nothing_asked(tmp_path):
    empty = mask()
    empty.labels.array[:] = 0
    write(answer([segmented(empty, measurements={})]), tmp_path / "empty")
    (path,) = (tmp_path / "empty").rglob("*.nii.gz")
    assert not nib.load(path).get_fdata().any()
    write(answer([], study=None, text=""), tmp_path / "none")
    assert told(tmp_path / "none")["findings"] == []
    assert is_whole(tmp_path / "none")


def test_numbers_that_json_has_not_become_null(tmp_path):
    strange = segmented()
    record = replace(strange.record, settings={"roi": np.array([96, 96]), "scale": np.float32("nan"), "on": True})
    write(answer([replace(strange, record=record)], timings={"total": float("inf")}), tmp_path)
    found = told(tmp_path)
    assert found["timings"] == {"total": None}
    assert found["findings"][0]["record"]["settings"] == {"roi": [96, 96], "scale": None, "on": True}


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_move_that_fails_leaves_no_pictures_of_an_answer_that_is_not_there(tmp_path, monkeypatch, step):
    write(answer(text="Earlier."), tmp_path)
    (old,) = tmp_path.glob("files-*")
    left, move = [step], os.replace

    def fail(*args):
        if not left[0]:
            raise OSError(5, "Input/output error")
        left[0] -= 1
        return move(*args)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="cannot write here: Input/output error"):
        write(answer(text="Later."), tmp_path)
    assert told(tmp_path)["answer"] == "Earlier."
    assert is_whole(tmp_path)
    assert list(tmp_path.glob("files-*")) == [old]
    assert not list(tmp_path.glob(".attending*"))
