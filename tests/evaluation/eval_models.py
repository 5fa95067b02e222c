"""A scripted model, and a tiny VQA-RAD in its published form whose answers can be read from the pictures."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attending.experts import ExpertCard, Finding, Record
from attending.imaging import Picture
from attending.model import Delta


class Scripted:
    """A back end that answers by a function of (question, pictures)."""

    def __init__(self, answer: Callable[[str, list[Picture]], str], name: str = "scripted") -> None:
        self.answer, self.name, self.asked = answer, name, 0

    def session(self) -> "Scripted":
        return self

    def stream(self, messages: Any, pictures: Any = (), sampling: Any = None, **_: Any) -> Iterator[Delta]:
        self.asked += 1
        yield Delta(self.answer(str(messages[-1]["content"]), list(pictures)))
        yield Delta("", "stop")


CARD = ExpertCard("SHADE", ("DX",), (), "classification", "says bright or dark", "exact")


class Shade:
    """An expert that sees whether a radiograph is bright; counts its runs."""

    card = CARD

    def __init__(self) -> None:
        self.runs = 0

    def available(self):
        return None

    def run(self, study, arguments):
        self.runs += 1
        share = float(np.mean(study.series[0].image.array) / 255)
        record = Record("", weights="w1", inputs={study.series[0].id: "x"})
        return Finding("done", f"bright: {share:.2f}", record, scores={"bright": share})


def reads(question: str, pictures: list[Picture]) -> str:
    """Answers from the picture: bright is yes; brighter on the left half is left."""
    if not pictures:
        return "I cannot tell without the image."
    pixels = pictures[-1].pixels
    if "side" in question:
        half = pixels.shape[1] // 2
        return "left" if pixels[:, :half].mean() > pixels[:, half:].mean() else "right"
    return "Yes." if pixels.mean() > 127 else "No."


def blind(question: str, pictures: list[Picture]) -> str:
    """Answers from the words alone."""
    if "side" in question:
        return "left"
    return "Yes." if len(question) % 2 else "No."


def reader(where: str) -> Scripted:
    """For shards, which make the model in their own process."""
    return Scripted(reads, where)


def slow_reader(where: str) -> Scripted:
    """Takes 20 ms for an answer, so that a run can be killed half way."""

    def answer(question: str, pictures: list[Picture]) -> str:
        time.sleep(0.02)
        return reads(question, pictures)

    return Scripted(answer, where)


def stuck_reader(where: str) -> Scripted:
    """Answers six questions and never the seventh."""
    never = threading.Event()
    model = Scripted(reads, where)

    def answer(question: str, pictures: list[Picture]) -> str:
        if model.asked == 7:
            never.wait()
        return reads(question, pictures)

    model.answer = answer
    return model


def write_rad(folder: Path, patients: int = 12, yes_share: float = 0.5) -> Path:
    """`patients` pictures with a yes-or-no and an open question each."""
    images = folder / "VQA_RAD Image Folder"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(patients):
        bright, left = number < patients * yes_share, bool(number % 2)
        pixels = np.full((16, 16), 160 if bright else 40, np.uint8)
        pixels[:, :8] += np.uint8(40 if left else 0)
        pixels[:, 8:] += np.uint8(0 if left else 40)
        pixels += rng.integers(0, 4, pixels.shape, dtype=np.uint8)
        name = f"synpic{number}.jpg"
        Image.fromarray(pixels).save(images / name, quality=95)
        common = {"image_name": name, "image_organ": "CHEST" if number % 3 else "HEAD", "phrase_type": "test_freeform",
                  "image_case_url": f"https://medpix/x?id={number}"}  # fmt: skip
        asked = ("Is the lung bright?", "yes" if bright else "no", "CLOSED", "PRES")
        opened = ("Which side is brighter?", "left" if left else "right", "OPEN", "POS")
        for offset, (question, answer, kind, type_) in enumerate((asked, opened)):
            rows.append({**common, "qid": str(2 * number + offset), "question": question, "answer": answer,
                         "answer_type": kind, "question_type": type_})  # fmt: skip
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    return folder


def write_csv(folder: Path, task: str, rows: list[dict[str, str]], size: int = 16) -> tuple[Path, Path]:
    """A table of one's own with a picture a row, whose `shade` (0 to 255) is its grey; and its task."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["image", *dict.fromkeys(key for row in rows for key in row if key != "image")]
    lines = [",".join([*names, "split"])]
    for number, row in enumerate(rows):
        image = row.get("image", f"{number}.png")
        Image.fromarray(np.full((size, size), int(row["shade"]), np.uint8)).save(folder / image)
        lines.append(",".join([image, *(row.get(name, "") for name in names[1:]), "test"]))
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    (folder / "task.yaml").write_text(task)
    return folder / "data.csv", folder / "task.yaml"
