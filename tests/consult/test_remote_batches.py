"""Many questions to a model behind a URL: several at once, and each with the answer of its own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from attending.consult import Attending, Case
from attending.errors import InputError, NotAvailableError
from attending.model import RemoteModel

LIMIT = RemoteModel.at_once


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = request["messages"][-1]["content"]
        question = content if isinstance(content, str) else content[-1]["text"]
        with self.server.lock:
            self.server.together += 1
            self.server.most = max(self.server.most, self.server.together)
        status, words = self.server.answer(question)
        with self.server.lock:
            self.server.together -= 1
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if status != 200:
            self.wfile.write(json.dumps({"error": {"message": words}}).encode())
            return
        choice = {"index": 0, "delta": {"content": words}, "finish_reason": "stop"}
        self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def answering(answer: Callable[[str], tuple[int, str]]) -> Iterator[Any]:
    server: Any = _Server(("127.0.0.1", 0), _Handler)
    server.answer, server.lock, server.together, server.most = answer, threading.Lock(), 0, 0
    server.doctor = Attending(RemoteModel(f"http://127.0.0.1:{server.server_port}/v1#m"), [])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cases(count: int) -> list[Case]:
    return [Case(f"question {number}") for number in range(count)]


def test_a_batch_is_on_its_way_together_and_comes_back_in_order() -> None:
    everyone = threading.Barrier(LIMIT)

    def answer(question: str) -> tuple[int, str]:
        everyone.wait(30)  # nobody is answered before all have asked
        return 200, f"answer to {question}"

    with answering(answer) as server:
        answers = list(server.doctor.ask_many(cases(2 * LIMIT), batch=LIMIT))
    assert [one.text for one in answers] == [f"answer to question {number}" for number in range(2 * LIMIT)]
    assert server.most == LIMIT


def test_no_more_are_on_their_way_than_a_server_may_be_asked_at_once() -> None:
    with answering(lambda question: (200, question)) as server:
        answers = list(server.doctor.ask_many(cases(30), batch=30))
        alone = [server.doctor.ask(None, case.question).text for case in cases(3)]
    assert [one.text for one in answers] == [case.question for case in cases(30)]
    assert [one.text for one in answers[:3]] == alone
    assert server.most <= LIMIT


def test_one_that_is_refused_fails_alone() -> None:
    with answering(lambda question: (400, "too long") if question.endswith("1") else (200, question)) as server:
        answers = list(server.doctor.ask_many(cases(3)))
    assert isinstance(answers[1], InputError)
    assert (answers[0].text, answers[2].text) == ("question 0", "question 2")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_no_fault_of_the_question(status) -> None:
    with answering(lambda question: (status, "come back later")) as server:
        answers = list(server.doctor.ask_many(cases(2)))
    assert all(isinstance(one, NotAvailableError) for one in answers)
