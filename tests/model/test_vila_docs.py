"""docs/model.md, run as a reader would run it."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from vila_pictures import image

from attending.cli import app

PAGE = (Path(__file__).parents[2] / "docs/model.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published["llama"], "Llama3-VILA-M3-8B")
    image(1).save("slice.png")
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 3
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "attending"
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.output
    snippets = blocks("python")
    assert len(snippets) == 2
    for snippet in snippets:
        exec(compile(snippet, "docs/model.md", "exec"), {})
    assert re.search(r"(stop|length) \d+ \d+$", capsys.readouterr().out.strip())
