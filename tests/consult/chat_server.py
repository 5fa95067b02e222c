"""A started OpenAI-compatible server whose model follows a script."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.asked.set()
        replies = self.server.replies
        text = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        common = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        pieces = [{"content": text[at : at + 9]} for at in range(0, len(text), 9)]
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self._event({**common, "choices": [{"index": 0, "delta": piece, "finish_reason": None}]})
            self.server.hold.wait()
            self._event({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def chat_server(*replies: str, hold: bool = False) -> Iterator[ThreadingHTTPServer]:
    """Says the replies in turn, the last one for ever; with `hold` it never finishes. `seen` has the requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.replies, server.seen, server.asked, server.hold = list(replies), [], threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/v1#vila-m3"
    if not hold:
        server.hold.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
