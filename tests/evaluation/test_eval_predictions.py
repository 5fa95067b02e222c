"""Prediction files made elsewhere: the published formats, files of another task, and what is missing."""

import csv
import json

import pytest
from eval_models import write_rad

from attending.errors import InputError
from attending.evaluation.predictions import read_predictions, score_predictions, score_published
from attending.evaluation.runner import Plan, Work
from attending.evaluation.sources import load_samples
from attending.evaluation.task import find_task


def work_of(tmp_path, name="vqa-rad", patients=6) -> Work:
    data = tmp_path / "rad"
    if not data.exists():
        write_rad(data, patients)
    task = find_task(name)
    plan = Plan(name, "elsewhere", tmp_path / "out", tmp_path / "cache", data)
    return Work(plan, task, load_samples(task, data, tmp_path / "cache"))


def truths(work) -> dict[str, str]:
    return {sample.id: sample.answer for sample in work.samples}


WRITERS = {
    "lines": lambda path, texts: path.with_suffix(".jsonl").write_text(
        "".join(json.dumps({"question_id": i, "text": t, "model_id": "x"}) + "\n" for i, t in texts.items())
    ),
    "list": lambda path, texts: path.with_suffix(".json").write_text(
        json.dumps([{"id": int(i), "prediction": t} for i, t in texts.items()])
    ),
    "table": lambda path, texts: path.with_suffix(".json").write_text(json.dumps(texts)),
    "csv": lambda path, texts: path.with_suffix(".csv").write_text(
        "qid,answer\n" + "".join(f"{i},{t}\n" for i, t in texts.items())
    ),
    "texts": lambda path, texts: [
        path.mkdir(exist_ok=True), *((path / f"{i}.txt").write_text(t) for i, t in texts.items())
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_same_score(tmp_path, form):
    work = work_of(tmp_path)
    WRITERS[form](tmp_path / "made", truths(work))
    (path,) = (one for one in tmp_path.iterdir() if one.stem == "made")
    told = score_predictions(work, path)
    assert [part["metrics"][part["headline"]]["value"] for part in told["parts"].values()] == [1, 1]
    assert set(told["parts"]["open"]["controls"]) == {"majority", "by_question"}


def test_a_missing_prediction_is_invalid_and_one_too_many_is_told(tmp_path):
    work = work_of(tmp_path)
    texts = truths(work)
    del texts["0"]
    path = tmp_path / "made.json"
    path.write_text(json.dumps(texts | {"9999": "yes"}))
    told = score_predictions(work, path)
    closed = told["parts"]["yes or no"]
    assert closed["samples"] == 6
    assert closed["metrics"]["accuracy"]["value"] == pytest.approx(5 / 6)
    assert closed["invalid"] == {"could not be asked": 1}
    assert told["errors"] == {"no prediction": 1}
    assert any("1 predictions are of no sample" in note and "9999" in note for note in told["notes"])


def test_a_file_of_another_task_is_refused(tmp_path):
    path = tmp_path / "made.json"
    path.write_text(json.dumps({f"chest-{n}": "yes" for n in range(20)} | {"0": "yes"}))
    with pytest.raises(InputError, match=r"20 of 21 predictions are of no sample of vqa-rad.*another task"):
        score_predictions(work_of(tmp_path), path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"question_id": 1, "text": "x"}\n{"question_id": 1, "text": "y"}\n', "line 2.*twice"),
        ("a.jsonl", '{"question_id": 1, "text": "x"}\n{"question_id": 2, "te', "line 2.*no JSON"),
        ("a.jsonl", '{"question_id": 1, "said": "x"}\n', "expected question_id or id.*found question_id, said"),
        ("a.jsonl", "[1]\n", "expected a table"),
        ("a.jsonl", "", "no predictions"),
        ("a.json", "3", "expected a list"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.csv", "name,what\nx,y\n", "line 2: expected"),
        ("a.pkl", "x", "expected .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_predictions(tmp_path / name)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("a.jsonl", "none.jsonl"):
        with pytest.raises(InputError):
            read_predictions(tmp_path / name)


def test_a_text_that_is_none_or_a_number_is_taken_as_written(tmp_path):
    (tmp_path / "a.json").write_text('{"0": null, "1": 3, "2": NaN}')
    assert read_predictions(tmp_path / "a.json") == {"0": "", "1": "3", "2": "nan"}


def test_the_published_protocol_keeps_its_bugs_and_ours_does_not(tmp_path):
    ours, theirs = work_of(tmp_path), work_of(tmp_path, "vqa-rad-reference")
    path = tmp_path / "made.json"
    path.write_text(json.dumps({id_: f"{text}." for id_, text in truths(ours).items()}))
    assert score_predictions(ours, path)["parts"]["yes or no"]["metrics"]["accuracy"]["value"] == 1
    told = score_predictions(theirs, tmp_path / "made.json") if len(theirs.samples) else None
    assert told["reference"] == {"accuracy": 0.0}  # "yes." is not "yes"
    assert told["parts"]["all"]["metrics"]["mean_score"]["value"] == 0


def test_published_questions_and_answers_are_enough(tmp_path):
    rows = [
        {
            "id": str(n),
            "image": "x.jpg",
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": a}],
        }
        for n, a in enumerate(["Yes", "no", "left"])
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    (tmp_path / "answers.jsonl").write_text(
        "\n".join(json.dumps({"question_id": str(n), "text": t}) for n, t in enumerate(["yes ", "no.", "LEFT"]))
    )
    told = score_published(find_task("slake-reference"), tmp_path / "answers.jsonl", tmp_path / "questions.json")
    assert told["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="--questions"):
        score_published(find_task("slake-reference"), tmp_path / "answers.jsonl", None)
    with pytest.raises(InputError, match="not of the reference protocol"):
        score_published(find_task("slake"), tmp_path / "answers.jsonl", None)


def test_the_published_tables_of_classes_hold_their_labels(tmp_path):
    for name, column in (("fracture", -5), ("pneumothorax", -4), ("lung_opacity", -3)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            for number, (answer, label) in enumerate([("yes", "YES"), ("No.", "NO"), ("yes", "NO"), ("no", "YES")]):
                row = [str(number), f"{number}.png", answer, "a", "b", "c", "d", "e"]
                row[column] = label
                csv.writer(file).writerow(row)
    told = score_published(find_task("chestxray14-3-reference"), tmp_path, None)
    assert told["f1"] == pytest.approx(0.5)
    with pytest.raises(InputError):
        score_published(find_task("chexpert-5-reference"), tmp_path, None)


def test_published_reports_are_two_folders(tmp_path):
    for name in ("true", "made"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("The lungs are clear. There is no pleural effusion.")
    told = score_published(find_task("mimic-cxr-report-reference"), tmp_path / "made", tmp_path / "true")
    assert told["BLEU_4"] == pytest.approx(1, abs=1e-6)


def test_where_the_published_script_would_stop_there_is_a_note_and_our_own_judgement(tmp_path):
    from eval_models import write_csv

    text = (
        "name: mine\nversion: 1\ntitle: t\nprotocol: reference\nmeasure: chexpert\ndataset: csv\n"
        "parts: {all: {parser: {kind: yes_no}, metrics: [accuracy]}}\n"
    )
    rows = [{"id": str(n), "question": "q", "answer": "yes", "question type": "Edema", "shade": "9"} for n in range(3)]
    data, path = write_csv(tmp_path / "d", text, rows)
    task = find_task(str(path))
    plan = Plan(str(path), "m", tmp_path / "out", tmp_path / "cache", data)
    work = Work(plan, task, load_samples(task, data, tmp_path))
    (tmp_path / "p.json").write_text('{"0": "yes", "1": "?", "2": "yes"}')
    told = score_predictions(work, tmp_path / "p.json")
    assert "reference" not in told
    assert any("the published measure has no number" in note for note in told["notes"])
    assert told["parts"]["all"]["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
