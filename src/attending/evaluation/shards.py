"""Shards: one evaluation in several processes, here or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from attending.errors import AttendingError, InputError, NotAvailableError
from attending.evaluation.runner import Loader, Plan, Tick, answered, prepare, run_shard

_counts: Any = None


def in_processes(plan: Plan, shards: int, load: Loader, *, tick: Tick = lambda done, total: None) -> None:
    """Run each shard in a process of its own; see `attending.evaluation.runner.run`."""
    work = prepare(plan)
    conditions = plan.conditions(work.task)
    before = sum(map(sum, answered(plan.out, conditions, len(work.samples)).values()))
    total = sum(1 for condition in conditions for _ in work.asked(condition))
    tick(before, total)
    if before == total:
        return
    context = get_context("spawn")
    counts = context.Array("q", shards)
    saved = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(
        max(1, (os.cpu_count() or 1) // shards)
    )  # read when a shard loads its libraries
    pool = ProcessPoolExecutor(shards, mp_context=context, initializer=_begin, initargs=(counts,))
    try:
        running = {pool.submit(_shard, plan, shard, shards, load) for shard in range(shards)}
        while running:
            ready, running = wait(running, timeout=0.5, return_when=FIRST_EXCEPTION)
            tick(before + sum(counts[:]), total)
            for future in ready:
                _raise(future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if saved is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = saved


def on_ray(plan: Plan, shards: int, load: Loader) -> None:
    """Run each shard on a machine of a Ray cluster that sees the same folders; see `attending.evaluation.runner.run`.

    Raises:
        NotAvailableError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise NotAvailableError("--engine ray needs Ray; install it with: pip install 'attending[ray]'") from error
    if not ray.is_initialized():
        ray.init()
    remote = ray.remote(_shard)
    for problem in ray.get([remote.remote(plan, shard, shards, load) for shard in range(shards)]):
        _raise(problem)


def _shard(plan: Plan, shard: int, shards: int, load: Callable[[str], Any]) -> tuple[int, str] | None:
    """Run one shard; what went wrong crosses the border between processes as exit code and text."""
    start: list[int] = []

    def tick(done: int, total: int) -> None:
        start.append(done) if not start else None
        if _counts is not None:
            _counts[shard] = done - start[0]

    try:
        run_shard(prepare(plan), shard, shards, load, tick)
    except AttendingError as error:
        return error.exit_code, str(error)
    return None


def _raise(problem: tuple[int, str] | None) -> None:
    if problem is not None:
        kind = NotAvailableError if problem[0] == NotAvailableError.exit_code else InputError
        raise kind(problem[1])


def _begin(counts: Any) -> None:
    """Count where the parent can see it, and end with it: left alone a shard of a killed run would go on."""
    global _counts
    _counts = counts

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
