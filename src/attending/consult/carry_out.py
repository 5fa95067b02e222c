"""Calls carried out side by side, with their progress as events."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

from attending.consult.events import ExpertFinished, ExpertProgress, ExpertStarted
from attending.consult.transcript import Call
from attending.experts import Expert, ExpertError, Finding
from attending.imaging import Study


class RunExpert(Protocol):
    """What `attending.experts.run_expert` is; an evaluation puts a cache, or a liar, in its place."""

    def __call__(
        self,
        expert: Expert,
        study: Study,
        arguments: Any = None,
        *,
        seconds: float = ...,
        progress: Callable[[int, int], None] = ...,
    ) -> Finding:
        """Run one expert."""
        ...


def carry_out(
    calls: Sequence[tuple[Call, Expert]],
    study: Study,
    run: RunExpert,
    seconds: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[ExpertStarted | ExpertProgress | ExpertFinished, None, list[Finding]]:
    """Run experts together; when whoever listens goes away, or cancels, they are stopped at their next step.

    Returns:
        A finding for each call, in order.
    """
    events: queue.SimpleQueue[ExpertProgress | ExpertFinished | BaseException] = queue.SimpleQueue()
    stop = threading.Event()

    def work(call: Call, expert: Expert) -> None:
        def progress(done: int, total: int) -> None:
            if stop.is_set() or cancelled():
                raise ExpertError("was stopped")
            events.put(ExpertProgress(call, done, total))

        try:
            finding = run(expert, study, call.arguments, seconds=seconds, progress=progress)
            events.put(ExpertFinished(call, finding))
        except BaseException as error:  # raised again where the events are read
            events.put(error)

    found: dict[int, Finding] = {}
    order = {id(call): number for number, (call, _) in enumerate(calls)}
    try:
        for call, expert in calls:
            yield ExpertStarted(call)
            threading.Thread(target=work, args=(call, expert), name=f"call {call}", daemon=True).start()
        while len(found) < len(calls):
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, ExpertFinished):
                found[order[id(event.call)]] = event.finding
            yield event
    finally:
        stop.set()
    return [found[number] for number in range(len(calls))]
