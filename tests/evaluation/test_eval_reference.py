"""The reference's metrics, bug for bug: a test for each trap, and published files read safely."""

import json
import math
import pickle
import random

import pytest
from sklearn.metrics import f1_score

from attending.errors import InputError
from attending.evaluation.reference import (
    MEASURES,
    Answered,
    clean_report,
    extract_answer,
    normalize_word,
    read_class_csv,
    read_mimic_vqa,
    read_pathvqa,
    read_reports,
    read_vqa,
)

LETTERS = {"a": 0, "b": 1, "c": 2, "d": 3, "yes": 1, "no": 0}


def rows(*triples, **facts):
    return [Answered(id_, text, truth, facts) for id_, text, truth in triples]


def test_vqa_rad_matches_exactly_after_strip_and_lower():
    told = rows(("1", " Yes ", "yes"), ("2", "yes.", "yes"), ("3", None, "no"), ("4", "no", "No"))
    assert MEASURES["vqa_rad"](told) == MEASURES["slake"](told) == {"accuracy": 0.5}


def test_vqa_rad_counts_a_repeated_id_once_and_takes_the_last():
    told = rows(("1", "yes", "yes"), ("1", "no", "yes"), ("2", "no", "no"))
    assert MEASURES["vqa_rad"](told)["accuracy"] == 0.5
    assert MEASURES["vqa_rad"]([]) == {"accuracy": 0.0}


def test_pathvqa_asks_yes_no_only_does_not_strip_and_counts_repeats_twice():
    told = [
        *rows(("1", "YES", "Yes"), ("1", "YES", "Yes"), ("2", "no ", "no"), answer_type="yes/no"),
        *rows(("3", "liver", "liver"), answer_type="other"),
    ]
    assert MEASURES["pathvqa"](told)["accuracy"] == pytest.approx(2 / 3)


WORDS = {
    "The two lungs": "2 lungs",
    "none": "0",
    "dont": "don't",
    "couldnt've": "couldn't've",
    "somebody'd": "somebodyd",
    "a/b": "b",  # the slash becomes a space, and the article goes
    "left /right": "left right",
    "x-ray": "x ray",
    "x -ray": "x ray",
    "1,000": "1000",
    "1,000 a/b": "1000 ab",  # one number with a comma makes every mark vanish
    "3.5 cm.": "3.5 cm",
    "": "",
}


@pytest.mark.parametrize(("text", "plain"), WORDS.items())
def test_normalize_word(text, plain):
    assert normalize_word(text) == plain


def test_normalize_word_removes_only_32_full_stops():
    assert normalize_word("x. " * 40).count(".") == 8


def mimic(*rows_):
    names = ("question_type", "answer_type")
    return [Answered(i, text, truth, dict(zip(names, kinds, strict=True))) for i, text, truth, *kinds in rows_]


def test_mimic_vqa_scores_what_follows_the_last_assistant_and_averages_by_count():
    told = mimic(
        ("1", "User: x Assistant: no Assistant: Yes.", "yes", "presence", "closed"),
        ("2", "no", "yes", "presence", "closed"),
        ("3", "no", "no", "presence", "closed"),
        ("4", "PA", "pa", "view", "closed"),
    )
    found = MEASURES["mimic_vqa"](told)
    assert found["wavg_closed"] == pytest.approx((2 / 3 * 3 + 1) / 4)
    assert found["avg_closed"] == pytest.approx((2 / 3 + 1) / 2)  # types without closed rows leave the average
    assert (found["level_closed"], found["total_qas"]) == (0, 4)
    assert math.isnan(found["wavg_open"])


def test_mimic_vqa_rewards_repetition_and_takes_any_other_type_as_open():
    found = MEASURES["mimic_vqa"](mimic(("1", "lung lung lung", "left lung", "location", "Closed")))
    assert found["location_open"] == pytest.approx(3 / 4)  # the right recall is 1/2
    assert found["total_open"] == 1
    assert MEASURES["mimic_vqa"](mimic(("1", "the", "left", "location", "open")))["location_open"] == 0


def test_mimic_vqa_stops_where_a_prediction_is_missing():
    with pytest.raises(InputError, match="question_id is 7: there is no prediction"):
        MEASURES["mimic_vqa"](mimic(("7", None, "yes", "view", "closed")))


ANSWERS = {
    "normal": 0,
    "unknown": 0,
    "Answer: yes": 1,
    "A: no": 0,
    "(yes)": 1,
    "no (b)": 1,
    "Mild": 3,
    "consolidated": 2,
    "e": None,
    "xyz": None,
    "": None,
    "definitely yes": 3,
}


@pytest.mark.parametrize(("text", "number"), ANSWERS.items())
def test_answers_are_read_as_the_reference_reads_them(text, number):
    assert extract_answer(text, LETTERS) == number


def test_chestxray14_is_scikit_learns_f1_with_its_error_swallowed():
    rng = random.Random(0)
    for _ in range(60):
        said = [rng.choice(["yes", "no", "no", "normal", "(c)", "b", ""]) for _ in range(rng.randint(1, 8))]
        truth = [rng.choice(["YES", "NO"]) for _ in said]
        numbers = [extract_answer(text, LETTERS) or 0 for text in said]
        try:
            expected = f1_score([t == "YES" for t in truth], numbers, pos_label=True, zero_division=0)
        except ValueError:
            expected = 0.0
        told = [Answered(str(i), a, t, {"class": "fracture"}) for i, (a, t) in enumerate(zip(said, truth, strict=True))]
        assert MEASURES["chestxray14"](told)["fracture"] == pytest.approx(expected)


def test_chestxray14_one_answer_of_option_c_spoils_its_class():
    told = rows(("1", "yes", "YES"), ("2", "no", "NO"), **{"class": "fracture"})
    assert MEASURES["chestxray14"](told) == pytest.approx(
        {"f1": 1 / 3, "fracture": 1, "pneumothorax": 0, "lung_opacity": 0}
    )
    spoiled = [*told, *rows(("3", "mild", "NO"), **{"class": "fracture"})]
    assert MEASURES["chestxray14"](spoiled)["fracture"] == 0


def test_chexpert_takes_any_1_as_positive_and_stops_at_an_unknown_answer():
    told = rows(("1", "yes", "-1.0"), ("2", "yes", "0.1"), ("3", "no", "0.0"), **{"class": "Edema"})
    assert MEASURES["chexpert"](told)["Edema"] == 1
    with pytest.raises(InputError, match="question 4"):
        MEASURES["chexpert"](rows(("4", "", "1"), **{"class": "Edema"}))


CLEANED = {
    "The heart\nis normal in size.": "The heartis normal in size.",
    "2.5 cm nodule in the lung.": "Cm nodule in the lung.",
    "FINDINGS: Lungs: clear today.": "Lungs: clear today.",
    "No effusion.  No effusion. Is it clear today? Edema": "No effusion.",
    "the lungs are clear": "The lungs are clear.",
    "Fine.": "",  # six characters or fewer
    "1. 2. 3.": "",
    "": "",
}


@pytest.mark.parametrize(("text", "cleaned"), CLEANED.items())
def test_reports_are_cleaned_as_the_reference_does(text, cleaned):
    assert clean_report(text) == cleaned


def test_the_report_metric_leaves_out_what_is_missing_or_cleaned_away():
    told = rows(("1", "The lungs are clear.", "The lungs are clear."), ("2", None, "x"), ("3", "Fine.", "y"))
    found = MEASURES["report"](told)
    assert found["pairs"] == 1
    assert found["BLEU_4"] == pytest.approx(1)
    assert found["ROUGE_L"] == pytest.approx(1)
    assert list(found)[:2] == ["BLEU_4", "ROUGE_L"]
    assert math.isnan(MEASURES["report"](told[1:])["BLEU_4"])


@pytest.fixture
def files(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def talk(id_, *values, **more):
    turns = [{"from": "human" if i % 2 == 0 else "gpt", "value": value} for i, value in enumerate(values)]
    return {"id": id_, "conversations": turns, **more}


def test_vqa_files_as_published(files):
    questions = files("q.json", [talk(1, "q?", "Yes"), talk("2", "q?"), talk("3", "q?", "no", "sure?", "yes")])
    answers = files("a.jsonl", '{"question_id": 1, "text": "yes"}\n{"question_id": "3", "text": "yes "}\n')
    told = read_vqa(questions, answers)
    assert [row.id for row in told] == ["1", "3"]
    assert MEASURES["vqa_rad"](told)["accuracy"] == 1
    kinds = files("m.json", [talk("1", "q?", "Yes", answer_type="closed")])
    assert MEASURES["mimic_vqa"](read_mimic_vqa(kinds, answers, "view"))["wavg_closed"] == 1


def test_a_blank_line_of_predictions_stops_the_reading(files):
    answers = files("a.jsonl", '{"question_id": 1, "text": "yes"}\n\n')
    with pytest.raises(InputError, match="line 2"):
        read_vqa(files("q.json", [talk(1, "q?", "Yes")]), answers)


def test_pathvqa_pickles_are_read_without_running_anything(files, tmp_path):
    answers = files("a.jsonl", '{"question_id": "5", "text": "Yes"}')
    path = tmp_path / "test_vqa.pkl"
    path.write_bytes(pickle.dumps([{"question_id": 5, "answer_type": "yes/no", "label": {"yes": 1, "no": 0.3}}]))
    assert MEASURES["pathvqa"](read_pathvqa(path, answers))["accuracy"] == 1

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path.write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(InputError, match="not a pickle of plain values"):
        read_pathvqa(path, answers)
    assert not (tmp_path / "ran").exists()


def test_class_tables_and_report_folders(files, tmp_path):
    table = files("test_vila_fracture.csv", "0,a.jpg,yes,1,YES,NO,NO,x,y\n1,b.jpg,no,1,NO,NO,NO,x,y\n")
    assert MEASURES["chestxray14"](read_class_csv(table, "fracture", -5))["fracture"] == 1
    with pytest.raises(InputError, match="line 1"):
        read_class_csv(files("short.csv", "0,a"), "fracture", -5)
    files("gt/1.txt", "The lungs are clear.")
    files("gt/2.txt", "No effusion.")
    files("pred/1.txt", "The lungs are clear.")
    told = read_reports(tmp_path / "gt", tmp_path / "pred")
    assert [row.text is None for row in told] == [False, True]


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '[{"id": 1}]', '[{"id": 1, "conversations": [{"from": 1}]}]', "[" * 9999]
)
def test_broken_question_files_are_named(files, content):
    with pytest.raises(InputError, match=r"q\.json"):
        read_vqa(files("q.json", content), files("a.jsonl", ""))
