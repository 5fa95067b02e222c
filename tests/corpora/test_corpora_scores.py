"""Questions about radiographs that begin by asking the CXR expert, whose scores are on disk."""

import json

import published_files as files
import pytest

from attending.consult.published import Published, cards_text
from attending.consult.tools import Tools
from attending.corpora import read
from attending.corpora.expert_conversations import cards
from attending.corpora.scores import read_scores, score_images, with_scores
from attending.errors import InputError
from attending.experts import ExpertCard, ExpertError, Finding, Record

CARD = ExpertCard("CXR", ("DX",), (), "classification", "a stand-in", "none")


class Classifier:
    card = CARD

    def __init__(self, broken=False):
        self.broken, self.runs = broken, 0

    def available(self):
        return None

    def run(self, study, arguments):
        self.runs += 1
        if self.broken:
            raise ExpertError("no weights")
        return Finding("done", "x", Record(""), scores={"Edema": 0.51, "Pleural_Thickening": 0.49})


def said(conversation):
    return [message.content for message in conversation.messages]


@pytest.fixture
def plain(tmp_path):
    return read("mimic-cxr", files.mimic_cxr(tmp_path / "mimic"), views="PA,LATERAL")


def test_each_picture_is_scored_once_over_runs(tmp_path, plain):
    store, expert = tmp_path / "scores.jsonl", Classifier()
    assert score_images(plain, expert, store) == []
    assert expert.runs == 2
    assert score_images(plain, expert, store) == []
    assert expert.runs == 2
    assert read_scores(store)[str(plain.conversations[0].images[0])] == {"Edema": 0.51, "Pleural_Thickening": 0.49}


def test_pictures_without_a_result_are_told(tmp_path, plain):
    problems = score_images(plain, Classifier(broken=True), tmp_path / "scores.jsonl")
    assert len(problems) == 2
    assert "no weights" in str(problems[0])


def test_the_answer_is_the_datasets_and_the_form_the_published_one(tmp_path, plain):
    store = tmp_path / "scores.jsonl"
    score_images(plain, Classifier(), store)
    dataset = with_scores(plain, read_scores(store), Published())
    first, call, result, answer = said(dataset.conversations[0])
    assert first == f"{cards_text(cards())}<image>This is a CXR image.\nDescribe the image in detail."
    assert call == "This looks like an chest x-ray. Let me first trigger <CXR()>."
    assert result == (
        "The resulting predictions are:\nedema: yes\npleural thickening: no\n.Use this result to respond to this "
        "prompt:\nDescribe the image in detail."
    )
    assert answer == said(plain.conversations[0])[1]
    assert dataset.conversations[0].images == plain.conversations[0].images  # a path, not a decoded picture
    assert dataset.conversations[0].patient == plain.conversations[0].patient


def test_the_tools_form_tells_probabilities(tmp_path, plain):
    store = tmp_path / "scores.jsonl"
    score_images(plain, Classifier(), store)
    one = with_scores(plain, read_scores(store), Tools()).conversations[0]
    assert '"probabilities": {"Edema": 0.51, "Pleural_Thickening": 0.49}' in said(one)[3]


def test_what_has_no_scores_is_passed_over(tmp_path, plain):
    first = str(plain.conversations[0].images[0])
    dataset = with_scores(plain, {first: {"Edema": 0.2}}, Published())
    assert len(dataset.conversations) == 1
    assert dataset.counts["passed over: no scores of its picture"] == 1
    assert not dataset.problems


def test_by_name_with_follow_up_questions(tmp_path):
    files.picture(tmp_path / "a.png")
    turns = [("human", "<image>\nIs there edema?"), ("gpt", "yes"), ("human", "Sure?"), ("gpt", "Quite.")]
    rows = [{"id": "1", "image": "a.png", "conversations": [{"from": who, "value": text} for who, text in turns]}]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    (tmp_path / "scores.jsonl").write_text(
        json.dumps({"image": str(tmp_path / "a.png"), "scores": {"Edema": 0.9}}) + "\n"
    )
    dataset = read("expert-radiographs", tmp_path / "mine.json", scores=str(tmp_path / "scores.jsonl"))
    assert said(dataset.conversations[0])[-3:] == ["yes", "Sure?", "Quite."]
    assert "\n\n" not in said(dataset.conversations[0])[0].removeprefix(cards_text(cards()))  # the reference leaves one
    with pytest.raises(InputError, match="needs the file of scores"):
        read("expert-radiographs", tmp_path / "mine.json")


@pytest.mark.parametrize("line", ['{"image": "a"}', '{"image": "a", "scores": {"Edema": 1.5}}', "[]", '{"scores": {}}'])
def test_a_file_that_holds_no_scores_is_refused(tmp_path, line):
    (tmp_path / "scores.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="scores"):
        read_scores(tmp_path / "scores.jsonl")
