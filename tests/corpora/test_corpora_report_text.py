"""Reports: sections, sentences, what one picture can answer for, and rewriting that is not believed blindly."""

import json

import published_files as files
import pytest

from attending.corpora import read
from attending.corpora.report_text import from_this_picture, rule_based, sections, sentences
from attending.corpora.rewrite import POOL, read_rewritten, refusal, rewrite
from attending.errors import InputError
from attending.model import Delta


class Backend:
    """Answers by a table; counts how often it is asked."""

    name = "stand-in"

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def session(self):
        return self

    def stream(self, messages, pictures=(), sampling=None, **more):
        sentence = messages[-1]["content"].rpartition("Sentence: ")[2]
        self.asked.append(sentence)
        yield Delta(self.answers.get(sentence, sentence), "stop")


def test_sections_are_joined_over_lines_and_known_by_other_names():
    found = sections(files.REPORT + "\n CONCLUSION: Stable.\n")
    assert found["FINDINGS"].startswith("There is no focal consolidation or pneumothorax. There is a 2.5 cm nodule in")
    assert found["IMPRESSION"] == "1. No acute process. Stable."
    assert sections("no headings at all") == {}


def test_a_decimal_point_and_a_title_end_no_sentence():
    text = "There is a 2.5 cm nodule. Seen by Dr. Smith today. 2. The heart is normal"
    assert sentences(text) == ["There is a 2.5 cm nodule.", "Seen by Dr. Smith today.", "The heart is normal."]


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("Compared to the prior study there is a 2.5 cm nodule.", "There is a 2.5 cm nodule."),
        ("Unchanged moderate right pleural effusion.", "Moderate right pleural effusion."),
        ("Again seen is a tortuous aorta.", "There is a tortuous aorta."),
        ("Stable cardiomegaly.", "Cardiomegaly."),
        ("The heart is again enlarged.", "The heart is enlarged."),
        ("The heart is mildly enlarged, similar to prior.", "The heart is mildly enlarged."),
        ("As compared to the previous radiograph, the lung volumes have decreased.", ""),
        ("No significant interval change.", ""),
        ("The cardiomediastinal silhouette is unchanged.", ""),
        ("Findings were telephoned to Dr. ___ at 3 pm.", ""),
        ("Recommend CT.", ""),
        ("Right PICC tip is in the SVC.", "Right PICC tip is in the SVC."),
        ("Possible small left effusion.", "Possible small left effusion."),
    ],
)
def test_what_one_picture_can_answer_for(sentence, kept):
    assert from_this_picture(sentence) == kept


def test_repeated_sentences_are_said_once():
    assert rule_based("No effusion. No effusion. Heart is normal.") == "No effusion. Heart is normal."


@pytest.mark.parametrize(
    ("sentence", "answer", "why"),
    [
        ("No pneumothorax is seen.", "There is no pneumothorax.", ""),
        ("No pneumothorax is seen.", "There is a pneumothorax.", "other findings or denials"),
        ("No pneumothorax is seen.", "There is no pneumothorax or pleural effusion.", "other findings or denials"),
        ("There is a 3 mm nodule.", "There is a nodule.", "other numbers"),
        ("Small left effusion.", "There is a small right pleural effusion.", "another side"),
        ("No pneumothorax is seen.", "Sure!\nThere is no pneumothorax.", "not one sentence"),
        ("No pneumothorax is seen.", "", "not one sentence"),
    ],
)
def test_an_answer_that_changes_what_is_said_is_refused(sentence, answer, why):
    assert refusal(sentence, answer) == why


def test_each_sentence_is_asked_about_once_over_runs(tmp_path):
    store = tmp_path / "sentences.jsonl"
    model = Backend({"No pneumothorax is seen.": "There is no pneumothorax.", "Clear.": "There is edema."})
    wanted = ["No pneumothorax is seen.", "Clear.", "No pneumothorax is seen.", "Heart ok here."]
    counts = rewrite(wanted, model, store)
    assert counts == {"held": 0, "pool": 1, "rewritten": 1, "kept": 1}
    assert len(model.asked) == 3
    rows = {row["sentence"]: row for row in map(json.loads, store.read_text().splitlines())}
    assert rows["Clear."]["text"] == "Clear."
    assert rows["Clear."]["why"] == "other findings or denials"
    with store.open("a") as file:
        file.write('{"sentence": "half wri')  # a killed run
    assert rewrite([*wanted, "New."], model, store) == {"held": 3, "pool": 0, "rewritten": 1, "kept": 0}
    assert len(model.asked) == 4
    assert set(read_rewritten(store)) == {*wanted, "New."}


def test_rewritten_sentences_are_used_by_the_reader(tmp_path):
    folder = files.mimic_cxr(tmp_path / "data")
    store = tmp_path / "sentences.jsonl"
    line = {"sentence": "The heart is mildly enlarged.", "text": "The heart is enlarged.", "how": "pool", "model": "m"}
    store.write_text(json.dumps(line) + "\n")
    answer = read("mimic-cxr", folder, text=str(store)).conversations[0].messages[1].content
    assert answer.endswith("nodule in the right upper lobe. The heart is enlarged.")
    store.write_text("[]\n{}\n")
    with pytest.raises(InputError, match="expected an object with sentence and text"):
        read("mimic-cxr", folder, text=str(store))


def test_the_pools_sentences_stand_for_themselves():
    assert [refusal(sentence, sentence) for sentence in POOL] == [""] * len(POOL)
    assert [from_this_picture(sentence) for sentence in POOL] == list(POOL)
