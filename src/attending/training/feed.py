"""Feed: the steps' batches, made by threads ahead of time, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """What `make(step)` gives for each step, made a few steps ahead.

    Threads suffice: decoding and resizing pictures, tokenizing and reading files all let go of Python's lock. Each step
    depends on its number alone, so the order in which threads finish does not matter.

    Args:
        make: From the number of a step.
        first: The first step.
        end: One past the last.
        ahead: How many steps are in the making.
    """

    def __init__(self, make: Callable[[int], T], first: int, end: int, ahead: int = 3) -> None:
        self._make, self._first, self._end, self._ahead = make, first, end, ahead
        self.waited = 0.0
        """Seconds that the caller had to wait for a batch, the first not counted."""

    def __iter__(self) -> Iterator[T]:
        with ThreadPoolExecutor(2, thread_name_prefix="feed") as pool:
            coming: deque[Future[T]] = deque()
            try:
                for step in range(self._first, self._end):
                    while len(coming) < self._ahead and step + len(coming) < self._end:
                        coming.append(pool.submit(self._make, step + len(coming)))
                    began = time.perf_counter()
                    made = coming.popleft().result()
                    self.waited += time.perf_counter() - began if step > self._first else 0.0
                    yield made
            finally:
                for future in coming:
                    future.cancel()
