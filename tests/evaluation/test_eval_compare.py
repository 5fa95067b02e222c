"""Two runs compared on the same samples."""

import json

import pytest
from eval_models import Scripted, blind, reads, write_rad

from attending.errors import InputError
from attending.evaluation.compare import compare
from attending.evaluation.results import evaluate, fingerprint, read_results, write_results
from attending.evaluation.runner import Plan, run


def finished(tmp_path, name, answer, **more):
    """A folder as the command leaves it."""
    out = tmp_path / name
    plan = Plan("vqa-rad", name, out / "vqa-rad", tmp_path / "cache", tmp_path / "rad", controls=(), **more)
    work = run(plan, load=lambda where: Scripted(answer))
    write_results(out, {"vqa-rad": evaluate(work)}, name)
    return out


@pytest.fixture
def rad(tmp_path):
    return write_rad(tmp_path / "rad", 16)


def test_the_better_run_wins_by_what_it_alone_has_right(tmp_path, rad):
    told = compare(finished(tmp_path, "a", reads), finished(tmp_path, "b", blind))
    part = told["tasks"]["vqa-rad"]["yes or no"]
    assert (part["a"], part["b"], part["difference"]) == (1, 0.5, 0.5)
    assert part["low"] > 0
    assert part["p"] < 0.05
    assert (part["only a"], part["only b"], part["samples"]) == (8, 0, 16)


def test_a_run_equals_itself(tmp_path, rad):
    told = compare(finished(tmp_path, "a", reads), finished(tmp_path, "b", reads))["tasks"]["vqa-rad"]["open"]
    assert (told["difference"], told["p"]) == (0, 1)
    assert told["low"] == pytest.approx(-told["high"])  # that these never differed does not say that none ever will
    assert 0 < told["high"] < 0.5


def test_runs_of_other_data_or_tasks_are_not_compared(tmp_path, rad):
    a, b = finished(tmp_path, "a", reads), finished(tmp_path, "b", reads, limit=8)
    with pytest.raises(InputError, match="vqa-rad is another in the two runs"):
        compare(a, b)
    held = json.loads((b / "results.json").read_text())
    (b / "results.json").write_text(json.dumps({**held, "tasks": {"slake": held["tasks"]["vqa-rad"]}}))
    with pytest.raises(InputError, match="no task in common"):
        compare(a, b)


@pytest.mark.parametrize("text", ["", "[]", '{"layout": 99, "tasks": {}}', '{"layout": 1}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError):
        read_results(tmp_path)
    with pytest.raises(InputError, match="attending eval has written"):
        read_results(tmp_path / "none")


def test_results_say_what_was_run(tmp_path, rad):
    told = read_results(finished(tmp_path, "a", reads))
    assert told["versions"]["attending"]
    assert told["tasks"]["vqa-rad"]["digest"] and told["tasks"]["vqa-rad"]["data"]  # noqa: PT018
    assert told["tasks"]["vqa-rad"]["seeds"] == [0]


def test_a_model_folder_has_a_fingerprint_of_names_and_bytes(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = fingerprint(str(folder))["sha256"]
    assert fingerprint(str(folder))["sha256"] == first
    (folder / "config.json").write_text("{ }")
    assert fingerprint(str(folder))["sha256"] != first
    assert fingerprint("http://127.0.0.1/v1#m") == {}
