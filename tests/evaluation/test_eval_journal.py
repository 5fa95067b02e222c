"""Answers on disk: whole lines, repaired after a kill, one writer, a full disk."""

import resource
import signal

import pytest

from attending.errors import InputError
from attending.evaluation.journal import Journal, entries, write_whole


def test_a_torn_last_line_is_cut_and_the_rest_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.write({"i": 0})
        journal.write({"i": 1})
    path.write_bytes(path.read_bytes() + b'{"i": 2, "answ')
    assert [told["i"] for told in entries(path)] == [0, 1]
    with Journal(path) as journal:
        journal.write({"i": 2})
    assert [told["i"] for told in entries(path)] == [0, 1, 2]


def test_a_file_of_one_torn_line_becomes_empty(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 200_000)
    with Journal(path):
        pass
    assert path.read_bytes() == b""


def test_two_runs_cannot_write_the_same_file(tmp_path):
    with Journal(tmp_path / "a.jsonl"), pytest.raises(InputError, match="another run is writing here"):
        Journal(tmp_path / "a.jsonl")
    Journal(tmp_path / "a.jsonl").__exit__(None, None, None)


@pytest.fixture
def small_files():
    """Files can grow to 1000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_loses_only_the_record_in_flight(tmp_path, small_files):
    path = tmp_path / "a.jsonl"

    def fill() -> None:
        with Journal(path) as journal:
            for number in range(100):
                journal.write({"i": number, "answer": "x" * 90})

    with pytest.raises(InputError, match=r"cannot be written.*goes on from it"):
        fill()
    kept = [told["i"] for told in entries(path)]
    assert kept == list(range(len(kept)))
    assert len(kept) >= 5
    assert path.read_bytes().endswith(b"\n")


def test_a_whole_file_is_there_whole_or_as_it_was(tmp_path, small_files):
    path = tmp_path / "results.json"
    write_whole(path, "first")
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(path, "y" * 5000)
    assert path.read_text() == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"\n", b"[" * 100_000 + b"\n"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"i": 0}\n' + line)
    with pytest.raises(InputError, match="line 2"):
        list(entries(path))


def test_numbers_that_json_does_not_have_are_not_written(tmp_path):
    with Journal(tmp_path / "a.jsonl") as journal, pytest.raises(ValueError, match="JSON"):
        journal.write({"score": float("nan")})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        Journal(tmp_path / "file" / "a.jsonl")
