"""Tasks are read strictly, and every shipped one is sound."""

import pytest
from eval_models import write_rad

from attending.errors import InputError
from attending.evaluation.sources import load_samples
from attending.evaluation.task import Task, fill, find_task, read_task, task_names

MINIMAL = """
name: mine
version: 1
title: a task
dataset: csv
parts:
  all: {}
"""


def read(text: str) -> Task:
    return read_task(text.encode(), "mine.yaml")


def test_a_minimal_task_has_defaults():
    task = read(MINIMAL)
    assert (task.split, task.prompt, task.protocol, task.temperature) == ("test", "{question}", "attending", 0.0)
    assert task.parts["all"].metrics == ("mean_score",)
    assert len(task.digest) == 64


@pytest.mark.parametrize("name", task_names())
def test_every_shipped_task_is_sound(name):
    task = find_task(name)
    assert task.name == name
    assert task.source or task.dataset == "csv"
    assert (task.protocol == "reference") == name.endswith("-reference") == bool(task.measure)


def test_all_benchmarks_are_there_in_both_versions():
    both = {"vqa-rad", "slake", "path-vqa", "mimic-vqa", "chestxray14-3", "chexpert-5", "mimic-cxr-report"}
    assert {*both, *(f"{name}-reference" for name in both), "chestxray14-14", "chexpert-14"} <= set(task_names())
    assert {"phantom", "phantom-pairs", "multiple-choice", "image-pairs"} <= set(task_names())
    kinds = set(find_task("mimic-vqa").parts)
    assert all(
        any(part.startswith(kind) for part in kinds)
        for kind in ("abnormality", "presence", "view", "location", "level", "type")
    )


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ("promt: x", "promt", "did you mean prompt"),
        ("version: '1'", "version", "a whole number"),
        ("version: true", "version", "a whole number"),
        ("version: 0", "version", "1 or more"),
        ("name: Upper Case", "name", "small letters"),
        ("dataset: slakes", "dataset", "did you mean slake"),
        ("protocol: refrence", "protocol", "did you mean reference"),
        ("protocol: reference", "measure", "expected one of"),
        ("controls: [blanc]", "controls", "did you mean blank"),
        ("temperature: 3", "temperature", "0 to 2"),
        ("tokens: 0", "tokens", "1 or more"),
        ("subgroups: {a: b}", "subgroups", "a list of texts"),
        ("parts: {}", "parts", "at least one part"),
        ("parts: []", "parts", "a table of parts"),
        ("parts: {a: {scorrer: x}}", "parts.a", "did you mean scorer"),
        ("parts: {a: {scorer: exact_mach}}", "parts.a.scorer", "did you mean exact_match"),
        ("parts: {a: {metrics: [acuracy]}}", "parts.a.metrics", "did you mean accuracy"),
        ("parts: {a: {parser: {kind: yesno}}}", "parts.a.parser.kind", "did you mean yes_no"),
        ("parts: {a: {where: [x]}}", "parts.a.where", "a table"),
        ("prompt: [x]", "prompt", "a text"),
    ],
)
def test_a_mistake_is_refused_with_what_would_be_right(change, field, said):
    key = change.split(":")[0]
    kept = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(key))
    kept = kept.replace("  all: {}", "") if key == "parts" else kept
    with pytest.raises(InputError) as caught:
        read(f"{kept}\n{change}\n")
    assert field in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: !!python/object/apply:os.system ['true']", "a: [", "\ufffe", "x" * 10])
def test_what_is_no_task_is_refused(text):
    with pytest.raises(InputError):
        read(text)


def test_a_missing_key_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="title: is missing"):
        read(MINIMAL.replace("title: a task\n", ""))
    with pytest.raises(InputError, match="no such file"):
        find_task(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="did you mean slake"):
        find_task("slak")


def test_filling_a_prompt_happens_once_and_leaves_other_braces():
    assert (
        fill("{question} {unknown} {0}", {"question": "{options} {question}"}) == "{options} {question} {unknown} {0}"
    )


def test_parts_share_out_the_samples_and_prompts_are_those_of_the_protocol(tmp_path):
    folder = write_rad(tmp_path / "rad", 4)
    ours = load_samples(find_task("vqa-rad"), folder, tmp_path)
    assert dict(ours.counts) == {"yes or no": 4, "open": 4}
    assert ours[0].prompt == "Is the lung bright?\nAnswer yes or no."
    published = load_samples(find_task("vqa-rad-reference"), folder, tmp_path)
    wording = "\nIs the lung bright?\nAnswer with the option's letter from the given choices directly."
    assert [sample.prompt for sample in published] == [wording] * 4
    assert any("belong to no part" in note for note in published.notes)
