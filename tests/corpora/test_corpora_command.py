"""`attending data` as a user runs it."""

import json
import sys

import published_files as files
import pytest
from PIL import Image

from attending.cli import main
from attending.corpora.readers import READERS


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*words):
        monkeypatch.setattr(sys, "argv", ["attending", "data", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err

    return command


def test_list_names_every_dataset_and_tells_one_in_full(run):
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(READERS)
    code, out, _ = run("list", "chexpert")
    assert "train.csv, valid.csv" in out
    assert "unsure=skip, questions=2, seed=0" in out
    assert "Research Use Agreement" in out
    told = json.loads(run("list", "--json")[1])["datasets"]
    assert {one["name"] for one in told} == set(READERS)
    assert run("list", "imagenet")[0] == 3


def test_check_tells_counts_of_every_split_and_writes_sheets(run, tmp_path):
    folder = files.slake(tmp_path / "slake")
    code, out, _ = run("check", "slake", folder, "--images", "--out", tmp_path / "sheets")
    assert code == 0
    assert "question type: Modality" in out
    for split in ("train", "validate", "test"):
        with Image.open(tmp_path / "sheets" / f"slake-{split}.png") as sheet:
            assert sheet.size[0] > 200


def test_check_fails_on_problems_and_on_leaks_and_tells_both(run, tmp_path):
    folder = files.slake(tmp_path / "slake")
    (folder / "imgs/xmlab2/source.jpg").unlink()
    (folder / "imgs/xmlab102/source.jpg").write_bytes((folder / "imgs/xmlab1/source.jpg").read_bytes())
    code, out, err = run("check", "slake", folder)
    assert code == 3
    assert "train: 1 problems" in err
    assert "xmlab2" in err
    assert "leak: slake train and slake test: both hold 1 of the same images" in " ".join(err.split())
    code, out, _ = run("check", "slake", folder, "--json")
    told = json.loads(out)
    assert code == 3
    assert told["splits"][0]["counts"]["refused"] == 1
    assert len(told["leaks"]) == 1


def test_options_are_read_as_the_kind_they_are(run, tmp_path):
    folder = files.vqa_rad(tmp_path)
    assert run("check", "vqa-rad", folder)[0] == 3  # its official split shares pictures
    assert run("check", "vqa-rad", folder, "--option", "apart=true")[0] == 0
    for option, problem in (
        ("apart=yes", "expected true or false"),
        ("apart", "expected NAME=VALUE"),
        ("else=1", "its options are: apart, reference"),
    ):
        code, _, err = run("check", "vqa-rad", folder, "--option", option)
        assert code == 3
        assert problem in err.replace("\n", " ")
    code, _, err = run("check", "medqa", files.medqa(tmp_path / "m"), "--split", "train", "--option", "choices=four")
    assert "expected a whole number" in err


def test_a_split_that_is_not_there_is_passed_over_unless_asked_for(run, tmp_path):
    folder = files.medqa(tmp_path)
    code, _, err = run("check", "medqa", folder)
    assert code == 0
    assert "validate:" in err
    assert run("check", "medqa", folder, "--split", "test")[0] == 3


def test_convert_writes_what_can_be_checked_again(run, tmp_path):
    folder = files.slake(tmp_path / "slake")
    out = tmp_path / "slake.jsonl"
    code, told, _ = run("convert", "slake", folder, "--out", out)
    assert (code, told.strip()) == (0, str(out))
    assert run("check", "llava", out, "--split", "train")[0] == 0
    assert run("convert", "slake", folder, "--out", out)[0] == 3  # it is there already


def test_convert_refuses_problems_unless_told_to_skip_them(run, tmp_path):
    folder = files.slake(tmp_path / "slake")
    (folder / "imgs/xmlab2/source.jpg").unlink()
    assert run("convert", "slake", folder, "--out", tmp_path / "a.jsonl")[0] == 3
    assert not (tmp_path / "a.jsonl").exists()
    assert run("convert", "slake", folder, "--out", tmp_path / "a.jsonl", "--skip-problems")[0] == 0
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


def test_rewrite_asks_the_model_and_the_reader_uses_its_sentences(run, tmp_path, monkeypatch):
    from attending.model import Delta

    class Backend:
        name = "stand-in"

        def session(self):
            return self

        def stream(self, messages, *more):
            sentence = messages[0]["content"].rpartition("Sentence: ")[2]
            yield Delta("The heart is enlarged." if "heart" in sentence else sentence, "stop")

    monkeypatch.setattr("attending.model.load_backend", lambda where: Backend())
    folder = files.mimic_cxr(tmp_path / "mimic")
    store = tmp_path / "sentences.jsonl"
    code, out, err = run("rewrite", folder, "--model", "http://host/v1#m", "--out", store)
    assert (code, out.strip()) == (0, str(store))
    assert "3 rewritten" in err or "1 pool" in err or "2 rewritten" in err
    code, out, _ = run("check", "mimic-cxr", folder, "--split", "train", "--option", f"text={store}", "--json")
    assert code == 0
    assert json.loads(out)["splits"][0]["counts"]["conversations"] == 1
