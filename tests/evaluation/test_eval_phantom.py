"""The phantom benchmark: held-out seeds, hospitals and wordings, references that are the truth, and pairs."""

import json

import pytest
from eval_models import Scripted, Shade

from attending.corpora import Conversation, turns
from attending.errors import InputError
from attending.evaluation.results import evaluate
from attending.evaluation.runner import Plan, run
from attending.evaluation.scoring import declines, reference_of, row_of
from attending.evaluation.sources import Sample, load_samples
from attending.evaluation.synthetic import paired, phantom_dataset
from attending.evaluation.task import Part, find_task, read_task
from attending.experts import Finding, Record
from attending.phantom import split_of

SMALL = b"""
name: small
version: 1
title: t
dataset: phantom-benchmark
options: {kinds: [cxr], cases: 2, styles: [C, D]}
controls: [blank, text_only]
parts:
  counting: {where: {type: [count]}, parser: {kind: number, unit: count}, metrics: [mean_score]}
  comparison: {where: {type: [compare]}, prompt: "{question} {options}", parser: {kind: option}, metrics: [accuracy]}
  declining: {where: {type: [unanswerable]}, scorer: declines}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two radiograph phantoms, and who was asked what."""
    root = tmp_path_factory.mktemp("phantom")
    (root / "t.yaml").write_bytes(SMALL)
    seen = []

    def answer(question, pictures):
        seen.append((question, len(pictures)))
        return "The images cannot tell." if "Answer" not in question else "1"

    plan = Plan(str(root / "t.yaml"), "m", root / "out", root / "cache")
    return run(plan, load=lambda where: Scripted(answer)), seen, root


def test_cases_are_of_held_out_seeds_hospitals_and_some_wordings(made):
    work, _, root = made
    truths = [json.loads(path.read_text()) for path in (root / "cache").rglob("truth.json")]
    assert len(truths) == 2
    assert all(split_of(truth["seed"]) == "test" for truth in truths)
    assert {truth["style"]["name"] for truth in truths} == {"C", "D"}
    assert {"known", "reserved"} == {sample.facts["wording"] for sample in work.samples}


def test_the_model_sees_no_label_file(made):
    work, _, _ = made
    folders = {path for sample in work.samples for path in sample.study}
    assert all(path.name == "dicom" for path in folders)
    assert not [file for path in folders for file in path.rglob("*") if "label" in file.name or "finding" in file.name]


def test_a_comparison_shows_both_visits_and_other_questions_one(made):
    work, seen, _ = made
    kinds = {sample.part: len(sample.study) for sample in work.samples}
    assert kinds["counting"] == kinds["declining"] == 1
    assert kinds.get("comparison", 2) == 2
    assert {count for question, count in seen if "new" in question and "stable" in question} <= {2, 0}
    assert {0, 1} <= {count for _, count in seen}


def test_references_are_the_truth_in_the_parsers_type(made):
    work, _, _ = made
    for sample in work.samples:
        reference = reference_of(work.task.parts[sample.part], sample)
        assert reference is not None
        assert isinstance(reference, float) == (sample.part == "counting")


def test_it_is_evaluated_like_any_other(made):
    work, _, _ = made
    told = evaluate(work)
    assert told["parts"]["declining"]["metrics"]["mean_score"]["value"] == 1
    assert told["parts"]["counting"]["metrics"]["mean_score"]["value"] < 1
    assert told["samples"]["answered"] == len(work.samples)


class Counting(Shade):
    """Finds the same in every study, whatever its greys."""

    def run(self, study, arguments):
        self.runs += 1
        record = Record("", weights="w1", inputs={series.id: "x" for series in study.series})
        return Finding("done", "seen", record, scores={"bright": 0.5})


def test_an_expert_examines_each_study_once_and_not_once_a_question(made):
    _, _, root = made
    expert = Counting()
    plan = Plan(str(root / "t.yaml"), "m", root / "experts", root / "cache", None, (expert,), route=True)
    work = run(plan, load=lambda where: Scripted(lambda question, pictures: "1"))
    studies = {sample.study[-1] for sample in work.samples}
    told = evaluate(work)["use"]
    assert len(work.samples) > 3 * len(studies)
    assert told["calls"] == {"SHADE done": len(work.samples)}
    assert expert.runs == len(studies) == 2


def test_a_second_task_finds_the_cases_made(made, tmp_path):
    _, _, root = made
    before = {path: path.stat().st_mtime_ns for path in (root / "cache").rglob("truth.json")}
    assert len(load_samples(read_task(SMALL, ""), None, root / "cache")) > 0
    assert {path: path.stat().st_mtime_ns for path in (root / "cache").rglob("truth.json")} == before


@pytest.mark.parametrize("change", [b"options: {kidns: [cxr]}", b"split: train"])
def test_options_it_does_not_have_are_refused(tmp_path, change):
    key = change.split(b":")[0]
    text = b"\n".join(line for line in SMALL.splitlines() if not line.startswith(key)) + b"\n" + change
    with pytest.raises(InputError):
        phantom_dataset(read_task(text, ""), tmp_path)


def presence(number: int, answer: str, about: str = "effusion") -> Conversation:
    facts = {"type": "presence", "kind": "cxr", "about": about, "answer": answer}
    return Conversation(f"c{number}/{about}", turns("Is there?", answer), (), f"p{number}", "phantom", "test", facts)


def test_pairs_are_of_two_patients_and_opposite_answers():
    found = paired([presence(1, "yes"), presence(2, "yes"), presence(3, "no"), presence(4, "no"), presence(5, "no")])
    assert len(found) == 4
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.facts["pair"] == second.facts["pair"]
        assert first.patient != second.patient
        assert {first.facts["answer"], second.facts["answer"]} == {"yes", "no"}
        assert first.messages[0] == second.messages[0]
    assert paired([presence(1, "yes"), presence(2, "no", "edema")]) == []
    assert paired([presence(1, "yes"), presence(1, "no")]) == []


PART = Part(scorer="declines")


@pytest.mark.parametrize(
    "text",
    ["That cannot be answered from this CT.", "The images do not show that.", "This radiograph alone cannot tell.",
     "I'm sorry, I can't determine that.", "The knee is not included."],
)  # fmt: skip
def test_declining_is_recognised(text):
    assert row_of(PART, Sample("a", "x", "q", "q", "cannot be answered"), text).score == 1


@pytest.mark.parametrize("text", ["120/80 mmHg.", "No.", "The knee is normal.", "There is no fracture.", ""])
def test_answering_what_cannot_be_known_is_not_declining(text):
    assert row_of(PART, Sample("a", "x", "q", "q", "cannot be answered"), text).score == 0


def test_every_answer_of_the_phantoms_that_declines_does(made):
    from attending.evaluation.parse import parse
    from attending.phantom.wording import wording

    bank = wording()["answer"]["unanswerable"]
    for text in (*bank["train"], *bank["reserved"]):
        assert declines(parse("text", text.format(study="CT")), None) == 1, text


def test_the_shipped_benchmark_covers_what_it_promises():
    task = find_task("phantom")
    assert set(task.parts) >= {
        "counting",
        "measuring mm",
        "measuring mL",
        "locating",
        "presence",
        "comparison",
        "unanswerable",
    }
    assert set(task.options["styles"]) == {"C", "D"}
