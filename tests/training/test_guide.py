"""The guide, followed word by word: its files and its commands, on stand-in pictures and a small start."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from toys import SHAPES, picture, stage, table, write_data

from attending.training.fields import build
from attending.training.recipe import Recipe
from attending.training.run import setup
from attending.training.start import write_start

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
ANSWERS = {"disc": "A disc.", "bars": "Bars.", "cross": "A cross."}


@pytest.mark.slow
def test_from_a_table_to_an_evaluated_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    with open("mine.csv", "w", newline="") as file:
        write = csv.writer(file)
        write.writerow(re.search(r"^image,.*$", PAGE, re.MULTILINE)[0].split(","))
        for number in range(24):
            shape = SHAPES[number % 3]
            picture(shape, number).save(f"scans/{number}.png")
            split = "train" if number < 12 else "validate" if number < 18 else "test"
            write.writerow([f"scans/{number}.png", "What shape is bright?", ANSWERS[shape], f"p{number}", split])
    recipe = build(Recipe, table(write_data(tmp_path / "toys", 6), stage()))
    _, model, processor = setup(recipe, lambda text: None)
    Path("runs/tiny").mkdir(parents=True)
    write_start(model, processor, Path("runs/tiny/model"))
    recipe_text, task = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    Path("mine.yaml").write_text(recipe_text)
    Path("mine-task.yaml").write_text(task)
    for line in "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines():
        done = subprocess.run([sys.executable, "-m", *line.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr[-2000:])
    assert (tmp_path / "runs/mine/model/model.safetensors").is_file()
    assert json.loads(Path("runs/mine-eval/results.json").read_text())
