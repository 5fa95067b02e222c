"""Chest radiographs of phantoms with a yes-or-no question each, as a table that `attending eval` and others read.

python benchmarks/outside/make_pictures.py FOLDER [COUNT]
"""

import csv
import sys
from pathlib import Path

from attending.corpora.phantom_cases import phantom_cases
from attending.imaging import picture_of
from attending.phantom import seeds_of

TASK = """\
name: phantom-yes-no
version: 1
title: "Is there a pleural effusion? Phantom radiographs"
dataset: csv
tokens: 64
parts:
  presence:
    prompt: "{question}\\nAnswer yes or no."
    parser: {kind: yes_no}
    scorer: exact_match
    metrics: [accuracy]
"""


def make(folder: Path, count: int = 24) -> None:
    """Write `count` pictures, data.csv and task.yaml; every second patient has an effusion."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, seed in enumerate(seeds_of("test", 0, count)):
        wishes = ["effusion"] if number % 2 else []
        (case,) = phantom_cases("cxr", [seed], ("C",), findings=wishes, shape=(128, 1, 128))
        opened = case.open()
        picture_of(opened.study.series[0].image).save(folder / f"{seed}.png")
        answer = "yes" if opened.present["Effusion"] else "no"
        rows.append([seed, f"{seed}.png", "Is there a pleural effusion?", answer, f"phantom {seed}", "CXR", "test"])
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "image", "question", "answer", "patient", "modality", "split"], *rows])
    (folder / "task.yaml").write_text(TASK, encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
