"""The report: one file, nothing in it runs or reaches out, and hostile text stays text."""

import json
import re
from html.parser import HTMLParser

import pytest
from eval_models import Scripted, write_csv

from attending.evaluation import figures
from attending.evaluation.figures import Bar
from attending.evaluation.report import number, render
from attending.evaluation.results import evaluate, read_results, write_results
from attending.evaluation.runner import Plan, run

HOSTILE = "<script>alert(1)</script><img src=http://evil/x onerror=alert(2)>\x1b[31m\u202e"
TASK = """
name: mine
version: 1
title: "<b>title</b>"
dataset: csv
subgroups: [sex]
classes: about
source: "<i>source</i>"
parts:
  "yes <u>or</u> no": {where: {kind: [closed]}, parser: {kind: yes_no}, metrics: [accuracy, macro_f1]}
  choice: {where: {kind: [choice]}, prompt: "{options}", parser: {kind: option}, metrics: [accuracy]}
  size: {parser: {kind: number, unit: mm}, scorer: within_10_percent, metrics: [mae]}
"""


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results and page of a run in which everything that can be hostile is."""
    tmp_path = tmp_path_factory.mktemp("report")
    rows = []
    for n in range(24):
        common = {
            "patient": f"p{n}",
            "sex": "FM"[n % 2],
            "about": HOSTILE[:30].replace("\x1b", ""),
            "shade": str(n * 10),
        }
        rows.append(
            {"question": f"Is it? {HOSTILE[:20]}", "answer": "yes" if n > 11 else "no", "kind": "closed", **common}
        )
        rows.append(
            {"question": "Which?", "answer": "B", "kind": "choice", "option A": "<a>", "option B": "b", **common}
        )
        rows.append({"question": "How large?", "answer": str(10 + n), "kind": "size", **common})
    data, task = write_csv(tmp_path / "data", TASK, rows)

    def answer(question, pictures):
        if "Is it" in question:
            return f"{'Yes' if pictures and pictures[0].pixels.mean() > 150 else 'No'}, 90% sure. {HOSTILE}"
        return f"B {HOSTILE}" if "<a>" in question else f"12 mm {HOSTILE}"

    plan = Plan(str(task), f"model {HOSTILE}", tmp_path / "out" / "mine", tmp_path / "cache", data, seeds=(0, 1))
    work = run(plan, load=lambda where: Scripted(answer))
    write_results(tmp_path / "out", {"mine": evaluate(work)}, plan.model, ["attending", HOSTILE])
    told = read_results(tmp_path / "out")
    return told, render(told, {"mine": work}), work


def test_hostile_text_stays_text(made):
    _, page, _ = made
    tags = Page(page).tags
    assert "script" not in {tag for tag, _ in tags}
    assert not [attrs for _, attrs in tags if any(name.startswith("on") for name in attrs)]
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in tags if tag == "img")
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;b&gt;title" in page
    assert "&lt;u&gt;or" in page


def test_nothing_comes_from_outside_and_the_policy_says_so(made):
    _, page, _ = made
    tags = Page(page).tags
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in tags}
    assert not [attrs for _, attrs in tags if "style" in attrs or "href" in attrs]
    (policy,) = [attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_it_holds_the_numbers_of_the_results(made):
    told, page, _ = made
    for part in told["tasks"]["mine"]["parts"].values():
        for metric, value in part["metrics"].items():
            assert f"<th>{metric}</th>" in page
            assert number(value["value"]) in page
    assert page.count("<svg") >= 6
    assert "Reference against answer" in page
    assert "Stated against observed probability" in page
    assert "mean of 2 seeds" in page
    assert told["model"]["name"] == f"model {HOSTILE}"


def test_examples_show_their_pictures_right_and_wrong(made):
    _, page, _ = made
    assert 'class="example right"' in page
    assert 'class="example wrong"' in page
    assert page.count("data:image/jpeg;base64,") >= 6


def test_without_the_data_it_has_no_pictures(made):
    told, _, _ = made
    assert "data:image" not in render(told, {})


def test_it_is_the_same_each_time(made):
    told, page, work = made
    assert render(json.loads(json.dumps(told)), {"mine": work}) == page


def test_a_value_without_bounds_and_one_that_is_none_are_drawn():
    drawn = figures.forest([Bar("a", 0.5, None, None), Bar("<b>", None, None, None, "group", "too few")], "t")
    assert "0.50" in drawn
    assert "too few" in drawn
    assert "&lt;b&gt;" in drawn
    assert "nan" not in drawn


def test_values_beyond_one_stretch_the_scale():
    drawn = figures.forest([Bar("a", 12.0, 3.0, 40.0)], "t")
    assert all(float(x) <= 520 for x in re.findall(r'(?:cx|x1|x2)="([\d.-]+)"', drawn))


def test_lines_and_empty_figures_are_drawn():
    assert "polyline" in figures.lines({"a": [Bar("x", 0.5, 0.2, 0.9), Bar("y", None, None, None)]}, ["x", "y"], "t")
    assert "<svg" in figures.forest([], "nothing")
    assert "<svg" in figures.reliability([], "nothing")


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0.126, "0.13"), (1234.5, "1234"), (-0.004, "-0.00"), ("x", "-")]
)
def test_numbers_for_people(value, said):
    assert number(value) == said
