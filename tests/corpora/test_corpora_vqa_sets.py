"""VQA-RAD, SLAKE, PathVQA and MedQA in the form in which they are published."""

import json
import pickle

import published_files as files
import pytest

from attending.corpora import load_picture, read
from attending.errors import InputError


def said(conversation):
    return [message.content for message in conversation.messages]


def told(dataset):
    return {c.id: said(c) for c in dataset.conversations}


class TestVqaRad:
    def test_splits_follow_the_phrase_type_and_the_shared_triple_leaves_train(self, tmp_path):
        folder = files.vqa_rad(tmp_path)
        train, test = read("vqa-rad", folder, "train"), read("vqa-rad", folder, "test")
        assert set(told(train)) == {"1", "3", "5"}
        assert set(told(test)) == {"2", "4"}
        assert train.counts["passed over: picture, question and answer of the test split"] == 1
        assert not train.problems

    def test_text_facts_and_counts(self, tmp_path):
        train = read("vqa-rad", files.vqa_rad(tmp_path), "train")
        first = train.conversations[0]
        assert said(first) == ["<image>\nAre regions of the brain infarcted?", "Yes"]
        assert first.facts["answer type"] == "CLOSED"  # a space stands behind it in the file
        assert first.facts["organ"] == "HEAD"
        assert first.patient == "MedPix case-synpic1"
        assert first.images[0].name == "synpic1.jpg"
        assert said(train.conversations[1])[1] == "3"  # Excel made it a number
        assert train.counts["question type: PRES"] == 1
        assert train.counts["patients"] == 2
        assert train.counts["rows"] == 4

    def test_apart_leaves_what_is_about_test_pictures_out_of_train(self, tmp_path):
        folder = files.vqa_rad(tmp_path)
        apart = read("vqa-rad", folder, "train", apart=True)
        tested = {c.images[0] for c in read("vqa-rad", folder, "test").conversations}
        assert tested.isdisjoint(c.images[0] for c in apart.conversations)
        assert len(apart.conversations) == 2
        assert "apart=true" in read("vqa-rad", folder, "train").notes[0]

    def test_reference_adds_organ_questions_and_rephrasings_but_no_test_question(self, tmp_path):
        dataset = read("vqa-rad", files.vqa_rad(tmp_path), "train", reference=True)
        questions = [said(c)[0] for c in dataset.conversations]
        assert "<image>\nWhat is the number of lesions?" in questions
        assert "<image>\nIs the brain infarcted?" not in questions  # a question of the test split
        assert sum(c.facts.get("added") == "organ question" for c in dataset.conversations) == 3
        assert len({c.id for c in dataset.conversations}) == len(dataset.conversations)

    def test_problems_are_collected_and_the_rest_is_read(self, tmp_path):
        rows = [
            files.rad_row(1, "synpic1", "Q?", "A"),
            files.rad_row(2, "synpic2", "Q?", None),
            files.rad_row(3, "synpic3", "Q?", "A", "wrong"),
            files.rad_row(4, "synpic4", "", "A"),
            files.rad_row(5, "synpic5", "Q?", "A", image_name="../../etc/passwd"),
            files.rad_row(6, "synpic6", "Q?", float("nan")),
        ]
        files.vqa_rad(tmp_path, rows[:4])
        (tmp_path / "VQA_RAD Dataset Public.json").write_text(json.dumps([*rows, 7]))
        (tmp_path / "VQA_RAD Image Folder" / "synpic4.jpg").unlink()
        dataset = read("vqa-rad", tmp_path)
        assert set(told(dataset)) == {"1"}
        assert dataset.counts["refused"] == len(dataset.problems) == 6
        text = "\n".join(map(str, dataset.problems))
        for part in ("row 2, answer", "row 3, phrase_type is wrong", "passwd", "row 6, answer", "row 7 is 7"):
            assert part in text


class TestSlake:
    def test_languages_and_the_empty_published_answer(self, tmp_path):
        folder = files.slake(tmp_path)
        english = read("slake", folder)
        assert set(told(english)) == {"0", "7"}
        assert english.counts["passed over: no answer as published"] == 1
        assert not english.problems
        assert said(read("slake", folder, language="zh").conversations[0]) == ["<image>\n图像中有肝脏吗", "有"]
        assert read("slake", folder, language="all").counts["language: zh"] == 1

    def test_the_references_id_counts_all_languages(self, tmp_path):
        last = read("slake", files.slake(tmp_path)).conversations[1]
        assert last.facts["original id"] == "7"
        assert last.facts["reference id"] == "4"
        assert (last.facts["question type"], last.facts["answer type"]) == ("Organ", "CLOSED")

    def test_the_hubs_name_of_the_validation_file_is_known(self, tmp_path):
        folder = files.slake(tmp_path)
        (folder / "validate.json").rename(folder / "validation.json")
        assert len(read("slake", folder, "val").conversations) == 1

    def test_an_unknown_language_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="expected en, zh or all"):
            read("slake", files.slake(tmp_path), language="fr")

    def test_a_missing_picture_is_named(self, tmp_path):
        folder = files.slake(tmp_path)
        (folder / "imgs/xmlab1/source.jpg").unlink()
        dataset = read("slake", folder)
        assert "xmlab1" in str(dataset.problems[0])
        assert set(told(dataset)) == {"7"}


class TestPathVqa:
    def test_pickles_give_unique_ids_and_keep_the_references(self, tmp_path):
        dataset = read("path-vqa", files.path_vqa(tmp_path))
        assert told(dataset) == {
            "100422000": ["<image>\nIs this a liver?", "yes"],
            "100422001": ["<image>\nWhere are liver stem cells (oval cells) located?", "in the canals of hering"],
        }
        assert dataset.conversations[0].facts["image"] == "train_0422"  # the reference's id, not unique
        assert dataset.counts["answer type: yes/no"] == 1
        assert dataset.counts["passed over: no answer as published"] == 1

    def test_the_plain_pickle_is_read_where_the_other_is_missing(self, tmp_path):
        folder = files.path_vqa(tmp_path)
        (folder / "qas" / "train_vqa.pkl").unlink()
        dataset = read("path-vqa", folder)
        assert [c.id for c in dataset.conversations] == ["train_0422", "train_0422#2", "train_0001"]
        assert {c.facts["original id"] for c in dataset.conversations} == {"train_0422", "train_0001"}

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "made"), "w"))

        folder = files.path_vqa(tmp_path)
        (folder / "qas" / "train_vqa.pkl").write_bytes(pickle.dumps([Evil()]))
        with pytest.raises(InputError, match="only plain values"):
            read("path-vqa", folder)
        assert not (tmp_path / "made").exists()

    def test_parquet_pictures_are_unpacked_once(self, tmp_path):
        pytest.importorskip("pyarrow")
        folder = files.path_vqa_hub(tmp_path / "hub")
        dataset = read("path-vqa", folder, unpack=str(tmp_path / "out"))
        assert len(dataset.conversations) == 3
        assert len({c.id for c in dataset.conversations}) == 3
        unpacked = list((tmp_path / "out" / "train").iterdir())
        assert len(unpacked) == dataset.counts["images"] == 2
        assert load_picture(dataset.conversations[0].images[0]).pixels.shape == (24, 20, 3)
        before = {path: path.stat().st_mtime_ns for path in unpacked}
        again = read("path-vqa", folder, unpack=str(tmp_path / "out"))
        assert {path: path.stat().st_mtime_ns for path in unpacked} == before
        assert told(again) == told(dataset)

    def test_no_form_of_it_is_told_with_what_was_expected(self, tmp_path):
        with pytest.raises(InputError, match=r"qas/val_vqa.pkl, .* or data/validation-\*.parquet"):
            read("path-vqa", tmp_path, "validate")


class TestMedQa:
    def test_five_and_four_options(self, tmp_path):
        folder = files.medqa(tmp_path)
        five = read("medqa", folder).conversations[0]
        assert said(five)[0].endswith("\nA. Ampicillin\nB. Ceftriaxone\nC. Ciprofloxacin\nD. Doxycycline\n"
                                      "E. Nitrofurantoin")  # fmt: skip
        assert said(five)[1] == "E. Nitrofurantoin"
        assert five.images == ()
        assert said(read("medqa", folder, choices=4).conversations[0])[1] == "B. Nitrofurantoin"
        assert five.facts["question type"] == "step2&3"

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"answer_idx": "A"}, "is not the option A"),
            ({"options": {}}, "two or more options"),
            ({"question": 3.0, "answer": "x"}, "is not the option"),
            ({"question": "See <image>?"}, "there is no picture"),
        ],
    )
    def test_a_row_that_contradicts_itself_is_refused(self, tmp_path, change, problem):
        folder = files.medqa(tmp_path)
        path = folder / "questions/US/train.jsonl"
        path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n{broken\n")
        dataset = read("medqa", folder)
        assert len(dataset.problems) == 2
        assert any(problem in str(one) for one in dataset.problems)
        assert any("line 2" in str(one) for one in dataset.problems)
