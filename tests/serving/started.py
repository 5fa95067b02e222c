"""A really started server whose model follows a script, and pictures for it."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openai
from PIL import Image

from attending.consult import Attending, Options
from attending.model import Delta, Sampling
from attending.serving import Settings, application, listen, server

NAME = "scripted"


class Model:
    """A back end that answers by a function of (messages, pictures); keeps what it was asked, and how.

    With `gate` it stops before its last piece until the event is set or it is cancelled; `began` tells that it has come
    so far.
    """

    def __init__(self, answer: Callable[[list[dict], list], str] | str, gate: threading.Event | None = None) -> None:
        self.answer = answer if callable(answer) else lambda messages, pictures: answer
        self.name, self.gate = NAME, gate
        self.asked: list[tuple[list[dict], list]] = []
        self.samplings: list[Sampling] = []
        self.together = self.most = 0
        self.began, self.cancelled = threading.Event(), threading.Event()

    def session(self) -> "Model":
        return self

    def stream(self, messages, pictures=(), sampling=None, *, constraint=None, cancelled=lambda: False):
        assert sum(message["content"].count("<image>") for message in messages) == len(pictures)
        self.asked.append((messages, list(pictures)))
        self.samplings.append(sampling)
        return self._speak(self.answer(messages, list(pictures)), cancelled)

    def _speak(self, text: str, cancelled: Callable[[], bool]) -> Iterator[Delta]:
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            for start in range(0, len(text), 5):
                yield Delta(text[start : start + 5])
            self.began.set()
            while self.gate is not None and not self.gate.wait(0.01):
                if cancelled():
                    self.cancelled.set()
                    yield Delta("", "cancelled", 11, 0, len(text))
                    return
            yield Delta("", "stop", 11, 4, len(text))
        finally:
            self.together -= 1

    @property
    def last(self) -> str:
        """The last message the model was sent."""
        return self.asked[-1][0][-1]["content"]


class Running:
    """A started server."""

    def __init__(self, host: str, port: int, token: str, chat: Any) -> None:
        self.address, self.url, self.chat = (host, port), f"http://{host}:{port}", chat
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=token or "none", max_retries=0, timeout=30)

    def ask(self, content: Any, **more: Any) -> Any:
        """One completion; `content` is the question, or a list of messages."""
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return self.client.chat.completions.create(model=NAME, messages=messages, **more)


@contextmanager
def running(
    model: Any, experts: Any = (), options: Options | None = None, token: str = "", **settings: Any
) -> Iterator[Running]:
    """Serve a model on a free port, in a thread."""
    attending = Attending(model, list(experts), options or Options())
    app = application(attending, Settings(NAME, token, **settings))
    uvicorn = server(app)
    uvicorn.config.log_config = None
    with listen("127.0.0.1", 0, token) as listening:
        thread = threading.Thread(target=uvicorn.run, args=([listening],))
        thread.start()
        try:
            chat = next(route.app for route in app.routes if route.path.endswith("completions"))
            started = Running(*listening.getsockname(), token, chat)
            with started.client:
                yield started
        finally:
            uvicorn.should_exit = True
            thread.join()


def grey(level: int = 128, size: tuple[int, int] = (32, 24)) -> np.ndarray:
    return np.full((size[1], size[0]), level, np.uint8)


def file_of(pixels: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(pixels: np.ndarray | None = None, form: str = "PNG") -> dict[str, Any]:
    """A message's part that shows a picture."""
    shown = grey() if pixels is None else pixels
    return {"type": "image_url", "image_url": {"url": url_of(file_of(shown, form), f"image/{form.lower()}")}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
