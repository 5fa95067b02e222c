"""Report, scene graph and questions of many cases: each follows from the labels, in words its split may use."""

import itertools
import re
import string

import numpy as np
import pytest
from phantom_cases import LEAST, case

from attending.phantom import KINDS
from attending.phantom.finding import kinds_on
from attending.phantom.questions import TYPES
from attending.phantom.report import amount, describe, place_words, size_of
from attending.phantom.wording import banks, say, wording

SEEDS = {"train": (40, 41, 42), "validation": (900_001,), "test": (950_010, 950_011)}


def _made(kind, seed):
    return case(kind, seed, shape=LEAST[kind], drawn=True)


@pytest.fixture(scope="module", params=[(k, s) for k in LEAST for part in SEEDS.values() for s in part], ids=str)
def told(request):
    return _made(*request.param)


def present(made):
    """Kinds with at least one voxel in the label maps."""
    visit = made.visits[-1]
    array = visit.instances.array
    for number, finding in enumerate(visit.findings):
        mask = array[number] if made.kind == "cxr" else array == number + 1
        if mask.any():
            yield finding.kind


def by_type(made, type_):
    return [q for q in made.truth.questions if q["type"] == type_]


def test_presence_follows_from_the_labels(told):
    there = set(present(told))
    asked = {q["about"]: q["value"] for q in by_type(told, "presence")}
    assert {k for k, v in asked.items() if v == "yes"} == there
    assert set(asked) <= set(kinds_on(told.kind))
    for question in by_type(told, "presence"):
        if question["value"] == "yes":
            assert question["answer"].startswith("Yes")
        else:
            assert question["answer"].startswith("No")


def test_present_and_absent_are_asked_about_equally(told):
    values = [q["value"] for q in by_type(told, "presence")]
    there = set(present(told))
    absent = len(kinds_on(told.kind)) - len(there)
    assert values.count("no") == min(absent, max(1, len(there)))


def test_counts_follow_from_the_labels(told):
    kinds = list(present(told))
    for question in by_type(told, "count"):
        assert question["value"] == kinds.count(question["about"])
        number = "no" if question["value"] == 0 else str(question["value"])
        assert number in question["answer"].lower()


def test_sizes_are_those_measured(told):
    records = {r["kind"]: r for r in told.truth.visits[-1]["findings"]}
    for question in by_type(told, "diameter"):
        assert question["value"] == size_of(records[question["about"]])
        assert question["unit"] == "mm"
        assert f"{question['value']:.0f}" in question["answer"]
    for question in by_type(told, "volume"):
        assert question["value"] == records[question["about"]]["measurements"]["volume_ml"]
        assert question["unit"] == "mL"
        assert f"{question['value']:.1f}" in question["answer"]
    organs = {o["name"]: o["volume_ml"] for o in told.truth.visits[-1]["organs"] if told.kind == "ct"}
    for question in by_type(told, "organ volume"):
        assert question["value"] == organs[question["about"]]


def test_places_are_those_of_the_findings(told):
    records = {r["kind"]: r for r in told.truth.visits[-1]["findings"]}
    for question in by_type(told, "locate"):
        record = records[question["about"]]
        assert question["value"] == place_words(record)
        assert question["value"] in question["answer"]
        if record["side"]:
            assert record["side"] in question["value"]


def test_only_one_choice_is_right(told):
    names = {wording()["kind"][k]["one"] for k in present(told)}
    (question,) = by_type(told, "choice")
    right = question["choices"]["ABCDE".index(question["value"])]
    shown = [c for c in question["choices"] if c in names]
    assert shown == ([right] if names else [])
    assert question["choices"][-1] == "none of these"
    assert len(set(question["choices"])) == len(question["choices"])
    if not names:
        assert right == "none of these"


def test_what_is_absent_and_what_cannot_be_seen_has_no_value(told):
    there = set(present(told))
    for question in by_type(told, "absent"):
        assert question["value"] is None
        assert question["about"] not in there
        assert question["rests_on"] == [f"no {question['about']}"]
    unanswerable = by_type(told, "unanswerable")
    assert len(unanswerable) == 2
    for question in unanswerable:
        assert question["value"] is None
        assert question["rests_on"] == []
    outside = {"ct": ("skull", "brain", "knee", "wrist"), "mri": ("liver", "lungs", "knee", "kidneys"),
               "cxr": ("brain", "knee", "pancreas", "wrist")}[told.kind]  # fmt: skip
    assert any(word in unanswerable[1]["question"] for word in outside)


def test_an_ambiguous_finding_is_not_asked_about(told):
    """`The lesion` of several would be any of them."""
    kinds = list(present(told))
    for question in told.truth.questions:
        if question["type"] in ("describe", "locate", "diameter", "volume"):
            assert kinds.count(question["about"]) == 1


def test_questions_are_numbered_and_whole_sentences(told):
    questions = told.truth.questions
    assert [q["id"] for q in questions] == [f"q{i + 1}" for i in range(len(questions))]
    for question in questions:
        assert question["type"] in TYPES
        assert question["question"][0].isupper()
        assert question["question"][-1] in "?."
        assert "{" not in question["question"] + question["answer"]
        assert not re.search(r"\ba [aeiou]", question["question"])
        assert "  " not in question["question"] + question["answer"]


def test_reserved_wording_is_never_in_training(told):
    sources = [s for q in told.truth.questions for s in q["wording"]]
    if told.split == "test":
        assert any(".reserved." in s for s in sources)
    else:
        assert not any(".reserved." in s for s in sources)
        assert not any(q["reserved"] for q in told.truth.questions)


def test_reserved_sentences_are_never_in_a_training_report(told):
    if told.split == "test":
        return
    kept = [bank["reserved"] for name, bank in banks() if name.split(".")[0] in ("report", "negative", "change")]
    fixed = [re.split(r"\{[^}]*\}", phrase) for phrases in kept for phrase in phrases]
    for sentence in told.truth.report["findings"]:
        for parts in fixed:
            pattern = "^" + ".*".join(re.escape(p) for p in parts) + "$"
            assert not re.match(pattern, sentence["text"]), sentence["text"]


def test_every_finding_is_reported_once_and_none_else(told):
    report = told.truth.report
    ids = [f["id"] for f in told.truth.visits[-1]["findings"]]
    stated = [i for s in report["findings"] if not s["negative"] for i in s["rests_on"]]
    assert sorted(stated) == sorted(ids)
    concluded = [i for s in report["impression"] if not s["negative"] for i in s["rests_on"]]
    assert sorted(concluded) == sorted(ids)


def test_negatives_name_what_is_not_there(told):
    there = set(present(told))
    for sentence in told.truth.report["findings"]:
        if sentence["negative"]:
            (ground,) = sentence["rests_on"]
            assert ground.removeprefix("no ") in set(kinds_on(told.kind)) - there


def test_the_report_tells_the_numbers_of_the_truth(told):
    told_by = {i: s["text"] for s in told.truth.report["findings"] if not s["negative"] for i in s["rests_on"]}
    for record in told.truth.visits[-1]["findings"]:
        size = size_of(record)
        if size is not None:
            assert f"{size:.0f} mm" in told_by[record["id"]]


def test_certainty_follows_from_the_look_of_a_finding(told):
    records = {r["id"]: r for r in told.truth.visits[-1]["findings"]}
    for sentence in told.truth.report["impression"]:
        if sentence["negative"]:
            continue
        record = records[sentence["rests_on"][0]]
        sure, meaning = wording()["meaning"].get(record["kind"], {}).get(record["density"], ("definite", ""))
        assert sentence["certainty"] == sure
        assert meaning in sentence["text"]


def test_the_scene_graph_agrees_with_the_measurements(told):
    visit = told.truth.visits[-1]
    at = {f["id"]: f["measurements"]["centroid_ras_mm"] for f in visit["findings"]}
    nodes = {n["id"] for n in told.truth.scene["nodes"]}
    assert set(at) <= nodes
    edges = told.truth.scene["edges"]
    for start, relation, end in edges:
        if relation in ("right of", "left of"):
            assert (at[start][0] > at[end][0]) == (relation == "right of")
        if relation in ("above", "below"):
            assert (at[start][2] > at[end][2]) == (relation == "above")
    for finding in visit["findings"]:
        assert [finding["id"], "located in", " ".join(filter(None, (finding["side"], finding["place"])))] in edges
    for one, other in itertools.combinations(at, 2):
        if abs(at[one][2] - at[other][2]) > 16:
            assert any({e[0], e[2]} == {one, other} and e[1] in ("above", "below") for e in edges)


@pytest.mark.slow
@pytest.mark.parametrize("kind_", LEAST)
def test_many_more_cases_answer_as_their_labels_say(kind_):
    for seed in range(200, 240):
        made = _made(kind_, seed)
        test_presence_follows_from_the_labels(made)
        test_counts_follow_from_the_labels(made)
        test_only_one_choice_is_right(made)
        test_every_finding_is_reported_once_and_none_else(made)


# Words.

RECORD = {"kind": "liver lesion", "place": "segment V", "side": "", "density": "hypodense", "margin": "smooth",
          "measurements": {"longest_axial_diameter_mm": 22.6, "volume_ml": 5.25}}  # fmt: skip


def test_a_lesion_in_words():
    assert describe(RECORD) == "23 mm smooth hypodense liver lesion in the liver, segment V"
    assert amount(RECORD) == "23 mm"
    assert amount(None) == ""
    effusion = RECORD | {"kind": "effusion", "side": "left", "place": "pleural space", "density": "small"}
    assert describe(effusion) == "small pleural effusion in the left pleural space"
    assert amount(effusion) == "5 mL"


@pytest.mark.parametrize("kind_", KINDS)
def test_every_kind_has_words_for_all_that_is_said_of_it(kind_):
    words = wording()
    assert {"one", "many", "organ", "group"} <= words["kind"][kind_].keys()
    assert kind_ in words["report"]
    assert kind_ in words["negative"]
    for density in words["meaning"].get(kind_, {}):
        assert density in KINDS[kind_].densities


@pytest.mark.parametrize(("name", "bank"), banks(), ids=[name for name, _ in banks()])
def test_every_phrasing_can_be_filled_in(name, bank):
    known = {
        "one", "many", "study", "organ", "outside", "a", "description", "are", "count", "noun", "size", "volume",
        "where", "letter", "change", "sizes", "text", "place", "side", "density", "Density", "margin", "summary",
        "Summary", "meaning", "before",
    }  # fmt: skip
    for phrase in (*bank["train"], *bank["reserved"]):
        fields = {field for _, field, _, _ in string.Formatter().parse(phrase) if field is not None}
        assert fields <= known, name
        assert phrase.strip() == phrase


@pytest.mark.parametrize("split", ["train", "validation"])
def test_only_test_cases_draw_a_reserved_phrasing(split):
    rng = np.random.default_rng(3)
    drawn = [say(rng, "question", "body", split).reserved for _ in range(200)]
    assert not any(drawn)
    drawn = [say(rng, "question", "body", "test").reserved for _ in range(400)]
    assert 0.4 < np.mean(drawn) < 0.6
