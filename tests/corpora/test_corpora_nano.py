"""What attending-nano learns from: answers follow the findings, calls are read as calls, wordings are kept apart."""

import re

import numpy as np
import pytest

from attending.consult.calls import tag_calls
from attending.consult.short import few
from attending.corpora import read
from attending.corpora.nano import Truth, Wordings, plans, side_of, unaided, wording
from attending.errors import InputError
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
            assert set(re.findall(r"{(\w+)}", text)) <= {"it", "its", "a"}
    for talk in wording()["talk"]:
        assert talk["reserved"]
        assert not set(talk["ask"]) & set(talk["reserved"])
    for table in (*wording()["structures"].values(), *wording()["findings"].values()):
        assert not set(table["said"]) & set(table["reserved"])


def test_the_structures_are_those_of_the_expert():
    assert list(wording()["structures"]) == list(TORSO_LABELS.values())


def test_every_call_is_read_as_the_call_that_it_is():
    for truth in (RICH, HEALTHY, Truth("MRI", {}), Truth("CXR", {}), Truth("CT and CXR", {})):
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
