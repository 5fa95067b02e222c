"""A decoder that crashes, hangs, eats memory or talks nonsense does no harm."""

import pytest

from attending import InputError
from attending.imaging import Limits, sandbox

CHILDREN = {
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "silent": "pass",
    "nonsense": "print('__import__(\"os\")')",
    "list": "print('[1, 2]')",
    "raises": "from attending.imaging.sandbox import serve\ndef f(r): raise KeyError('x')\nserve(f)",
    "echo": "from attending.imaging.sandbox import serve\nserve(lambda request: {'got': request['word']})",
    "hungry": "from attending.imaging.sandbox import serve\nserve(lambda request: {'size': len(bytearray(1 << 31))})",
    "endless": "from attending.imaging.sandbox import serve\n\ndef f(r):\n    while True: pass\nserve(f)",
}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    for name, code in CHILDREN.items():
        (tmp_path / f"child_{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def ask(name, **limits):
        request = {"word": "hello"}
        return sandbox.run(f"child_{name}", request, memory=0, path="file.dcm", limits=Limits(**limits))

    return ask


def test_an_answer_comes_back(ask):
    assert ask("echo") == {"got": "hello"}


def test_what_a_decoder_raises_is_an_answer(ask):
    assert ask("raises") == {"error": "KeyError: 'x'"}


@pytest.mark.parametrize(
    ("name", "words"),
    [("crash", "stopped by SIGSEGV"), ("silent", "broke off"), ("nonsense", "broke off"), ("list", "broke off")],
)
def test_a_decoder_that_dies_or_babbles_is_an_input_error(ask, name, words):
    with pytest.raises(InputError, match=words) as caught:
        ask(name)
    assert caught.value.path == "file.dcm"


def test_a_decoder_may_not_take_more_memory_than_its_limit(ask):
    assert "more memory than it may have" in ask("hungry", decoder_bytes=1 << 28)["error"]


def test_a_decoder_may_not_take_more_time_than_its_limit(ask):
    with pytest.raises(InputError, match=r"stopped by SIG(XCPU|KILL)|ATTENDING_LIMIT_DECODER_SECONDS"):
        ask("endless", decoder_seconds=1)
