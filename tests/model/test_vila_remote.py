"""An OpenAI-compatible server as a back end: one of our own, started here, that answers from a local model."""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image
from vila_pictures import picture

from attending.errors import InputError, NotAvailableError
from attending.imaging import Picture
from attending.model import LocalModel, RemoteModel, Sampling, load_backend

ASK = {"role": "user", "content": "What is <image> here?"}


class Handler(BaseHTTPRequestHandler):
    """Chat completions, streamed, by the model in `server.model`."""

    server: Any

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), request))
        if self.server.status != 200:
            self.send_response(self.server.status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(json.dumps({"error": {"message": "no such model"}}).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # whoever cancels hangs up
            for event in self.server.script or self.answer(request):
                self.wfile.write(b"data: " + event + b"\n\n")

    def answer(self, request: dict[str, Any]) -> Iterator[bytes]:
        pictures, messages = [], []
        for message in request["messages"]:
            parts = message["content"]
            for part in parts if isinstance(parts, list) else []:
                if part["type"] == "image_url":
                    data = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,"))
                    pictures.append(Picture(np.asarray(Image.open(io.BytesIO(data)))))
            kept = (
                [{"type": "image"} if one["type"] == "image_url" else one for one in parts]
                if isinstance(parts, list)
                else parts
            )
            messages.append({"role": message["role"], "content": kept})
        sampling = Sampling(
            request["max_tokens"], request["temperature"], request.get("top_p", 1.0), request.get("seed", 0)
        )
        common = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
        for delta in self.server.model.session().stream(messages, pictures, sampling):
            choice = {"index": 0, "delta": {"content": delta.text}, "finish_reason": delta.finish}
            yield json.dumps({**common, "choices": [choice]}).encode()
        usage = {"prompt_tokens": delta.prompt_tokens, "completion_tokens": delta.new_tokens, "total_tokens": 0}
        yield json.dumps({**common, "choices": [], "usage": usage}).encode()
        yield b"[DONE]"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(local: LocalModel) -> Iterator[Any]:
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.model, running.seen, running.status, running.script = local, [], 200, None
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{running.server_port}/v1"
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_server_says_what_the_model_behind_it_says(
    server: Any, local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTENDING_API_KEY", "secret")
    backend = load_backend(server.url + "#vila-m3")
    assert backend.name == "vila-m3"
    sampling = Sampling(max_new_tokens=9, temperature=0.5, seed=5, stop=("\x00",))
    messages = [{"role": "system", "content": "Be brief."}, ASK, {"role": "assistant", "content": "x"}, ASK]
    pictures = [picture(1), picture(2)]
    ours = list(backend.session().stream(messages, pictures, sampling))
    theirs = list(local.session().stream(messages, pictures, sampling))
    assert "".join(one.text for one in ours) == "".join(one.text for one in theirs)
    assert (ours[-1].finish, ours[-1].prompt_tokens, ours[-1].new_tokens) == ("length", theirs[-1].prompt_tokens, 9)
    path, headers, request = server.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert [type(one["content"]) for one in request["messages"]] == [str, list, str, list]
    assert (request["model"], request["seed"], request["stop"]) == ("vila-m3", 5, ["\x00"])


def test_the_openai_client_reads_our_test_server_too(server: Any) -> None:
    """So that the server above is a fair stand-in for a real one."""
    with openai.OpenAI(base_url=server.url, api_key="x") as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=3, temperature=0, stream=True
        )
        reasons = [choice.finish_reason for chunk in stream for choice in chunk.choices]
    assert reasons[-1] == "length"


def test_a_stream_can_be_cancelled(server: Any) -> None:
    answers = iter([False, False, True])
    deltas = list(RemoteModel(server.url + "#m").stream([ASK], [picture()], cancelled=lambda: next(answers)))
    assert deltas[-1].finish == "cancelled"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([b'{"choices": [{"delta": {"content": "a"}}]}'], "ended without a finish_reason"),
        ([b"not json"], "broke off"),
        ([b'{"error": {"message": "out of memory"}}'], "the server failed while answering: out of memory"),
    ],
)
def test_a_stream_that_breaks_off_is_no_answer(server: Any, script: list[bytes], said: str) -> None:
    server.script = script
    with pytest.raises(NotAvailableError, match=said):
        list(RemoteModel(server.url + "#m").stream([ASK], [picture()]))


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, InputError, "404: no such model"),
        (429, NotAvailableError, "is busy: no such model"),
        (500, NotAvailableError, "status 500"),
        (307, NotAvailableError, "status 307"),
    ],
)
def test_a_refusal_is_said_and_a_redirect_is_not_followed(
    server: Any, status: int, kind: type[Exception], said: str
) -> None:
    server.status = status
    with pytest.raises(kind, match=said):
        list(RemoteModel(server.url + "#m").stream([ASK], [picture()]))
    assert len(server.seen) == 1


def test_addresses_that_cannot_be_meant_are_refused() -> None:
    for url, said in [
        ("ftp://host/v1#m", "expected an address such as"),
        ("http:///v1#m", "expected an address such as"),
        ("http://host/v1", "name the model behind #"),
        ("http://me:secret@host/v1#m", "put the key into ATTENDING_API_KEY"),
    ]:
        with pytest.raises(InputError, match=said) as caught:
            RemoteModel(url)
        assert "secret" not in str(caught.value)
    with pytest.raises(NotAvailableError, match="cannot be reached"):
        list(RemoteModel("http://127.0.0.1:9/v1#m").stream([{"role": "user", "content": "x"}]))
    with pytest.raises(NotAvailableError, match="needs a local model"):
        RemoteModel("http://127.0.0.1:9/v1#m").stream([ASK], [picture()], constraint=lambda _ids, logits: logits)
