"""One thread in which consultations are carried out, one after the other."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from attending.errors import AttendingError

_log = logging.getLogger(__name__)
T = TypeVar("T")

Work = Callable[[Callable[[], bool]], Iterator[T]]
"""Yields results; is given what tells it that nobody waits for them any more."""


class Job(Generic[T]):
    """Work that is waiting, on its way or done. Made, read and cancelled on the event loop."""

    def __init__(self, work: Work[T]) -> None:
        self._work: Work[T] | None = work
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[T | BaseException | None] = asyncio.Queue()
        self._cancelled = threading.Event()

    async def next(self) -> T | None:
        """The next result; None after the last, and once it is cancelled.

        Raises:
            AttendingError: As the work raised it.
            RuntimeError: The work broke; the log says how.
        """
        told = await self._told.get()
        if isinstance(told, BaseException):
            raise told
        return told

    def cancel(self) -> None:
        """Let it end at its next step; what has not begun never does, and what it holds is let go now."""
        self._cancelled.set()
        self._work = None
        self._told.put_nowait(None)

    def run(self) -> None:
        """Carry it out, in the worker's thread."""
        work = self._work
        try:
            if work is not None:
                for result in work(self._cancelled.is_set):
                    self._tell(result)
            self._tell(None)
        except AttendingError as error:
            self._tell(error)
        except BaseException:  # of one request: the thread goes on with the next
            _log.exception("a request broke")
            self._tell(RuntimeError("a request broke"))

    def _tell(self, told: T | BaseException | None) -> None:
        with suppress(RuntimeError):  # the server has gone
            self._loop.call_soon_threadsafe(self._told.put_nowait, told)


class Worker(Generic[T]):
    """The thread. It ends with the process, or when it is closed and has done what was submitted before."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job[T] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="consultations", daemon=True).start()

    def submit(self, work: Work[T]) -> Job[T]:
        """Have work done when its turn comes."""
        job = Job(work)
        self._jobs.put(job)
        return job

    def close(self) -> None:
        """Let the thread end."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # a thread that waits must not keep pictures of the last request
