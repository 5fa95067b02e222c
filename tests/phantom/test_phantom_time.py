"""Two visits: what is new, grown, stable, smaller or gone is so in pixels, labels, report and answers."""

import datetime

import numpy as np
import pytest
from phantom_cases import case, volume_ml

from attending.phantom import KINDS, Request
from attending.phantom.finding import CHANGES, at_visit, draw_findings

WISH = {
    "ct": "liver lesion:size=30,place=segment V",
    "mri": "brain tumor:size=40,side=left",
    "cxr": "effusion:size=90,side=left",
}
ANSWER = {"new": "new", "grown": "larger", "stable": "stable", "smaller": "smaller", "gone": "gone"}


SLOW = [pytest.param((k, c), marks=pytest.mark.slow) for k in ("ct", "cxr") for c in ("new", "stable", "smaller")]
QUICK = [("ct", "grown"), ("ct", "gone"), ("cxr", "grown"), ("cxr", "gone"), *(("mri", c) for c in CHANGES)]


@pytest.fixture(scope="module", params=[*QUICK, *SLOW], ids=str)
def seen_twice(request):
    kind, change = request.param
    shape = {"ct": (48, 48, 48), "mri": (48, 48, 48), "cxr": (128, 1, 128)}[kind]
    return change, case(kind, 11, f"{WISH[kind]},change={change}", visits=2, shape=shape)


def amounts(made):
    return [volume_ml(made, v.instances.array > 0) for v in made.visits]


def test_labels_change_as_the_word_says(seen_twice):
    change, made = seen_twice
    before, after = amounts(made)
    assert (before > 0, after > 0) == (change != "new", change != "gone")
    if change == "grown":
        assert after > 1.15 * before
    if change == "smaller":
        assert before > 1.15 * after
    if change == "stable":
        assert after == pytest.approx(before, rel=0.12)


def test_the_truth_tells_both_visits(seen_twice):
    change, made = seen_twice
    told = made.truth.visits
    assert [len(v["findings"]) for v in told] == [int(change != "new"), int(change != "gone")]
    assert [v["date"] for v in told] == sorted(v["date"] for v in told)
    days = datetime.date.fromisoformat(told[1]["date"]) - datetime.date.fromisoformat(told[0]["date"])
    assert 60 <= days.days < 380
    ids = {f["id"] for v in told for f in v["findings"]}
    assert ids == {f.id for f in made.findings} == {"f1"}


def test_the_question_is_answered_by_the_change(seen_twice):
    change, made = seen_twice
    (question,) = [q for q in made.truth.questions if q["type"] == "compare"]
    assert question["value"] == ANSWER[change]
    assert question["rests_on"] == ["f1", "prior"]
    words = ("gone", "no longer", "resolved") if change == "gone" else (ANSWER[change],)
    assert any(word in question["answer"] for word in words)


def test_the_report_compares_with_the_prior_date(seen_twice):
    change, made = seen_twice
    report = made.truth.report
    assert report["comparison"][0]["text"] == f"Compared with {made.visits[0].date.isoformat()}."
    assert report["comparison"][0]["rests_on"] == ["prior"]
    (sentence,) = [s for s in report["findings"] if "prior" in s["rests_on"]]
    told = {
        "new": ("new", "not there before"), "grown": ("grown", "increased", "Up from"),
        "stable": ("unchanged", "stable", "No interval"), "smaller": ("decreased", "smaller", "Down from"),
        "gone": ("gone", "no longer", "resolved"),
    }  # fmt: skip
    assert any(word in sentence["text"] for word in told[change])


def test_a_finding_that_is_gone_is_not_among_those_seen(seen_twice):
    change, made = seen_twice
    present = {
        q["value"] for q in made.truth.questions if q["type"] == "presence" and q["about"] == made.findings[0].kind
    }
    assert present <= {"no" if change == "gone" else "yes"}
    nodes = {n["id"] for n in made.truth.scene["nodes"]}
    assert ("f1" in nodes) == (change != "gone")
    if change == "gone":
        assert all(s["negative"] for s in made.truth.report["impression"])


def test_the_patient_is_the_same(seen_twice):
    _, made = seen_twice
    first, last = made.visits
    if made.kind == "cxr":
        return  # another pose: nothing lies at the same pixel
    here = (first.instances.array == 0) & (last.instances.array == 0)
    assert np.array_equal(first.labels.affine, last.labels.affine)
    assert (first.labels.array[here] == last.labels.array[here]).mean() > 0.999


def test_noise_is_drawn_anew(seen_twice):
    _, made = seen_twice
    for name, volume in made.visits[0].volumes.items():
        assert (volume.array != made.visits[1].volumes[name].array).mean() > 0.2


@pytest.mark.parametrize("kind_", KINDS)
def test_sizes_of_both_visits_can_be_drawn(kind_):
    low, high = KINDS[kind_].sizes
    study = KINDS[kind_].studies[0]
    for seed in range(40):
        for finding in draw_findings(seed, study, [Request(kind_)], 2):
            sizes = [f.size for visit in (0, 1) for f in at_visit([finding], visit, 2)]
            assert sizes
            assert all(low <= size <= high for size in sizes)
            assert len(sizes) == (1 if finding.change in ("new", "gone") else 2)
            if finding.change in ("grown", "smaller"):
                assert (sizes[1] > sizes[0]) == (finding.change == "grown")


def test_changes_are_drawn_about_equally_often():
    found = [draw_findings(seed, "ct", [Request("liver lesion")], 2)[0].change for seed in range(1000)]
    share = [found.count(change) / len(found) for change in CHANGES]
    assert min(share) > 0.15
    assert max(share) < 0.25


def test_one_visit_holds_no_change_and_the_same_finding_as_the_last_of_two():
    (once,), (twice,) = (
        draw_findings(9, "ct", [Request("liver lesion", change=c)], v) for c, v in ((None, 1), ("stable", 2))
    )
    assert (once.change, once.before) == ("", 0.0)
    assert (once.place, once.size, once.density, once.seed) == (twice.place, twice.size, twice.density, twice.seed)
    assert at_visit([twice], 0, 2)[0].change == ""
