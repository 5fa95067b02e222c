"""What a run leaves to look at: a line of JSON for each step, TensorBoard's files, and a picture of the loss."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attending.training.checkpoint import write_text

_DRAWN_AT = (1, 2, 5, 10, 20, 50)
"""Steps of a stage after which the picture is drawn; then every 50."""
_COLOURS = ("#1f5fa8", "#c0392b")


class Journal:
    """Writes `log.jsonl`, `loss.png` and, where `tensorboard` is installed, `tensorboard/`.

    Args:
        folder: Of the run; None writes nothing, for all processes but the first.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: Any = None
        self._board: Any = None
        self._entries: list[dict[str, Any]] = []

    @contextmanager
    def stage(self, stage: str, step: int) -> Iterator[None]:
        """Go on after `step` of a stage; lines of steps that are to be done again are removed."""
        if self._folder is None:
            yield
            return
        path = self._folder / "log.jsonl"
        kept = [one for one in read_log(path) if one["stage"] != stage or one["step"] <= step]
        write_text(path, "".join(json.dumps(one) + "\n" for one in kept))
        self._entries = [one for one in kept if one["stage"] == stage]
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard" / stage), purge_step=step + 1)
        try:
            with path.open("a", encoding="utf-8") as self._file:
                yield
        finally:
            if self._entries:
                self._draw()
            if self._board is not None:
                self._board.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """One step."""
        if self._folder is None:
            return
        self._entries.append(dict(entry))
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        if self._board is not None:
            for name in ("loss", "norm", "held_out"):
                if name in entry:
                    self._board.add_scalar(name, entry[name], entry["step"])
        if entry["step"] in _DRAWN_AT or entry["step"] % _DRAWN_AT[-1] == 0:
            self._draw()

    def _draw(self) -> None:
        assert self._folder is not None
        draw_loss(self._entries, self._folder / f"loss-{self._entries[-1]['stage']}.png")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one that a killed run left unfinished is passed over."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def draw_loss(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A picture of the loss over the steps: blue as trained (pale: each step; full: running mean), red held out."""
    from PIL import Image, ImageDraw

    width, height, left, bottom, top = 900, 500, 80, 50, 40
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    every = [(one["step"], one["loss"]) for one in entries]
    held = [(one["step"], one["held_out"]) for one in entries if "held_out" in one]
    values = [value for _, value in [*every, *held]]
    if not values:
        return
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    last = max(step for step, _ in every)

    def at(step: float, value: float) -> tuple[float, float]:
        x = left + (step - 1) / max(1, last - 1) * (width - left - 30)
        return x, height - bottom - (value - low) / (high - low) * (height - bottom - top)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        y = at(1, value)[1]
        draw.line([(left, y), (width - 30, y)], fill="#dddddd")
        draw.text((8, y - 6), f"{value:.4g}", fill="black")
        step = 1 + share * (last - 1)
        draw.text((at(step, low)[0] - 8, height - bottom + 8), f"{step:.0f}", fill="black")
    draw.text((left, 12), f"{entries[-1]['stage']}: loss (blue), running mean (bold), held out (red)", fill="black")
    draw.text((width // 2, height - 20), "step", fill="black")
    mean, smooth = every[0][1], []
    share = 1 / max(1.0, math.sqrt(len(every)))
    for step, value in every:
        mean += share * (value - mean)
        smooth.append((step, mean))
    for points, colour, thick in ((every, "#b7cde6", 1), (smooth, _COLOURS[0], 3), (held, _COLOURS[1], 2)):
        places = [at(*point) for point in points]
        if len(places) > 1:
            draw.line(places, fill=colour, width=thick)
        for x, y in places if len(places) < 30 else []:
            draw.ellipse([(x - 2, y - 2), (x + 2, y + 2)], fill=colour)
    aside = path.with_name(f".{path.name}")
    image.save(aside, format="PNG")
    aside.replace(path)
