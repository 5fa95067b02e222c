"""`attending eval` as a user runs it, against a server that answers."""

import base64
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from eval_models import reads, write_rad
from PIL import Image

from attending.cli import main
from attending.imaging import Picture


class Handler(BaseHTTPRequestHandler):
    """Chat completions, streamed, by the scripted reader of pictures."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words, pictures = "", []
        for part in request["messages"][-1]["content"]:
            if isinstance(part, dict) and part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                pictures.append(Picture(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))))
            else:
                words += part["text"] if isinstance(part, dict) else part
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        common = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        choice = {"index": 0, "delta": {"content": reads(words, pictures)}, "finish_reason": "stop"}
        self.wfile.write(b"data: " + json.dumps({**common, "choices": [choice]}).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1#reader"
    running.shutdown()
    running.server_close()


@pytest.fixture
def attending(monkeypatch, capsys):
    """Run the command; gives exit code, stdout and stderr."""

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attending", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return int(caught.value.code or 0), told.out, told.err

    return command


@pytest.fixture(scope="module")
def rad(tmp_path_factory):
    return write_rad(tmp_path_factory.mktemp("data") / "rad", 8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, server, rad):
    """A finished run."""
    out = tmp_path_factory.mktemp("run")
    saved = sys.argv
    sys.argv = ["attending", "eval", "vqa-rad", "--model", server, "--data", str(rad), "--out", str(out), "--json"]
    with pytest.raises(SystemExit) as caught:
        main()
    sys.argv = saved
    assert not caught.value.code
    return out


def test_a_run_leaves_answers_results_and_report(finished, attending, server, rad):
    told = json.loads((finished / "results.json").read_text())
    part = told["tasks"]["vqa-rad"]["parts"]["yes or no"]
    assert part["metrics"]["accuracy"]["value"] == 1
    assert told["command"][:3] == ["attending", "eval", "vqa-rad"]
    assert told["model"]["name"] == server
    assert "<h2>vqa-rad" in (finished / "report.html").read_text()
    assert (finished / "vqa-rad" / "answers-0.jsonl").read_text().count("\n") == 16 * 4
    code, out, err = attending("eval", "run", "vqa-rad", "--model", server, "--data", rad, "--out", finished)
    assert code == 0  # goes on, where nothing is left, and prints the table
    assert "vqa-rad" in out
    assert "report.html" in err
    assert (finished / "vqa-rad" / "answers-0.jsonl").read_text().count("\n") == 16 * 4


def test_a_report_is_made_again_without_the_model(finished, attending):
    (finished / "report.html").unlink()
    code, out, _ = attending("eval", "report", finished, "--json")
    assert code == 0
    assert json.loads(out)["tasks"]["vqa-rad"]["samples"]["answered"] == 16
    assert (finished / "report.html").is_file()


def test_a_run_is_compared_with_itself(finished, attending):
    code, out, _ = attending("eval", "compare", finished, finished, "--json")
    assert code == 0
    assert json.loads(out)["tasks"]["vqa-rad"]["open"]["difference"] == 0
    assert attending("eval", "compare", finished, finished)[0] == 0


def test_predictions_are_scored(finished, attending, rad, tmp_path):
    texts = {str(n): "yes" for n in range(16)}
    (tmp_path / "made.json").write_text(json.dumps(texts))
    words = ("eval", "score", "vqa-rad", "--predictions", tmp_path / "made.json", "--data", rad)
    code, out, _ = attending(*words, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out)["tasks"]["vqa-rad"]["parts"]["yes or no"]["metrics"]["accuracy"]["value"] == 0.5
    assert (tmp_path / "out" / "report.html").is_file()
    code, out, _ = attending("eval", "score", "vqa-rad", "--predictions", tmp_path / "made.json")
    assert code == 3


def test_published_files_are_scored_without_the_data(attending, tmp_path):
    rows = [{"id": "1", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "yes"}]}]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    (tmp_path / "made.jsonl").write_text('{"question_id": "1", "text": "Yes"}')
    words = ("eval", "score", "vqa-rad-reference", "--predictions", tmp_path / "made.jsonl")
    code, out, _ = attending(*words, "--questions", tmp_path / "questions.json", "--json")
    assert (code, json.loads(out)) == (0, {"task": "vqa-rad-reference", "reference": {"accuracy": 1.0}})
    code, out, _ = attending(*words, "--questions", tmp_path / "questions.json")
    assert "1.0000" in out


def test_tasks_are_listed_and_shown(attending):
    code, out, _ = attending("eval", "list", "--json")
    assert code == 0
    assert {"phantom", "slake-reference"} <= {task["name"] for task in json.loads(out)["tasks"]}
    assert "chexpert-14" in attending("eval", "list")[1]
    code, out, _ = attending("eval", "show", "slake")
    assert json.loads(out)["options"] == {"language": "en"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("slak",), 3, "did you mean slake"),
        (("slake", "--modle", "x"), 2, ""),
        (("slake", "--seeds", "a"), 3, "whole numbers"),
        (("slake", "--controls", "blanc"), 3, "expected some of"),
        (("slake", "--engine", "spark"), 3, "local or ray"),
        (("slake", "slake"), 3, "given twice"),
        (("vqa-rad",), 3, "--data"),
        (("vqa-rad", "--data", "/nowhere"), 3, "/nowhere"),
    ],
)
def test_wrong_use_is_told_in_a_line(attending, tmp_path, words, code, said):
    found, _, err = attending("eval", *words, "--model", "http://127.0.0.1:9/v1#x", "--out", tmp_path / "out")
    assert found == code
    assert said in err


def test_a_server_that_is_not_there_and_no_model_end_with_their_codes(attending, rad, tmp_path):
    words = ("eval", "vqa-rad", "--data", rad)
    code, _, err = attending(*words, "--model", "http://127.0.0.1:9/v1#x", "--out", tmp_path / "a")
    assert (code, "cannot be reached" in err) == (4, True)
    assert attending(*words, "--model", tmp_path / "none", "--out", tmp_path / "b")[0] == 3
    code, _, err = attending(*words, "--model", "x", "--out", tmp_path / "c", "--engine", "ray")
    assert code == 4 or "expected a model folder" in err


def test_help_tells_the_commands(attending):
    code, out, _ = attending("eval", "--help")
    assert code == 0
    assert all(name in out for name in ("run", "list", "show", "compare", "report", "score"))
