"""`attending serve` from outside."""

import signal
import subprocess
import sys

import openai
import pytest
from chat_server import chat_server

from attending.cli import main


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["attending", "serve", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_command_serves_until_it_is_interrupted() -> None:
    with chat_server("It looks normal.") as behind:
        command = [
            sys.executable,
            "-m",
            "attending",
            "serve",
            "--model",
            behind.url,
            "--experts",
            "none",
            "--port",
            "0",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
            try:
                address = serving.stdout.readline().strip()
                with openai.OpenAI(base_url=address, api_key="none", timeout=300) as client:
                    (model,) = client.models.list()
                    told = client.chat.completions.create(
                        model=model.id, messages=[{"role": "user", "content": "Is it normal?"}], seed=3
                    )
            finally:
                serving.send_signal(signal.SIGINT)
            rest, talk = serving.communicate(timeout=300)
    assert serving.returncode == 0, talk
    assert told.choices[0].message.content == "It looks normal."
    assert behind.seen[0]["seed"] == 3
    assert model.id == "vila-m3"
    assert rest == ""  # stdout has the address and nothing else
    assert "research use only" in talk


def test_other_machines_cannot_be_let_in_without_a_token(monkeypatch, capsys) -> None:
    monkeypatch.delenv("ATTENDING_TOKEN", raising=False)
    assert run(monkeypatch, "--host", "0.0.0.0", "--port", "0", "--model", "nowhere") == 3
    assert "ATTENDING_TOKEN" in capsys.readouterr().err


def test_what_cannot_be_served_is_said_in_one_line(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "--port", "0", "--model", "nowhere") == 3
    assert "expected a model folder" in capsys.readouterr().err.replace("\n", " ")
    assert run(monkeypatch, "--host", "no.such.host.invalid", "--model", "nowhere") == 3
    assert "cannot be listened on" in capsys.readouterr().err.replace("\n", " ")


def test_help_teaches(monkeypatch, capsys) -> None:
    assert not run(monkeypatch, "--help")
    told = capsys.readouterr().out
    assert all(word in told for word in ("ATTENDING_TOKEN", "curl", "data: URLs", "Example"))
