"""docs/reports.md: its code runs, and the files it speaks of are those that are written."""

import re
from pathlib import Path

from report_answers import answer

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"answer": answer()}
    exec(compile(block, "docs/reports.md", "exec"), names)
    assert names["files"][0] == Path("out/answer.json")
    assert capsys.readouterr().out.startswith("It measures 45 mm.")
    told = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
    assert len(told) == 7
    for name in told:
        pattern = re.escape(name).replace("<id>", r"[0-9a-f]{8}").replace("042", r"\d{3}")
        assert any(re.fullmatch(pattern, path.relative_to("out").as_posix()) for path in names["files"]), name
    for end in re.findall(r"`(-mask[\w.-]+)`", PAGE):
        assert any(path.name.endswith(end) for path in names["files"]), end
