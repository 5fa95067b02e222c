"""Time the evaluation runner on a scripted model: what it adds to a sample, and its memory over many.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py
    OMP_NUM_THREADS=1 python benchmarks/evaluation.py --samples 100000

Questions are about 50 pictures of 256 x 256 on disk; the model answers at once. `text` shows no picture, so it is the
runner, the consultation and the journal alone. Memory is the process' resident size while it runs. Results are JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attending.evaluation.results import evaluate
from attending.evaluation.runner import Plan, run
from attending.model import Delta

TASK = """
name: speed
version: 1
title: questions about pictures
dataset: csv
controls: []
parts: {all: {parser: {kind: yes_no}, metrics: [accuracy, macro_f1]}}
"""


class Echo:
    """Says yes."""

    name = "scripted"

    def session(self) -> "Echo":
        """See `Backend`."""
        return self

    def stream(self, *_: Any, **__: Any) -> Iterator[Delta]:
        """See `Speaker`."""
        yield Delta("Yes.")
        yield Delta("", "stop")


def write(folder: Path, samples: int, pictures: bool) -> Path:
    rng = np.random.default_rng(0)
    for number in range(50):
        Image.fromarray(rng.integers(0, 255, (256, 256), dtype=np.uint8)).save(folder / f"{number}.png")
    lines = ["image,question,answer,patient,split"]
    for number in range(samples):
        image = f"{number % 50}.png" if pictures else ""
        lines.append(f"{image},Is there an effusion ({number})?,{'yes' if number % 3 else 'no'},p{number // 4},test")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    (folder / "task.yaml").write_text(TASK)
    return folder / "data.csv"


def resident() -> float:
    """MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measure(samples: int, pictures: bool) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write(folder, samples, pictures)
        plan = Plan(str(folder / "task.yaml"), "scripted", folder / "out", folder / "cache", data)
        sizes: list[tuple[int, float]] = []
        began: list[tuple[float, float]] = []

        def tick(done: int, total: int) -> None:
            if not began:
                began.append((time.perf_counter(), time.process_time()))
            if done % max(1, total // 20) == 0:
                sizes.append((done, resident()))

        work = run(plan, load=lambda where: Echo(), tick=tick)
        wall, cpu = time.perf_counter() - began[0][0], time.process_time() - began[0][1]
        start = time.perf_counter()
        evaluate(work)
        judged = time.perf_counter() - start
        early = next(size for done, size in sizes if done >= samples // 10)
        return {
            "samples": samples,
            "ms_a_sample": round(1000 * wall / samples, 3),
            "cpu_ms_a_sample": round(1000 * cpu / samples, 3),
            "memory_mb_after_a_tenth": round(early, 1),
            "memory_mb_at_the_end": round(sizes[-1][1], 1),
            "seconds_to_judge": round(judged, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    measure(50, True)  # load libraries
    found = {"text": measure(options.samples, False), "pictures": measure(min(options.samples, 5000), True)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
