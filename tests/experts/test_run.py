"""Whatever an expert does, a call ends in a finding, and only a sound one is done (faults 19 and 30)."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from bundles import oblique, series_of, study_of
from standins import CARD, StandIn, finding, hang

from attending.errors import InputError
from attending.experts import ExpertCard, ExpertError, Record, fit, run_expert, step
from attending.imaging import Patient


def ct(name="one", **facts):
    values = np.random.default_rng(0).integers(-1000, 1000, (10, 12, 8)).astype(np.int16)
    return series_of(values, oblique(), name=name, **({"body_part": "CHEST"} | facts))


@pytest.fixture
def study():
    return study_of(ct())


def test_a_sound_finding_is_done_and_records_what_ran_on_what(study):
    expert = StandIn(finding)
    found = run_expert(expert, study, {"what": "lesion"})
    assert found.status == "done"
    assert expert.seen == [{"what": "lesion"}]
    record = found.record
    assert (record.expert, record.arguments, list(record.inputs)) == ("STANDIN", {"what": "lesion"}, ["one"])
    assert record.seconds >= 0
    assert found.segmentation.present == (1,)
    assert found.segmentation.colors == {1: (255, 0, 0)}
    told = json.loads(json.dumps(found.to_dict()))
    assert {"expert", "arguments", "status", "text", "measurements", "scores"} <= told.keys()
    assert told["labels"] == {"1": "box"}


def test_arguments_not_given_get_their_defaults(study):
    assert run_expert(StandIn(finding), study).record.arguments == {"what": "all"}


@pytest.mark.parametrize(
    "arguments",
    [{"what": "../../etc/passwd"}, {"what": "http://127.0.0.1"}, {"path": "x"}, {"what": 3}, {"what": ["all"]}],
)
def test_only_what_the_card_lists_passes_as_an_argument(study, arguments):
    expert = StandIn(finding)
    found = run_expert(expert, study, arguments)
    assert found.status == "refused"
    assert "STANDIN takes" in found.text
    assert expert.seen == []


def _raise(error):
    def answer(study):
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (_raise(ExpertError("too noisy to tell")), "STANDIN: too noisy to tell"),
        (_raise(InputError("is cut short", path="a.dcm")), "a.dcm: is cut short"),
        (_raise(ValueError("secret /home/x")), "it broke (ValueError)"),
        (_raise(MemoryError()), "not enough memory"),
        (lambda study: None, "returned no finding"),
        (lambda study: finding(study, status="failed"), "returned no finding"),
        (lambda study: finding(study, text="  "), "empty finding"),
        (lambda study: finding(study, segmentation=None), "empty finding"),
        (lambda study: finding(study, scores={"a": float("nan")}), "a probability that is none"),
        (lambda study: finding(study, scores={"a": 1.5}), "a probability that is none"),
        (lambda study: finding(study, measurements={"box": {"mm": [1.0, float("inf")]}}), "that is no number"),
        (lambda study: finding(study, array=np.zeros((3, 3, 3), np.uint8)), "not on the grid"),
        (lambda study: finding(study, affine=np.eye(4)), "not on the grid"),
        (lambda study: finding(study, array=np.zeros((10, 12, 8), np.float32)), "wrong shape or type"),
        (lambda study: finding(study, array=np.zeros((1, 10, 12, 8), np.uint8)), "wrong shape or type"),
        (lambda study: finding(study, record=Record("")), "not on the grid"),
    ],
)
def test_an_expert_that_raises_or_returns_what_cannot_be_has_failed(study, answer, says):
    found = run_expert(StandIn(answer), study)
    assert found.status == "failed"
    assert says in found.text
    assert "secret" not in found.text
    assert found.segmentation is None
    assert not found.scores
    assert not found.measurements
    assert run_expert(StandIn(finding), study).status == "done"  # the next call works


def test_an_empty_mask_is_a_result(study):
    found = run_expert(StandIn(lambda s: finding(s, array=np.zeros((10, 12, 8), np.uint8))), study)
    assert found.status == "done"
    assert found.segmentation.present == ()


def test_an_expert_that_hangs_has_failed_and_what_it_returns_later_is_dropped(study):
    release = threading.Event()
    found = run_expert(StandIn(hang(release)), study, seconds=0.05)
    release.set()
    assert (found.status, found.text) == ("failed", "STANDIN: took longer than its 0.05 seconds")


def test_an_expert_that_reports_its_steps_is_watched_and_stopped(study):
    seen, stopped = [], threading.Event()

    def answer(study):
        try:
            for number in range(10**9):
                step(number, 10**9)
        except ExpertError:
            stopped.set()
            raise

    found = run_expert(StandIn(answer), study, seconds=0.05, progress=lambda done, total: seen.append(done))
    assert "took longer" in found.text
    assert stopped.wait(10)
    assert seen[:3] == [0, 1, 2]


def test_steps_outside_a_run_are_nobodys_business():
    step(1, 2)


def test_an_expert_that_is_not_available_has_failed_with_what_to_do(study):
    found = run_expert(StandIn(finding, missing="no bundle; run: attending experts pull standin"), study)
    assert found.status == "failed"
    assert "attending experts pull standin" in found.text


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ([ct(modality="DX")], "examines CT; the study holds: DX"),
        ([ct(modality=None)], "the study holds: unknown"),
        ([ct(body_part="KNEE")], "examines chest or abdomen; the images are of: knee"),
        ([ct("a"), ct("b", patient=Patient("2"))], "2 patients"),
        ([], "the study holds: nothing"),
    ],
)
def test_an_expert_that_does_not_fit_refuses_with_the_reason(series, says):
    expert = StandIn(finding)
    found = run_expert(expert, study_of(*series))
    assert found.status == "refused"
    assert says in found.text
    assert expert.seen == []


def test_series_text_that_steers_terminals_or_models_is_shown_as_it_is():
    found = run_expert(StandIn(finding), study_of(ct(body_part="KNEE\x1b[31m‮")))
    assert "\x1b" not in found.text
    assert "‮" not in found.text


@pytest.mark.parametrize("part", ["CHEST", "chest ", "CHESTABDPELVIS", "WHOLEBODY", "ABDOMEN"])
def test_body_parts_that_hold_the_one_wanted_fit(part):
    assert fit(CARD, study_of(ct(body_part=part)))[1] == []


def test_an_unknown_body_part_fits_with_a_warning():
    (series,), warnings = fit(CARD, study_of(ct(body_part="")))
    assert series.id == "one"
    assert "do not say which body part" in warnings[0]


def test_of_several_series_the_largest_is_examined_and_said_so():
    small, large = ct("small"), ct("large")
    large.shape = (20, 20, 20)
    (series,), warnings = fit(CARD, study_of(small, large))
    assert series is large
    assert "2 series fit STANDIN" in warnings[0]


def test_warnings_of_the_series_come_along():
    _, warnings = fit(CARD, study_of(ct(warnings=["spacing varies"])))
    assert warnings == ["one: spacing varies"]


BRAIN = replace(CARD, modality=("MR",), body_part=("HEAD", "BRAIN"), sequences=("t1ce", "t1", "t2", "flair"))


def mr(role, name=None, **facts):
    return ct(name or role, modality="MR", sequence=role, **({"body_part": "BRAIN"} | facts))


def test_sequences_come_in_the_order_of_the_card():
    used, _ = fit(BRAIN, study_of(mr("flair"), mr("t1"), mr("t2"), mr("t1ce")))
    assert [series.sequence for series in used] == ["t1ce", "t1", "t2", "flair"]


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ([mr("t1"), mr("t2"), mr("flair")], "missing: t1ce"),
        ([mr("t1"), mr("t2"), mr("flair"), mr("t1ce", body_part="KNEE")], "missing: t1ce"),
        ([mr("t1"), mr("t1", "other"), mr("t2"), mr("flair"), mr("t1ce")], "fits two series"),
    ],
)
def test_a_sequence_that_is_missing_or_doubtful_is_named(series, says):
    found = run_expert(StandIn(finding, BRAIN), study_of(*series))
    assert found.status == "refused"
    assert says in found.text


def test_a_flat_image_is_no_volume():
    card = ExpertCard("A", ("CT",), (), "segmentation", "", "")
    flat = ct()
    flat.shape = (10, 12, 1)
    assert "at least 4 slices" in run_expert(StandIn(finding, card), study_of(flat)).text
    flat.kind = "image"
    assert "examines a volume" in run_expert(StandIn(finding, card), study_of(flat)).text


def test_two_experts_may_load_their_libraries_at_once() -> None:
    """In a new process, whose first question asks two of them, as every first question about two modalities does."""
    code = """
import importlib, threading
from attending.experts import embedded
torso, brain, chest = embedded()
gate, broken = threading.Barrier(2), []
def load(how):
    gate.wait()
    try:
        how()
    except BaseException as error:
        broken.append(repr(error))
ways = [lambda: importlib.import_module("attending.experts.segment"), lambda: chest.bundle.network()]
threads = [threading.Thread(target=load, args=(way,)) for way in ways]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(broken)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
