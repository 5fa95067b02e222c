"""Controls: on each type of task a model that ignores the picture is exposed, and one that reads it is not."""

import numpy as np
import pytest
from eval_models import Scripted, write_csv, write_rad

from attending.evaluation.controls import blank, chosen, common_answers, donors
from attending.evaluation.results import evaluate
from attending.evaluation.runner import Plan, run
from attending.evaluation.sources import Sample
from attending.imaging import Picture

PLACES = ("left lung", "right lung")
REPORTS = ("There is a large right pleural effusion.", "The lungs are clear. No pleural effusion or pneumothorax.")


def bright(pictures) -> bool:
    return bool(pictures) and bool(pictures[-1].pixels.mean() > 127)


def level(pictures) -> int:
    """The grey of the last picture in steps of 20; 6 without one."""
    return round(pictures[-1].pixels.mean() / 20) if pictures else 6


# By type of task: the part, the fields of a row from its number, and what a reader answers.
TYPES = {
    "yes or no": (
        "parser: {kind: yes_no}, scorer: exact_match, metrics: [accuracy]",
        lambda n: {"answer": "yes" if n % 2 else "no", "shade": "200" if n % 2 else "40"},
        lambda pictures: "Yes." if bright(pictures) else "No.",
    ),
    "multiple choice": (
        "parser: {kind: option}, scorer: exact_match, metrics: [accuracy]",
        lambda n: {"answer": "AB"[n % 2], "option A": "dark", "option B": "bright", "shade": "200" if n % 2 else "40"},
        lambda pictures: "B" if bright(pictures) else "A",
    ),
    "number": (
        "parser: {kind: number, unit: mm}, scorer: within_10_percent, metrics: [mae]",
        lambda n: {"answer": str(3 + n % 7), "shade": str(20 * (3 + n % 7))},
        lambda pictures: f"{level(pictures)} mm",
    ),
    "open": (
        "scorer: token_f1, metrics: [mean_score]",
        lambda n: {"answer": PLACES[n % 2].split()[0], "shade": "200" if n % 2 else "40"},
        lambda pictures: PLACES[bright(pictures)].split()[0],
    ),
    "report": (
        "scorer: finding_f1, metrics: [mean_score, chexpert_micro_f1]",
        lambda n: {"answer": REPORTS[n % 2], "shade": "200" if n % 2 else "40"},
        lambda pictures: REPORTS[bright(pictures)],
    ),
    "pairs": (
        "parser: {kind: yes_no}, scorer: exact_match, metrics: [set_accuracy, accuracy]",
        lambda n: {"answer": "yes" if n % 2 else "no", "shade": "200" if n % 2 else "40", "set": str(n // 2)},
        lambda pictures: "Yes." if bright(pictures) else "No.",
    ),
}


def evaluated(tmp_path, kind, answer):
    part, row, _ = TYPES[kind]
    sets = "sets: set\n" if kind == "pairs" else ""
    head = 'name: mine\nversion: 1\ntitle: t\ndataset: csv\nprompt: "{question} {options}"\n'
    task = f"{head}{sets}parts: {{all: {{{part}}}}}\n"
    rows = [{"question": "What is it?", "patient": f"p{n}", **row(n)} for n in range(28)]
    data, path = write_csv(tmp_path / "data", task, rows)
    plan = Plan(str(path), "scripted", tmp_path / "out", tmp_path / "cache", data)
    return evaluate(run(plan, load=lambda where: Scripted(answer)))["parts"]["all"]


@pytest.mark.parametrize("kind", TYPES)
def test_a_model_that_ignores_the_picture_is_exposed(tmp_path, kind):
    _, _, reads = TYPES[kind]
    told = evaluated(tmp_path, kind, lambda question, pictures: reads([]))
    assert any("no difference that could be shown" in flag for flag in told["flags"])
    assert any("does as well as" in flag or "Text alone" in flag for flag in told["flags"])
    assert told["controls"]["shuffled"]["difference"] == 0


@pytest.mark.parametrize("kind", TYPES)
def test_a_model_that_reads_the_picture_is_not(tmp_path, kind):
    _, _, reads = TYPES[kind]
    told = evaluated(tmp_path, kind, lambda question, pictures: reads(pictures))
    assert told["flags"] == []
    headline = told["metrics"][told["headline"]]["value"]
    assert headline == pytest.approx(0 if kind == "number" else 1)
    for control in ("shuffled", "blank", "text_only", "majority"):
        assert told["controls"][control]["low"] > 0, control


def test_a_pair_is_right_only_when_both_are(tmp_path):
    told = evaluated(tmp_path, "pairs", lambda question, pictures: "Yes.")
    assert told["metrics"]["accuracy"]["value"] == 0.5
    assert told["metrics"]["set_accuracy"]["value"] == 0
    assert told["sets"]["confused"]["value"] == 1
    assert told["sets"]["sets"] == 14


def test_a_dataset_that_its_questions_solve_is_flagged(tmp_path):
    task = (
        "name: mine\nversion: 1\ntitle: t\ndataset: csv\nparts: {all: {parser: {kind: yes_no}, metrics: [accuracy]}}\n"
    )
    rows = [
        {"question": f"Is the {organ} there?", "answer": answer, "shade": str(n * 5), "patient": f"p{n}"}
        for n in range(24)
        for organ, answer in (("heart", "yes"), ("tail", "no"))
    ]
    data, path = write_csv(tmp_path / "data", task, rows)
    plan = Plan(str(path), "scripted", tmp_path / "out", tmp_path / "cache", data)

    def words(question, pictures):
        return "Yes." if "heart" in question else "No."

    told = evaluate(run(plan, load=lambda where: Scripted(words)))["parts"]["all"]
    assert sum("Text alone solves this" in flag for flag in told["flags"]) == 2  # the model's text, and the questions'
    assert told["controls"]["by_question"]["value"] == 1
    assert told["controls"]["majority"]["value"] == 0.5


def sample(number: int, answer: str, question: str = "Is it?", **more) -> Sample:
    return Sample(f"s{number}", "all", question, question, answer, f"p{number}", **more)


def test_lenders_have_other_images_and_where_asked_another_answer():
    samples = [sample(n, "yes" if n % 3 else "no") for n in range(30)]
    samples += [Sample(f"again{n}", "all", "Is it?", "Is it?", "yes", f"p{n}") for n in range(30)]
    shuffled = donors(samples, "shuffled")
    assert (shuffled >= 0).all()
    assert all(samples[i].patient != samples[j].patient for i, j in enumerate(shuffled))
    contrary = donors(samples, "expert_adversarial")
    assert all(samples[i].answer != samples[j].answer for i, j in enumerate(contrary) if j >= 0)
    assert (contrary >= 0).all()
    assert (donors(samples, "shuffled") == shuffled).all()


def test_nobody_lends_to_a_question_that_is_asked_once():
    samples = [sample(n, "yes", f"Is it {n}?") for n in range(5)]
    assert (donors(samples, "expert_shuffled") == -1).all()
    assert (donors(samples[:1], "shuffled") == -1).all()


def test_the_commonest_answer_is_by_question_where_it_is_asked_often():
    samples = [sample(n, "yes", "Is the heart there?") for n in range(12)]
    samples += [sample(n + 12, "no", "Is it upside down?") for n in range(20)]
    samples += [sample(50, "left", "Which side?")]
    assert set(common_answers(samples, by_question=False)) == {"no"}
    assert common_answers(samples, by_question=True) == ["yes"] * 12 + ["no"] * 21


def test_a_control_asks_the_same_samples_each_time():
    samples = [sample(n, "yes") for n in range(100)]
    assert chosen(samples, 0).all()
    assert chosen(samples, 30).sum() == 30
    later = [*samples[:50], *samples[50:]]
    assert (chosen(samples, 30) == chosen(later, 30)).all()


def test_a_blank_picture_has_the_size_and_nothing_else():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    shown = blank(Picture(pixels, spacing=(1.0, 2.0)))
    assert shown.pixels.shape == (5, 7, 3)
    assert shown.pixels.std() == 0
    assert shown.digest == blank(Picture(255 - pixels)).digest


def test_the_reader_of_the_tiny_set_is_right(tmp_path):
    from eval_models import reads

    plan = Plan("vqa-rad", "scripted", tmp_path / "out", tmp_path / "cache", write_rad(tmp_path / "rad", 16))
    told = evaluate(run(plan, load=lambda where: Scripted(reads)))
    assert [part["metrics"][part["headline"]]["value"] for part in told["parts"].values()] == [1, 1]
