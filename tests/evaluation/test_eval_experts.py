"""Experts in an evaluation: examined once, with and without, and how far a model relies on them."""

from dataclasses import replace

import numpy as np
import pytest
from eval_models import Scripted, Shade, write_csv
from PIL import Image

from attending.evaluation.expert_cache import ExpertCache, study_digest
from attending.evaluation.reliance import CONFIDENCE
from attending.evaluation.results import evaluate
from attending.evaluation.runner import Plan, run
from attending.experts import Finding, Record, Segmentation
from attending.imaging import Picture, Volume, Window, open_study

CSV_TASK = """
name: shade
version: 1
title: t
dataset: csv
modality: CXR
controls: [shuffled, text_only, majority]
parts: {all: {parser: {kind: yes_no}, metrics: [accuracy]}}
"""


def shade_plan(tmp_path, expert, **more) -> Plan:
    """Eight pictures with two questions each."""
    rows = [
        {"image": f"{n}.png", "question": question, "answer": "yes" if n % 2 else "no",
         "shade": str(210 + n if n % 2 else 30 + n), "patient": f"p{n}", "about": "bright"}
        for n in range(8)
        for question in ("Is it bright?", "Would you call it bright?")
    ]  # fmt: skip
    data, task = write_csv(tmp_path / "data", CSV_TASK, rows)
    return Plan(str(task), "scripted", tmp_path / "out", tmp_path / "cache", data, (expert,), route=True, **more)


def listens(question: str, pictures: list[Picture]) -> str:
    """Believes the expert, else says no."""
    return "Yes." if '"bright": 0.8' in question else "No."


def test_an_expert_examines_each_study_once_whatever_is_asked_and_again_only_with_other_weights(tmp_path):
    expert = Shade()
    work = run(shade_plan(tmp_path, expert), load=lambda where: Scripted(listens))
    assert expert.runs == 8  # pictures: of 16 questions, each asked with its own picture and with another's
    told = evaluate(work)
    assert told["use"]["asked an expert"] == 16
    assert told["use"]["calls"] == {"SHADE done": 16}
    assert told["experts"] == ["SHADE"]
    part = told["parts"]["all"]
    assert part["metrics"]["accuracy"]["value"] == 1
    assert part["controls"]["no_experts"]["value"] == 0.5
    assert part["controls"]["no_experts"]["low"] > 0
    again = Shade()
    plan = shade_plan(tmp_path / "b", again)
    run(replace(plan, cache=tmp_path / "cache"), load=lambda where: Scripted(listens))
    assert again.runs == 1  # the same pictures in another folder: only the first call, which tells the weights


def test_a_broken_cache_is_computed_again(tmp_path):
    run(shade_plan(tmp_path, Shade()), load=lambda where: Scripted(listens))
    for path in (tmp_path / "cache" / "experts").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:50])
    expert = Shade()
    plan = replace(shade_plan(tmp_path / "b", expert), cache=tmp_path / "cache")
    told = evaluate(run(plan, load=lambda where: Scripted(listens)))
    assert told["parts"]["all"]["metrics"]["accuracy"]["value"] == 1
    assert expert.runs >= 8


def test_a_cached_finding_is_the_finding(tmp_path):
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    made = Finding(
        "done", "text <b>", Record("SHADE", "1", "w", {}, {"a": "b"}, 1.5, "cpu", {"x": [1, 2]}),
        Segmentation(Volume(np.ones((3, 4, 4), np.uint8), np.diag([1.0, 2, 3, 1]), "CT", "s"), {1: "liver"}),
        {"liver": {"volume_ml": 2.0, "box": [1, 2]}}, {"p": 0.25},
        (Picture(pixels, "s", "axial", 3, 1.5, Window(40, 400), (1.0, 2.0), (("liver", (1, 2, 3)),)),), ("a warning",),
    )  # fmt: skip
    Image.fromarray(pixels).save(tmp_path / "a.png")
    study = open_study(tmp_path / "a.png", modality="CXR")
    calls = []

    def once(*_, **__):
        calls.append(1)
        return made

    cache = ExpertCache(tmp_path / "cache", once)
    cache(Shade(), study)
    back = cache(Shade(), study)
    assert len(calls) == 1 == cache.reused
    assert back.to_dict() == {**made.to_dict(), "record": {**made.to_dict()["record"], "seconds": 0.0}}
    assert back.pictures[0].digest == made.pictures[0].digest
    assert back.pictures[0].legend == made.pictures[0].legend
    assert (back.segmentation.labels.array == made.segmentation.labels.array).all()
    assert (back.segmentation.labels.affine == made.segmentation.labels.affine).all()


def test_the_reference_prompt_with_an_expert_holds_its_lines(tmp_path):
    task = (
        CSV_TASK
        + 'protocol: reference\nmeasure: chestxray14\nexpert_prompt: "Look.\\n{findings}Question: {question}"\n'
    )
    data, path = write_csv(
        tmp_path / "d", task, [{"question": "Bright?", "answer": "yes", "shade": "200", "patient": "p"}]
    )
    seen = []

    def answer(question, pictures):
        seen.append(question)
        return "yes"

    plan = Plan(str(path), "m", tmp_path / "out", tmp_path / "cache", data, (Shade(),), controls=())
    run(plan, load=lambda where: Scripted(answer))
    assert any("Look.\n bright: yes\nQuestion: Bright?" in question for question in seen)
    assert any("Look." not in question for question in seen)  # without experts


def test_a_study_is_known_by_its_files_and_what_was_said_of_it(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / name)
    (tmp_path / "other").mkdir()
    (tmp_path / "b.png").rename(tmp_path / "other" / "a.png")
    here, there = (open_study(path, modality="CXR") for path in (tmp_path / "a.png", tmp_path / "other" / "a.png"))
    assert study_digest(here) == study_digest(there)
    assert study_digest(here) != study_digest(open_study(tmp_path / "a.png", modality="US"))


def test_experts_with_other_weights_are_asked_anew(tmp_path):
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "a.png")
    study = open_study(tmp_path / "a.png", modality="CXR")
    first, other = Shade(), Shade()
    ExpertCache(tmp_path / "cache")(first, study)
    made = other.run
    other.run = lambda study, arguments: replace(made(study, arguments), record=Record("", weights="w2", inputs={}))
    cache = ExpertCache(tmp_path / "cache")
    cache(other, study)
    cache(other, study)
    assert (other.runs, cache.computed, cache.reused) == (1, 1, 1)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2


def test_what_failed_is_not_kept_for_another_run(tmp_path):
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "a.png")
    study = open_study(tmp_path / "a.png", modality="US")  # which the card does not take
    cache = ExpertCache(tmp_path / "cache")
    assert cache(Shade(), study).status == "refused"
    assert not list((tmp_path / "cache").rglob("*.npz"))


def reliance(tmp_path, answer):
    plan = shade_plan(tmp_path, Shade(), audit=True, controls=())
    return evaluate(run(plan, load=lambda where: Scripted(answer)))["reliance"]["conditions"]


def test_a_model_that_believes_its_expert_follows_it_into_error(tmp_path):
    told = reliance(tmp_path, listens)
    assert told["expert_true"]["right"]["value"] == 1
    assert told["expert_true"]["follows"]["value"] == 1
    assert told["expert_adversarial"]["follows"]["value"] == 1
    assert told["expert_adversarial"]["right"]["value"] == 0
    assert told["expert_shuffled"]["follows"]["value"] == 1
    assert 0 < told["expert_shuffled"]["right"]["value"] < 1
    assert told["no_experts"]["right"]["value"] == 0.5
    assert told["expert_adversarial"]["switched"]["value"] == 0.5


def test_a_model_that_looks_for_itself_does_not(tmp_path):
    told = reliance(tmp_path, lambda question, pictures: "Yes." if pictures[0].pixels.mean() > 127 else "No.")
    assert told["expert_true"]["right"]["value"] == 1
    assert told["expert_adversarial"]["right"]["value"] == 1
    assert told["expert_adversarial"]["follows"]["value"] == 0
    assert told["expert_adversarial"]["switched"]["value"] == 0


def test_following_is_told_by_the_experts_confidence(tmp_path):
    by = reliance(tmp_path, listens)["expert_adversarial"]["by"]
    filled = {label for label, cell in by.items() if cell["samples"]}
    assert list(by) == list(CONFIDENCE)
    assert filled == {"0.8 to 0.9"}  # greys of 30 to 36 and 211 to 217 of 255
    assert sum(cell["samples"] for cell in by.values()) == 16


def test_without_a_result_nothing_is_followed(tmp_path):
    expert = Shade()
    expert.run = lambda study, arguments: (_ for _ in ()).throw(RuntimeError("it broke"))
    plan = replace(shade_plan(tmp_path, expert), audit=True, controls=())
    told = evaluate(run(plan, load=lambda where: Scripted(listens)))
    assert told["reliance"]["conditions"]["expert_true"]["follows"] is None
    assert "came without any expert's result" in told["reliance"]["notes"][0]
    assert told["use"]["calls"] == {"SHADE failed": 16}


def test_an_expert_that_is_not_there_stops_the_run_before_it_begins(tmp_path):
    from attending.errors import NotAvailableError

    expert = Shade()
    expert.available = lambda: "not installed"
    with pytest.raises(NotAvailableError, match="not installed"):
        run(shade_plan(tmp_path, expert), load=lambda where: Scripted(listens))
