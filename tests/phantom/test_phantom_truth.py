"""Truth: measurements equal those of the label volumes, and every sentence and answer follows from them."""

import json

import numpy as np
import pytest

from attending.phantom import generate
from attending.phantom.questions import TYPES, counts
from attending.phantom.wording import article, banks, reserved_share, say, wording


def test_truth_is_json(small):
    record = small.truth.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["seed"] == 3
    assert record["split"] == "train"


def test_brats_compartments_nest():
    case = generate("mri", 5, "A", findings=["brain tumor:size=50,density=necrotic"], shape=(64, 64, 64))
    found = case.truth.visits[0]["findings"][0]["measurements"]
    assert 0 < found["enhancing_tumor_ml"] < found["tumor_core_ml"] < found["whole_tumor_ml"]
    assert found["whole_tumor_ml"] == pytest.approx(found["volume_ml"], abs=0.01)


def test_cardiothoracic_ratio(small, healthy, kind):
    if kind != "cxr":
        pytest.skip("radiographs only")
    large, usual = (c.truth.visits[0]["facts"]["cardiothoracic_ratio"] for c in (small, healthy))
    assert large > 0.52 > usual > 0.35


def test_every_sentence_rests_on_something(small, kind):
    ids = {f["id"] for f in small.truth.visits[0]["findings"]}
    for section, sentences in small.truth.report.items():
        for sentence in sentences:
            assert sentence["rests_on"], section
            if section in ("findings", "impression"):
                assert sentence["negative"] or set(sentence["rests_on"]) - {"prior"} <= ids
            assert sentence["text"][0].isupper()
            assert sentence["text"].endswith(".")


def test_every_finding_is_reported_and_no_absent_one(small, healthy):
    told = {i for s in small.truth.report["findings"] for i in s["rests_on"] if not s["negative"]}
    assert told == {f["id"] for f in small.truth.visits[0]["findings"]}
    assert all(s["negative"] for part in ("findings", "impression") for s in healthy.truth.report[part])


def test_uncertain_words_follow_the_certainty():
    case = generate("ct", 6, "A", findings=["lung nodule:density=solid,size=20"], shape=(72, 72, 64))
    (sentence,) = case.truth.report["impression"]
    assert sentence["certainty"] == "possible"
    assert any(w in sentence["text"] for w in ("cannot be excluded", "may represent", "possible"))


def test_answers_follow_from_the_truth(small, kind):
    findings = small.truth.visits[0]["findings"]
    present = {f["kind"] for f in findings}
    seen = set()
    for q in small.truth.questions:
        seen.add(q["type"])
        if q["type"] == "presence":
            assert q["value"] == ("yes" if q["about"] in present else "no")
            assert q["answer"].lower().startswith(q["value"]) or q["value"] == "no"
        if q["type"] == "count":
            assert q["value"] == sum(f["kind"] == q["about"] for f in findings)
        if q["type"] == "diameter":
            (record,) = [f for f in findings if f["kind"] == q["about"]]
            assert q["value"] in record["measurements"].values()
            assert f"{q['value']:.0f}" in q["answer"]
        if q["type"] == "choice":
            right = q["choices"]["ABCDE".index(q["value"])]
            names = {wording()["kind"][p]["one"] for p in present} or {"none of these"}
            assert right in names
            assert len(names & set(q["choices"])) == 1
        if q["type"] in ("unanswerable", "absent"):
            assert q["value"] is None
        assert "{" not in q["question"] + q["answer"]
    assert {"open", "presence", "describe", "choice", "modality", "body", "absent", "unanswerable"} <= seen | {"absent"}
    assert seen <= set(TYPES)
    assert sum(counts(small.truth.questions).values()) == len(small.truth.questions)


def test_healthy_cases_answer_no(healthy):
    questions = healthy.truth.questions
    assert {q["value"] for q in questions if q["type"] == "presence"} == {"no"}
    (choice,) = [q for q in questions if q["type"] == "choice"]
    assert choice["choices"]["ABCDE".index(choice["value"])] == "none of these"


def test_visits_are_compared(two_visits):
    (question,) = [q for q in two_visits.truth.questions if q["type"] == "compare"]
    assert question["value"] == "larger"
    assert len(two_visits.truth.visits) == 2
    assert any("prior" in s["rests_on"] for s in two_visits.truth.report["findings"])


def test_reserved_wording_is_kept_from_training(small, two_visits):
    assert not any(q["reserved"] for q in small.truth.questions)
    words = [q for q in two_visits.truth.questions if q["reserved"]]
    assert words
    assert all(".reserved." in q["wording"][0] for q in words)
    assert 0.15 < reserved_share() < 0.4


def test_no_phrasing_is_in_both_parts():
    for name, bank in banks():
        assert bank["train"], name
        assert bank["reserved"], name
        if not name.startswith("answer") or len(bank["train"]) > 1:
            assert not set(bank["train"]) & set(bank["reserved"]), name


def test_training_draws_every_training_phrase_and_no_other():
    rng = np.random.default_rng(0)
    drawn = {say(rng, "question", "modality", "train").source for _ in range(200)}
    assert drawn == {f"question.modality.train.{i}" for i in range(3)}


def test_scene_graph_names_its_nodes(small):
    nodes = {n["id"] for n in small.truth.scene["nodes"]}
    findings = {f["id"] for f in small.truth.visits[0]["findings"]}
    assert findings <= nodes
    for start, relation, end in small.truth.scene["edges"]:
        assert start in findings
        if relation in ("above", "below", "right of", "left of"):
            assert end in findings


@pytest.mark.parametrize(("words", "right"), [("enlarged heart", "an"), ("lung nodule", "a")])
def test_articles(words, right):
    assert article(words) == right
