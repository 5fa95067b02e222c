"""What attending-nano learns from: answers follow the findings, calls are read as calls, wordings are kept apart."""

import re

import numpy as np
import pytest

from attending.consult.calls import tag_calls
from attending.consult.short import few
from attending.corpora import read
from attending.corpora.nano import Truth, Wordings, plans, side_of, unaided, wording
from attending.errors import InputError
from attending.experts import Finding, Record
from attending.experts.embedded import TORSO_LABELS, embedded

CARDS = [expert.card for expert in embedded()]
SIZES = {"volume_ml": 12.3, "longest_axial_diameter_mm": 33.6, "perpendicular_diameter_mm": 20.0}
RICH = Truth(
    "CT",
    {"liver lesion": [{"kind": "liver lesion", "measurements": SIZES, "place": "segment II"}],
     "effusion": [{"kind": "effusion", "measurements": SIZES, "side": "left"}]},
    {"liver": 1300.0, "spleen": 180.0, "lungs": 3000.0},
)  # fmt: skip
HEALTHY = Truth("CT", {}, {"liver": 1300.0})


def drawn(truth, seed=0, reserved=False):
    return list(plans(truth, Wordings(np.random.default_rng(seed), reserved)))


@pytest.fixture(scope="module")
def made():
    return read("phantom-nano", None, "train", studies="mri,cxr,ct+cxr", cases=1, first=7)


def test_every_wording_has_a_place_for_what_it_is_about_and_reserved_ones_are_others():
    asked = wording()["ask"]
    for bank in (*asked.values(), *asked["elsewhere"].values()):
        train, reserved = bank.get("train", []), bank.get("reserved", [])
        assert not set(train) & set(reserved)
        for text in (*train, *reserved):
            assert set(re.findall(r"{(\w+)}", text)) <= {"it", "its", "a", "film"}
    for talk in wording()["talk"]:
        assert talk["reserved"]
        assert not set(talk["ask"]) & set(talk["reserved"])
    for table in (*wording()["structures"].values(), *wording()["findings"].values()):
        assert not set(table["said"]) & set(table["reserved"])


def test_the_structures_are_those_of_the_expert():
    assert list(wording()["structures"]) == list(TORSO_LABELS.values())


def test_every_call_is_read_as_the_call_that_it_is():
    for truth in (RICH, HEALTHY, Truth("MRI", {}), Truth("CXR", {}), Truth("CT and CXR", {}, {"liver": 1300.0})):
        for plan in drawn(truth):
            line = plan.says[0]([], [])
            called = {one.call.expert for one in tag_calls(line, CARDS) if not one.call.problem}
            assert " and ".join(sorted(called)) == plan.facts["calls"], line
            for one in tag_calls(line, CARDS):
                next(card for card in CARDS if card.name == one.call.expert).choose(one.call.arguments)


def test_answers_come_from_the_truth():
    facts = {(one.facts["type"], one.facts["about"]): one.facts for seed in range(5) for one in drawn(RICH, seed)}
    assert facts["presence", "liver lesion"]["answer"] == "yes"
    assert facts["presence", "lung nodule"]["answer"] == "no"
    assert facts["diameter", "liver lesion"]["answer"] == few(33.6)
    assert facts["count", "liver lesion"]["answer"] == "1"
    assert facts["side", "pleural effusion"]["answer"] == "left"
    assert facts["organ volume", "liver"]["answer"] == "1300"


def finding(expert, measurements=None, scores=None):
    return Finding("done", "", Record(expert), measurements=measurements or {}, scores=scores or {})


def test_a_question_asked_the_other_way_round_is_told_what_was_found_without_a_yes_or_no():
    for seed in range(12):
        plan = next(one for one in drawn(RICH, seed) if one.facts["type"] == "free")
        name = plan.facts["about"]
        assert plan.says[1]([finding("TORSO", {name: SIZES})], []) == f"TORSO found {name}: 12 mL, 34 mm."
        assert plan.says[1]([finding("TORSO")], []) == f"TORSO found no {name}."
    plan = next(one for one in drawn(Truth("MRI", {})) if one.facts["type"] == "free")
    sizes = {"whole tumor": {**SIZES, "side": "left"}}
    assert plan.says[1]([finding("BRAIN", sizes)], []) == "BRAIN found a tumor: 12 mL, 34 mm, left."
    assert plan.says[1]([finding("BRAIN")], []) == "BRAIN found no tumor."


def test_numbers_come_before_the_verdict_that_rests_on_them():
    both = Truth("CT and CXR", {}, {"liver": 1300.0})
    plan = next(one for one in drawn(both) if one.facts["type"] == "two experts")
    lesion, shadow = (text.partition(":")[0] for text in plan.facts["answer"].split("; "))
    told = [finding("TORSO", {lesion: SIZES}), finding("CHEST", scores={shadow.capitalize(): 0.93})]
    said = plan.says[1](told, [])
    assert said == f"TORSO found {lesion}: 12 mL, 34 mm. CHEST gives {shadow} 93%, so yes."


def test_what_is_there_is_asked_for_about_as_often_as_what_is_not():
    film = Truth("CXR", {}, shadows=frozenset(["effusion", "lung nodule", "edema", "fracture"]))
    asked = [plan.facts for plan in drawn(film) if plan.facts["type"] == "presence"]
    there = {one["about"] for one in asked if one["answer"] == "yes"}
    assert there == {"Effusion", "Nodule", "Edema", "Fracture"}
    kinds = [one["answer"] for one in asked]
    assert kinds.count("yes") >= 8
    assert 4 <= kinds.count("no") <= 5


def test_both_kidneys_are_measured_by_two_calls():
    plan = next(one for one in drawn(RICH) if one.facts["type"] == "two volumes")
    assert plan.says[0]([], []) == "<TORSO(right kidney)> <TORSO(left kidney)>"
    told = [finding("TORSO", {"right kidney": {"volume_ml": 151.2}}), finding("TORSO", {})]
    assert plan.says[1](told, []) == "right kidney: 151 mL; no left kidney."


def test_a_report_of_two_modalities_asks_both_experts_and_tells_of_both():
    both = Truth("CT and CXR", {}, {"liver": 1300.0})
    plan = next(one for one in drawn(both) if one.facts["type"] == "report")
    assert plan.says[0]([], []) == "<TORSO(lesions)> <CHEST()>"
    told = [finding("TORSO", {"liver lesion": SIZES}), finding("CHEST", scores={"Effusion": 0.9, "Nodule": 0.1})]
    assert plan.says[1](told, []) == "TORSO found liver lesion (12 mL). CHEST finds effusion (90%)."


def test_several_questions_follow_each_other_in_one_conversation():
    made = read("phantom-nano", None, "train", studies="cxr", cases=2, first=7, together=3)
    alone = read("phantom-nano", None, "train", studies="cxr", cases=2, first=7)
    assert len(made.conversations) < len(alone.conversations)
    for one in made.conversations:
        said = [message.content for message in one.messages]
        assert sum(text.count("<image>") for text in said[1:2]) == len(one.images) == 1
        assert not any("<image>" in text for text in said[2:])
        calls = [place for place, message in enumerate(one.messages) if message.content == "<CHEST()>"]
        for place in calls:  # each call has its own result, then an answer
            assert said[place + 1].startswith("CHEST: ")
            assert one.messages[place + 2].role == "assistant"
        assert one.facts["type"] != "missing" or len(said) == 3

    def asked(dataset):
        said = [message for one in dataset.conversations for message in one.messages if message.role == "user"]
        return sum(not message.content.startswith("CHEST: ") for message in said)

    assert asked(made) == asked(alone)


def test_pictures_that_look_like_no_phantom_come_with_a_word_on_what_made_them(made):
    films = [one for one in made.conversations if one.id.startswith("cxr-") and "/cxr-" in one.id]
    untold = {one.images[0].pixels.shape for one in films if "CXR image." not in one.messages[1].content}
    told = {one.images[0].pixels.shape for one in films if "CXR image." in one.messages[1].content}
    assert len(untold) == 1
    assert untold < told


def test_a_side_is_told_only_where_there_is_one():
    assert side_of({"side": "left"}) == "left"
    assert side_of({"place": "right upper lobe", "side": ""}) == "right"
    assert side_of({"place": "segment II"}) == ""


def test_reserved_wordings_are_never_those_of_training():
    known = {plan.question for seed in range(40) for plan in drawn(RICH, seed)}
    kept = {plan.question for seed in range(40) for plan in drawn(RICH, seed, reserved=True)}
    shared = known & kept
    assert not shared, shared


def test_without_experts_nothing_is_called_and_nothing_measured():
    for plan in drawn(RICH):
        alone = unaided(plan)
        if alone is None:
            continue
        text = alone.says[0]([], [])
        assert not tag_calls(text, CARDS)
        if plan.facts["type"] in ("count", "diameter", "volume", "organ volume"):
            assert text == wording()["say"]["unmeasured"]


def test_conversations_hold_what_the_experts_found(made):
    assert not made.problems
    ids = [one.id for one in made.conversations]
    assert len(ids) == len(set(ids)) == made.counts["conversations"]
    kinds = {one.facts["type"] for one in made.conversations}
    assert {"presence", "two experts", "missing", "modality", "unanswerable"} <= kinds
    for one in made.conversations:
        said = [message.content for message in one.messages]
        places = sum(text.count("<image>") for text in said)
        assert places == len(one.images) > 0
        assert said[0].startswith("Experts: <")
        if one.facts["type"] == "missing":
            assert len(one.messages) == 3
        numbers = set(re.findall(r"\d+(?:\.\d+)?", said[-1])) - {"2"}
        if one.facts["calls"] and one.facts["type"] not in ("count",):
            assert numbers <= set(re.findall(r"\d+(?:\.\d+)?", said[-2])), said[-2:]


def test_experts_that_nothing_asks_for_are_not_always_on_offer(made):
    offers = {}
    for one in made.conversations:
        named = set(re.findall(r"<(\w+)\(", one.messages[0].content))
        called = set(one.facts["calls"].split(" and ")) - {""}
        assert named
        assert called <= named
        offers.setdefault(bool(called), set()).add(frozenset(named))
    everything = frozenset(card.name for card in CARDS)
    assert everything in offers[True] & offers[False]
    assert any(len(some) == 1 for some in offers[True]), "an expert may be the only one"
    assert any(len(some) == 1 for some in offers[False])


def test_some_pictures_come_without_a_word_on_what_made_them(made):
    firsts = [one.messages[1].content for one in made.conversations if one.id.startswith("cxr")]
    told = ["CXR image." in text for text in firsts]
    assert any(told)
    assert not all(told)


def test_the_same_seed_makes_the_same(made):
    again = read("phantom-nano", None, "train", studies="cxr", cases=1, first=7)
    first = [one for one in made.conversations if one.id.startswith("cxr")]
    assert [one.messages for one in again.conversations] == [one.messages for one in first]


def test_an_unknown_study_is_named():
    with pytest.raises(InputError, match="expected some of ct, mri, cxr, ct\\+cxr"):
        read("phantom-nano", None, "train", studies="pet")
