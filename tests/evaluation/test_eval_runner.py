"""The runner: samples named and counted, answers kept, runs that go on, shards, and experts asked once."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from eval_models import Scripted, reader, reads, write_rad

from attending.corpora import Conversation, Dataset, turns
from attending.errors import InputError, NotAvailableError
from attending.evaluation.asking import Condition
from attending.evaluation.journal import entries
from attending.evaluation.results import evaluate, read_records
from attending.evaluation.runner import Plan, answered, reopen, run
from attending.evaluation.sources import load_samples, samples_of
from attending.evaluation.task import find_task, read_task

HERE = Path(__file__).parent


def plan_of(tmp_path, patients=10, **more) -> Plan:
    data = tmp_path / "rad"
    if not data.exists():
        write_rad(data, patients)
    return Plan("vqa-rad", "scripted", tmp_path / "out", tmp_path / "cache", data, **more)


def records(plan):
    return [told for path in sorted(plan.out.glob("answers-*.jsonl")) for told in entries(path)]


def keys(plan):
    return [(told["condition"], told["seed"], told["id"]) for told in records(plan)]


def test_every_sample_is_asked_once_under_every_condition(tmp_path):
    model = Scripted(reads)
    work = run(plan_of(tmp_path), load=lambda where: model)
    assert len(work.samples) == 20
    assert len(keys(work.plan)) == len(set(keys(work.plan))) == 20 * 4 == model.asked
    one = records(work.plan)[0]
    assert (one["id"], one["answer"], one["status"]) == ("0", "Yes.", "answered")
    assert len(one["pictures"]) == 1
    assert [told["pictures"] for told in records(work.plan) if told["condition"] == "text_only"] == [[]] * 20


def test_a_second_run_asks_nothing_and_a_new_seed_only_its_own(tmp_path):
    model = Scripted(reads)
    run(plan_of(tmp_path), load=lambda where: model)
    before = (tmp_path / "out" / "answers-0.jsonl").read_bytes()
    run(plan_of(tmp_path), load=lambda where: pytest.fail("the model was made though nothing is left to ask"))
    assert (tmp_path / "out" / "answers-0.jsonl").read_bytes() == before
    model.asked = 0
    work = run(plan_of(tmp_path, seeds=(0, 7)), load=lambda where: model)
    assert model.asked == 20
    told = evaluate(work)["parts"]["open"]
    assert told["seeds"]["values"] == [1.0, 1.0]
    assert told["seeds"]["spread"] == 0


def test_a_run_goes_on_from_a_torn_line(tmp_path):
    plan = plan_of(tmp_path)
    run(plan, load=lambda where: Scripted(reads))
    path = plan.out / "answers-0.jsonl"
    whole = sorted(keys(plan))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:33]) + lines[33][:40])
    model = Scripted(reads)
    run(plan, load=lambda where: model)
    assert sorted(keys(plan)) == whole
    assert model.asked == len(whole) - 33


def test_killed_at_any_moment_nothing_is_lost_or_asked_twice(tmp_path):
    write_rad(tmp_path / "rad", 20)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from eval_models import slow_reader\n"
        "from attending.evaluation.runner import Plan, run\n"
        "root = Path(sys.argv[2])\n"
        "plan = Plan('vqa-rad', 'm', root / 'out', root / 'cache', root / 'rad', controls=('blank',), batch=2)\n"
        "run(plan, load=slow_reader)\n"
    )
    path = tmp_path / "out" / "answers-0.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", program, str(HERE), str(tmp_path)], env=environment)
    try:
        wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 9, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    plan = Plan("vqa-rad", "m", tmp_path / "out", tmp_path / "cache", tmp_path / "rad", controls=("blank",))
    kept = path.read_bytes()
    assert 9 <= kept.count(b"\n") < 80
    model = Scripted(reads)
    run(plan, load=lambda where: model)
    assert len(keys(plan)) == len(set(keys(plan))) == 80
    assert path.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert model.asked == 80 - kept.count(b"\n")


def test_killed_within_a_batch_only_the_sample_in_flight_is_lost(tmp_path):
    """All 40 samples are one batch: the seventh never ends, and the six before it are on disk when the kill comes."""
    write_rad(tmp_path / "rad", 20)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from eval_models import stuck_reader\n"
        "from attending.evaluation.runner import Plan, run\n"
        "root = Path(sys.argv[2])\n"
        "plan = Plan('vqa-rad', 'm', root / 'out', root / 'cache', root / 'rad', controls=(), batch=40)\n"
        "run(plan, load=stuck_reader)\n"
    )
    path = tmp_path / "out" / "answers-0.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", program, str(HERE), str(tmp_path)], env=environment)
    try:
        wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 6, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.read_bytes().count(b"\n") == 6
    model = Scripted(reads)
    plan = Plan("vqa-rad", "m", tmp_path / "out", tmp_path / "cache", tmp_path / "rad", controls=())
    run(plan, load=lambda where: model)
    assert model.asked == 34
    assert len(keys(plan)) == len(set(keys(plan))) == 40


def test_an_answer_is_on_disk_before_the_next_of_its_batch_is_asked(tmp_path):
    plan = plan_of(tmp_path, controls=(), batch=8)
    there = []

    def answer(question, pictures):
        path = plan.out / "answers-0.jsonl"
        there.append(path.read_bytes().count(b"\n"))
        return reads(question, pictures)

    run(plan, load=lambda where: Scripted(answer))
    assert there == list(range(20))


def test_answers_stand_under_their_own_samples_in_whatever_order_they_come(tmp_path):
    plan = plan_of(tmp_path, controls=(), batch=20)

    def answer(question, pictures):
        return f"{question.splitlines()[-2][-30:]} {pictures[-1].digest[:16]}"

    run(plan, load=lambda where: Scripted(answer))
    for told in records(plan):
        assert told["answer"].endswith(told["pictures"][0])


def wait_for(there, process):
    """Until something is there; the process that makes it has died otherwise."""
    end = time.monotonic() + 600
    while not there():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end
        os.sched_yield()


@pytest.mark.slow  # two processes load the libraries
def test_shards_share_the_work_and_give_the_same_numbers(tmp_path):
    alone = evaluate(run(plan_of(tmp_path), load=reader))
    plan = Plan("vqa-rad", "scripted", tmp_path / "two", tmp_path / "cache", tmp_path / "rad")
    seen = []
    work = run(plan, 2, load=reader, tick=lambda done, total: seen.append((done, total)))
    assert len(keys(plan)) == len(set(keys(plan))) == 80
    assert len(list(plan.out.glob("answers-*.jsonl"))) == 2
    assert seen[-1] == (80, 80)
    together = evaluate(work)
    assert together["parts"] == alone["parts"] or [p["metrics"] for p in together["parts"].values()] == [
        p["metrics"] for p in alone["parts"].values()
    ]
    run(plan, 3, load=reader)  # another number of shards finds nothing to do
    assert len(keys(plan)) == 80


def no_server(where):
    raise NotAvailableError("the server is gone")


@pytest.mark.slow  # two processes load the libraries
def test_what_stops_a_shard_stops_the_run_with_its_reason(tmp_path):
    with pytest.raises(NotAvailableError, match="the server is gone"):
        run(plan_of(tmp_path), 2, load=no_server)


def test_a_server_that_goes_away_is_no_wrong_answer(tmp_path):
    def fails(question, pictures):
        raise NotAvailableError("http://x cannot be reached")

    with pytest.raises(NotAvailableError):
        run(plan_of(tmp_path), load=lambda where: Scripted(fails))
    assert records(plan_of(tmp_path)) == []


def test_a_missing_and_a_broken_image_are_named_and_stay_in_the_count(tmp_path):
    data = write_rad(tmp_path / "rad", 6)
    (data / "VQA_RAD Image Folder" / "synpic0.jpg").unlink()
    (data / "VQA_RAD Image Folder" / "synpic1.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    told = evaluate(run(plan_of(tmp_path), load=lambda where: Scripted(reads)))
    closed = told["parts"]["yes or no"]
    assert closed["samples"] == 6 + 2 - 1  # the reader's two unreadable rows count where the first part is
    assert closed["invalid"] == {"could not be asked": 3}
    assert closed["metrics"]["accuracy"]["value"] == pytest.approx(4 / 7)
    assert any("2 rows could not be read" in note and "synpic0" in note for note in told["notes"])
    assert any("synpic1" in reason for reason in told["errors"])
    assert told["parts"]["open"]["samples"] == 5


def test_an_empty_answer_is_invalid(tmp_path):
    told = evaluate(run(plan_of(tmp_path), load=lambda where: Scripted(lambda question, pictures: "  ")))
    assert told["parts"]["yes or no"]["invalid"] == {"empty": 10}
    assert told["parts"]["yes or no"]["metrics"]["invalid_rate"]["value"] == 1
    assert told["parts"]["open"]["metrics"]["mean_score"]["value"] == 0


def test_a_score_that_is_no_number_is_invalid(tmp_path, monkeypatch):
    from attending.evaluation import scoring

    monkeypatch.setitem(scoring.SCORERS, "exact_match", lambda parsed, reference: float("nan"))
    told = evaluate(run(plan_of(tmp_path), load=lambda where: Scripted(reads)))
    assert told["parts"]["yes or no"]["invalid"] == {"score is no number": 10}


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    run(plan_of(tmp_path), load=lambda where: Scripted(reads))
    with pytest.raises(InputError, match=r"another run.*choose another --out"):
        run(plan_of(tmp_path, route=True), load=lambda where: Scripted(reads))
    write_rad(tmp_path / "other", 4)
    other = Plan("vqa-rad", "scripted", tmp_path / "out", tmp_path / "cache", tmp_path / "other")
    with pytest.raises(InputError, match="samples is 8: this folder holds another run"):
        run(other, load=lambda where: Scripted(reads))
    (tmp_path / "out" / "run.json").write_text("[]")
    with pytest.raises(InputError, match="no description of a run"):
        run(plan_of(tmp_path), load=lambda where: Scripted(reads))


def test_a_run_is_reopened_as_it_was(tmp_path):
    work = run(plan_of(tmp_path, seeds=(3,), limit=6), load=lambda where: Scripted(reads))
    again = reopen(tmp_path / "out")
    assert again.plan == Plan(**{**work.plan.__dict__, "temperature": 0.0, "data": (tmp_path / "rad").absolute(),
                                 "cache": (tmp_path / "cache").absolute()})  # fmt: skip
    assert evaluate(again) == evaluate(work)
    with pytest.raises(InputError, match="attending eval has written"):
        reopen(tmp_path / "cache")


@pytest.mark.parametrize(
    "record",
    [
        {"i": 500, "id": "x", "condition": "main", "seed": 0},
        {"i": "a", "id": "x", "condition": "main", "seed": 0},
        {"id": "x"},
    ],
)
def test_a_record_that_fits_no_sample_is_refused(tmp_path, record):
    plan = plan_of(tmp_path)
    run(plan, load=lambda where: Scripted(reads))
    with (plan.out / "answers-0.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    with pytest.raises(InputError):
        answered(plan.out, [Condition("main")], 20)
    with pytest.raises(InputError):
        read_records(plan.out, 20)


def test_a_run_on_a_full_disk_stops_with_what_is_there_and_goes_on_when_there_is_room(tmp_path, monkeypatch):
    from attending.evaluation import journal

    plan = plan_of(tmp_path, controls=())
    room = 2500
    write = os.write

    def full(file, data):
        nonlocal room
        if not data.startswith(b'{"i":'):
            return write(file, data)
        taken = min(len(data), room)
        room -= taken
        return write(file, data[:taken])  # as a disk does: what fits is written

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(InputError, match=r"answers-0\.jsonl.*no space left.*the same command goes on from it"):
        run(plan, load=lambda where: Scripted(reads))
    kept = len(records(plan))
    assert 3 < kept < 20
    assert (plan.out / "answers-0.jsonl").read_bytes().endswith(b"}\n")
    monkeypatch.setattr(journal.os, "write", write)
    model = Scripted(reads)
    run(plan, load=lambda where: model)
    assert model.asked == 20 - kept
    assert len(set(keys(plan))) == 20


def test_the_same_record_twice_is_refused(tmp_path):
    plan = plan_of(tmp_path)
    run(plan, load=lambda where: Scripted(reads))
    path = plan.out / "answers-0.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(InputError, match="twice"):
        run(plan, load=lambda where: Scripted(reads))


TASK = read_task(b"name: m\nversion: 1\ntitle: t\ndataset: csv\nparts: {all: {parser: {kind: yes_no}}}\n", "")


def conversation(id_: str, split: str = "test") -> Conversation:
    return Conversation(id_, turns("Is it?", "yes"), (), f"patient {id_}", "mine", split)


def test_ids_that_are_there_twice_and_other_splits_are_refused():
    with pytest.raises(InputError, match=r"id is b.*twice"):
        samples_of(TASK, Dataset("mine", "test", [conversation("a"), conversation("b"), conversation("b")], {}))
    with pytest.raises(InputError, match="belongs to train"):
        samples_of(TASK, Dataset("mine", "test", [conversation("a"), conversation("b", "train")], {}))
    with pytest.raises(InputError, match="has no sample"):
        samples_of(TASK, Dataset("mine", "test", [], {}))


def test_a_broken_row_is_a_sample_that_cannot_be_asked():
    dataset = Dataset("mine", "test", [conversation("a")], {}, [InputError("no answer", field="row 2")])
    samples = samples_of(TASK, dataset)
    assert len(samples) == 2
    assert "row 2: no answer" in samples[1].problem
    assert "1 rows could not be read" in samples.notes[0]
    assert len(samples_of(TASK, dataset, limit=1)) == 1


def test_the_digest_tells_data_apart():
    one = samples_of(TASK, Dataset("mine", "test", [conversation("a")], {}))
    other = samples_of(TASK, Dataset("mine", "test", [conversation("c")], {}))
    assert one.digest != other.digest
    assert one.digest == samples_of(TASK, Dataset("mine", "test", [conversation("a")], {})).digest


def test_data_is_needed_and_may_lie_in_a_folder_of_several(tmp_path):
    with pytest.raises(InputError, match="--data"):
        load_samples(find_task("vqa-rad"), None, tmp_path)
    write_rad(tmp_path / "all" / "vqa-rad", 3)
    assert len(load_samples(find_task("vqa-rad"), tmp_path / "all", tmp_path)) == 6


@pytest.mark.slow  # starts a cluster
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_cluster_shares_the_work(tmp_path):
    write_rad(tmp_path / "rad", 6)
    program = (
        "import sys, ray\n"
        "from pathlib import Path\n"
        "from eval_models import reader\n"
        "from attending.evaluation.runner import Plan, run\n"
        "root = Path(sys.argv[1])\n"
        "ray.init(num_cpus=2, include_dashboard=False)\n"
        "plan = Plan('vqa-rad', 'm', root / 'out', root / 'cache', root / 'rad')\n"
        "run(plan, 2, load=reader, engine='ray')\n"
    )
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True, capture_output=True)
    plan = Plan("vqa-rad", "m", tmp_path / "out", tmp_path / "cache", tmp_path / "rad")
    assert len(list(plan.out.glob("answers-*.jsonl"))) == 2
    assert len(keys(plan)) == len(set(keys(plan))) == 48
