"""Datasets: many cases on all cores, resumable after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from os import PathLike
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from attending.errors import AttendingError, InputError
from attending.phantom.case import Case, generate
from attending.phantom.finding import Request
from attending.phantom.splits import seeds_of
from attending.phantom.style import get_style
from attending.phantom.write import FORMATS, clear_partial, write


@dataclass(frozen=True)
class Plan:
    """What a dataset holds; the same plan gives the same files.

    Attributes:
        kind: `ct`, `mri` or `cxr`.
        count: Number of cases.
        first: First seed within the split.
        split: `train`, `validation` or `test`.
        styles: Hospitals that take turns by seed.
        visits: 1 or 2.
        findings: Requests as text; None draws them.
        formats: What is written.
        shape: Voxels, or None for the usual.
        tie: A planted link between a finding and who has it, or None.
    """

    kind: str
    count: int
    first: int = 0
    split: str = "train"
    styles: tuple[str, ...] = ("A",)
    visits: int = 1
    findings: tuple[str, ...] | None = None
    formats: tuple[str, ...] = FORMATS
    shape: tuple[int, int, int] | None = None
    tie: str | None = None

    def case(self, seed: int) -> Case:
        """One of its cases."""
        style = self.styles[seed % len(self.styles)]
        return generate(
            self.kind,
            seed,
            style,
            visits=self.visits,
            findings=self.findings,
            shape=self.shape,
            tie=self.tie,
        )

    def seeds(self) -> range:
        """The seeds of the cases."""
        return seeds_of(self.split, self.first, self.count)

    def check(self) -> None:
        """Refuse an impossible plan before any work.

        Raises:
            InputError: Says what is allowed.
        """
        seeds = self.seeds()
        if self.count < 1:
            raise InputError("expected 1 or more", field="n", value=self.count)
        for name in self.styles:
            get_style(name)
        for wish in self.findings or ():
            Request.parse(wish).check(self.kind, self.visits)
        self.case(seeds[0])


class Result(NamedTuple):
    """How a run ended: cases written now, cases that were there, and where."""

    written: int
    present: int
    folder: Path


def build(
    plan: Plan,
    folder: str | PathLike[str],
    workers: int | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Write every case of a plan; cases that are there already are kept.

    Args:
        plan: What to write.
        folder: Where to; made if need be.
        workers: Processes; None for one per core.
        tick: Called with cases done and cases in all after each.

    Raises:
        InputError: An impossible plan, or a folder that holds another dataset.
    """
    plan.check()
    root = Path(folder)
    _claim(plan, root)
    clear_partial(root)
    seeds = plan.seeds()
    todo = [
        s
        for s in seeds
        if not (root / f"{plan.kind}-{plan.styles[s % len(plan.styles)]}-{s:08d}" / "truth.json").exists()
    ]
    done = len(seeds) - len(todo)
    tick(done, len(seeds))
    count = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    if count == 1:
        for i, seed in enumerate(todo):
            _one(plan, seed, root)
            tick(done + i + 1, len(seeds))
    else:
        _parallel(plan, todo, root, count, lambda n: tick(done + n, len(seeds)))
    return Result(len(todo), done, root)


def _parallel(plan: Plan, todo: Sequence[int], root: Path, count: int, tick: Callable[[int], None]) -> None:
    """Run cases in fresh processes, never more than a few queued."""
    saved = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # a process per core already; read when a worker loads its libraries
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        queue = iter(todo)
        running: set[Future[None]] = {pool.submit(_one, plan, seed, root) for seed in islice(queue, 2 * count)}
        finished = 0
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                future.result()
                finished += 1
                tick(finished)
            running |= {pool.submit(_one, plan, seed, root) for seed in islice(queue, len(ready))}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if saved is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = saved


def _end_with_parent() -> None:
    """Make a worker stop when the run is killed: left alone it would wait for work for ever."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _one(plan: Plan, seed: int, root: Path) -> None:
    try:
        write(plan.case(seed), root, plan.formats)
    except AttendingError as error:  # must cross a process border, which keeps only the arguments
        raise InputError(f"{plan.kind} with seed {seed}: {error}") from None


def _claim(plan: Plan, root: Path) -> None:
    """Write down what the folder holds, or refuse a folder that holds something else.

    The number of cases may grow.
    """
    path = root / "dataset.json"
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    try:
        root.mkdir(parents=True, exist_ok=True)
        if path.exists():
            held = json.loads(path.read_text(encoding="utf-8"))
            differ = [k for k in wanted if k != "count" and held.get(k) != wanted[k]]
            if differ:
                problem = (
                    f"this folder holds another dataset ({differ[0]} is {held.get(differ[0])}); choose another folder"
                )
                raise InputError(problem, path=path, field=differ[0], value=wanted[differ[0]])
        aside = path.with_name(f".dataset-{os.getpid()}")
        aside.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise InputError(f"cannot write here: {error.strerror}", path=root) from error
    except (ValueError, AttributeError) as error:
        raise InputError("expected a dataset description written by attending phantom", path=path) from error
