"""Files that are broken, contradict themselves or mean harm: named, never fatal, never half taken."""

import gzip
import json
import pickle
import random

import numpy as np
import published_files as files
import pytest

from attending.corpora import read
from attending.corpora.readers import decathlon
from attending.corpora.readers.tables import csv_rows, inside, json_rows, pickle_rows, text_in
from attending.corpora.rewrite import rewrite
from attending.errors import AttendingError, InputError


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../x.png",
            "/etc/passwd",
            "a/../../x",
            "a\\b",
            "C:x",
            "x\0.png",
            "",
            " ",
            3,
            None,
            "\u2024\u2024/x",
            "a" * 2000,
        ],
    )
    def test_a_name_that_leads_out_of_the_folder_is_refused(self, tmp_path, name):
        with pytest.raises(InputError, match="row 7"):
            inside(tmp_path, name, tmp_path / "t.json", "row 7")

    def test_a_plain_name_is_taken(self, tmp_path):
        assert inside(tmp_path, "a/b c.png", tmp_path, "f") == tmp_path / "a" / "b c.png"
        assert inside(tmp_path, str(tmp_path / "a.png"), tmp_path, "f") == tmp_path / "a.png"

    def test_an_image_that_is_a_folder_or_a_pipe_is_not_there(self, tmp_path):
        import os

        (tmp_path / "folder.png").mkdir()
        os.mkfifo(tmp_path / "pipe.png")
        rows = [("folder.png", "q", "a"), ("pipe.png", "q", "a")]
        dataset = read("csv", files.table(tmp_path / "t.csv", ("image", "question", "answer"), rows))
        assert len(dataset.problems) == 2


class TestValues:
    @pytest.mark.parametrize("value", [None, [], {}, True, float("nan"), float("inf")])
    def test_what_is_neither_text_nor_number_is_refused(self, tmp_path, value):
        with pytest.raises(InputError, match="row 1, key"):
            text_in({"key": value}, "key", tmp_path, "row 1")

    @pytest.mark.parametrize(("value", "text"), [(" a ", "a"), (3, "3"), (2.0, "2"), (0.5, "0.5")])
    def test_numbers_become_text_as_people_write_them(self, tmp_path, value, text):
        assert text_in({"key": value}, "key", tmp_path, "row 1") == text


class TestTables:
    def test_rows_are_told_by_where_they_stand(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text('a,b\n1,"two\nlines"\n\n3\n4,5,6\n')
        problems = []
        rows = list(csv_rows(path, ("a", "b"), problems.append))
        assert [row for _, row in rows] == [{"a": "1", "b": "two\nlines"}, {"a": "4", "b": "5"}]
        assert "row 5 is 1: expected 2 cells" in str(problems[0])

    def test_gzip_is_known_by_its_content(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes(gzip.compress(b"a\n1\n"))
        assert list(csv_rows(path, ("a",), [].append)) == [("row 2", {"a": "1"})]

    def test_a_cell_without_end_is_refused(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes(b'a\n"' + b"x" * (2 << 20))
        with pytest.raises(InputError, match="cannot be read as CSV"):
            list(csv_rows(path, ("a",), [].append))

    def test_json_lines_that_are_broken_are_told_and_the_rest_read(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[1]\n{"a": \n\xff\n{"a": 2}\n')
        problems = []
        assert [row["a"] for _, row in json_rows(path, problems.append)] == [1, 2]
        assert [str(one).partition("line ")[2][0] for one in problems] == ["3", "4", "5"]

    @pytest.mark.parametrize("value", [3, {"a": 1}, b"bytes"])
    def test_a_pickle_of_something_else_is_refused(self, tmp_path, value):
        path = tmp_path / "t.pkl"
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(InputError, match="expected a list"):
            list(pickle_rows(path, [].append))

    @pytest.mark.parametrize("content", [b"", b"\x80\x04", b"cos\nsystem\n(S'true'\ntR.", b"(lp0\n" * 1000])
    def test_a_pickle_that_is_none_is_refused(self, tmp_path, content):
        path = tmp_path / "t.pkl"
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a pickled list"):
            list(pickle_rows(path, [].append))


class TestWrongFiles:
    def test_rows_given_twice_are_named(self, tmp_path):
        folder = files.chexpert(tmp_path)
        path = folder / "train.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, lines[1]]) + "\n")
        problems = read("chexpert", folder, questions=0).problems
        assert len(problems) == 3
        assert "the id is that of an earlier row" in str(problems[0])

    def test_a_split_list_that_names_unknown_pictures_is_told(self, tmp_path):
        folder = files.chest_xray14(tmp_path)
        with (folder / "train_val_list.txt").open("a") as file:
            file.write("00099999_000.png\n00099998_000.png\n")
        problem = read("chest-xray14", folder).problems[0]
        assert "00099998_000.png: lacks 2 pictures of the list of this split" in str(problem)

    def test_a_row_without_its_language_is_told(self, tmp_path):
        row = files.slake_row(1, 1, "q", "a")
        del row["q_lang"]
        (tmp_path / "train.json").write_text(json.dumps([row]))
        assert "q_lang: expected en or zh" in str(read("slake", tmp_path).problems[0])

    @pytest.mark.parametrize("value", [1.5, -1.0, 7.0])
    def test_a_mask_with_a_value_that_is_no_label_is_refused(self, tmp_path, value):
        folder = files.decathlon(tmp_path)
        mask = files.liver_mask().astype(np.float32)
        mask[0, 0, 0] = value
        files.volume(folder / "labelsTr/liver_0.nii.gz", mask)
        with pytest.raises(InputError, match="label"):
            decathlon.cases(folder)[0].open()

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path):
        pytest.importorskip("pyarrow")
        folder = files.path_vqa_hub(tmp_path / "hub")
        (tmp_path / "file").write_text("")
        dataset = read("path-vqa", folder, unpack=str(tmp_path / "file"))
        assert len(dataset.problems) == 3
        assert "option unpack" in str(dataset.problems[0])
        with pytest.raises(InputError, match="cannot be written"):
            rewrite(["a"], None, tmp_path / "file" / "store.jsonl")

    def test_a_parquet_file_that_is_none_is_refused(self, tmp_path):
        pytest.importorskip("pyarrow")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 not really PAR1")
        with pytest.raises(InputError, match="cannot be read as parquet"):
            read("path-vqa", tmp_path)

    def test_phantom_truth_with_parts_missing_is_collected(self, tmp_path):
        told = {"kind": "cxr", "questions": [{"type": "open"}], "visits": [{"files": {"png": {}}}], "seed": 1}
        (tmp_path / "truth.json").write_text(json.dumps(told))
        assert "written by attending phantom" in str(read("phantom-folder", tmp_path).problems[0])


BUILD = {
    "vqa-rad": (files.vqa_rad, ".", "VQA_RAD Dataset Public.json"),
    "slake": (files.slake, ".", "train.json"),
    "path-vqa": (files.path_vqa, ".", "qas/train_vqa.pkl"),
    "medqa": (files.medqa, ".", "questions/US/train.jsonl"),
    "chexpert": (files.chexpert, ".", "train.csv"),
    "chest-xray14": (files.chest_xray14, ".", "Data_Entry_2017_v2020.csv"),
    "medical-diff-vqa": (files.medical_diff_vqa, ".", "mimic_pair_questions.csv"),
    "mimic-cxr": (files.mimic_cxr, ".", "mimic-cxr-2.0.0-split.csv.gz"),
    "decathlon": (files.decathlon, ".", "dataset.json"),
}


@pytest.mark.parametrize("name", BUILD)
def test_bytes_changed_at_random_never_break_a_reader(tmp_path, name):
    """Whatever is done to the table, the reader returns a dataset or raises one of our errors."""
    build, _, table = BUILD[name]
    folder = build(tmp_path)
    path = folder / table
    whole = path.read_bytes()
    rng = random.Random(name)
    for _ in range(25):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 3, 20))):
            broken[rng.randrange(len(broken))] = rng.choice(b'\x00\xff"{}[],:\n 0-9.eaz\\')
        if rng.random() < 0.3:
            broken = broken[: rng.randrange(len(broken))]
        path.write_bytes(broken)
        try:
            dataset = read(name, folder)
        except AttendingError:
            continue
        assert dataset.counts["conversations"] == len(dataset.conversations)
        assert all(str(problem) for problem in dataset.problems)
