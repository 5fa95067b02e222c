"""Leaks between splits, and what every dataset promises whatever its reader."""

import json
import shutil

import published_files as files
import pytest

from attending.corpora import Conversation, Dataset, check_leaks, names, read, report, require, turns
from attending.corpora.readers import READERS
from attending.corpora.readers.gather import Gather, PassedOverError
from attending.errors import InputError
from attending.imaging import Picture


def made(split, *records, name="mine"):
    conversations = [
        Conversation(str(i), turns("<image>" * len(images) + "q", "a"), tuple(images), patient, name, split)
        for i, (patient, images) in enumerate(records)
    ]
    return Dataset(name, split, conversations, {})


class TestLeaks:
    def test_the_same_patient_in_two_splits_is_found_across_datasets(self):
        one, other = made("train", ("p1", []), ("p2", [])), made("test", ("p2", []), ("p3", []), name="other")
        (leak,) = check_leaks([one, other])
        assert str(leak) == "mine train and other test: both hold 1 of the same patients: p2"
        assert check_leaks([one, made("train", ("p2", []))]) == []

    def test_unnamed_patients_are_not_the_same(self):
        assert check_leaks([made("train", ("", [])), made("test", ("", []))]) == []

    def test_a_copied_picture_is_found_under_any_name(self, tmp_path):
        first = files.picture(tmp_path / "a.png", 1)
        second = files.picture(tmp_path / "b.png", 2)
        copy = tmp_path / "test" / "renamed.png"
        copy.parent.mkdir()
        shutil.copy(first, copy)
        leaks = check_leaks([made("train", ("p1", [first, second])), made("test", ("p9", [copy]))])
        assert "both hold 1 of the same images" in str(leaks[0])
        assert "a.png" in str(leaks[0])

    def test_files_of_one_size_that_differ_are_not_the_same(self, tmp_path):
        paths = [tmp_path / name for name in ("a.bin", "b.bin")]
        for number, path in enumerate(paths):
            path.write_bytes(bytes([number]) * 100)
        assert check_leaks([made("train", ("", paths[:1])), made("test", ("", paths[1:]))]) == []

    def test_pictures_in_memory_are_compared_by_their_pixels(self):
        import numpy as np

        grey = [Picture(np.full((8, 8, 3), level, np.uint8)) for level in (1, 1, 2)]
        assert check_leaks([made("train", ("", grey[:1])), made("test", ("", grey[1:2]))])
        assert not check_leaks([made("train", ("", grey[:1])), made("test", ("", grey[2:]))])

    def test_many_are_counted_and_few_are_shown(self):
        patients = [(f"p{i}", []) for i in range(50)]
        (leak,) = check_leaks([made("train", *patients), made("validate", *patients)])
        assert "both hold 50 of the same patients: p0, p1, p10, ..." in str(leak)

    def test_the_official_split_of_vqa_rad_leaks_and_apart_does_not(self, tmp_path):
        folder = files.vqa_rad(tmp_path)
        test = read("vqa-rad", folder, "test")
        assert len(check_leaks([read("vqa-rad", folder), test])) == 2
        assert check_leaks([read("vqa-rad", folder, apart=True), test]) == []

    def test_slake_does_not_leak_but_a_picture_copied_into_its_test_set_does(self, tmp_path):
        folder = files.slake(tmp_path)
        splits = ("train", "validate", "test")
        assert check_leaks([read("slake", folder, split) for split in splits]) == []
        shutil.copy(folder / "imgs/xmlab1/source.jpg", folder / "imgs/xmlab102/source.jpg")
        assert "xmlab1/source.jpg" in str(check_leaks([read("slake", folder, split) for split in splits])[0])


class TestRead:
    def test_every_reader_says_what_it_is(self):
        assert names() == list(READERS)
        for reader in READERS.values():
            assert reader.title
            assert reader.expects
            assert reader.source
            assert reader.licence
            assert set(reader.splits) <= {"train", "validate", "test"}
            assert "progress:" in (reader.read.__doc__ or "")

    def test_what_is_asked_for_wrongly_is_named(self, tmp_path):
        with pytest.raises(InputError, match="dataset is imagenet: expected one of vqa-rad"):
            read("imagenet", tmp_path)
        with pytest.raises(InputError, match="split is validate: vqa-rad has train, test"):
            read("vqa-rad", tmp_path, "val")
        with pytest.raises(InputError, match="needs the folder"):
            read("slake", None)
        with pytest.raises(InputError, match="no such folder or file"):
            read("slake", tmp_path / "none")
        with pytest.raises(InputError, match="takes no such option; its options are: language"):
            read("slake", files.slake(tmp_path), lang="en")

    def test_progress_counts_rows(self, tmp_path):
        seen = []
        read("slake", files.slake(tmp_path), progress=seen.append)
        assert seen == [1, 2, 3]

    def test_problems_are_told_together(self):
        wrong = [InputError("is wrong", field=f"row {i}") for i in range(25)]
        text = report(wrong)
        assert len(text.splitlines()) == 21
        assert text.endswith("and 5 more")
        with pytest.raises(InputError, match="25 problems in the data; the first: row 0"):
            require([Dataset("a", "train", [], {}, wrong[:20]), Dataset("b", "train", [], {}, wrong[20:])])
        require([Dataset("a", "train", [], {})])

    def test_hostile_text_cannot_steer_a_terminal(self, tmp_path):
        row = files.slake_row(1, "1", "q", "a", img_name="\x1b[2J\x00evil.png")
        (tmp_path / "train.json").write_text(json.dumps([row]))
        assert "\x1b" not in str(read("slake", tmp_path).problems[0])


class TestGather:
    def gather(self):
        def make(row):
            if row == "pass":
                raise PassedOverError("not today")
            return Conversation(row, turns("q", "a"), facts={"kind": row})

        return Gather("mine", "train", make, lambda done: None)

    def test_ids_are_unique_whatever_the_originals_are(self):
        gather = self.gather()
        given = ["a", "a", "a#2", "a", "b", "a#2"]
        ids = [gather.unique(one) for one in given]
        assert len(set(ids)) == len(ids)
        assert ids[0] == "a"

    def test_rows_are_counted_as_taken_refused_or_passed_over(self):
        gather = self.gather()
        assert [gather.add(row, "kind") for row in ("a", "pass", "b")] == [True, False, True]
        gather.refuse(InputError("x"))
        dataset = gather.dataset()
        assert dataset.counts["conversations"] == 2
        assert dataset.counts["refused"] == 1
        assert dataset.counts["passed over: not today"] == 1
        assert dataset.counts["kind: a"] == 1
        assert [c.id for c in dataset.conversations[1:]] == ["b"]
        assert dataset.conversations[-1].id == "b"
