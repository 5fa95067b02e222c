"""Kept: label maps of the last studies, so that a second question about one does not run the network again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock

from attending.experts.finding import Record
from attending.imaging import Volume

Segmented = tuple[Volume, Record, list[str]]
"""A mask, what ran on what, and warnings."""

_BYTES = 256 << 20


class Kept:
    """Results by what they were made from; those used longest ago go first.

    Args:
        limit: Bytes that all masks may take together; one that alone takes more is not kept.
    """

    def __init__(self, limit: int = _BYTES) -> None:
        self._limit = limit
        self._found: dict[Hashable, Segmented] = {}  # the one used last is the last
        self._making: dict[Hashable, Lock] = {}  # so that of equal calls at the same time one runs the network
        self._lock = Lock()  # of both tables

    def get(self, key: Hashable, make: Callable[[], Segmented]) -> Segmented:
        """What is kept under `key`, else what `make` makes, which is then kept; its mask is read-only."""
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                found = self._found.get(key)
            try:
                found = found or make()
                self._keep(key, found)
            finally:  # whoever still waits has the lock; who comes later finds the result
                with self._lock:
                    self._making.pop(key, None)
        return found

    def _keep(self, key: Hashable, found: Segmented) -> None:
        found[0].array.flags.writeable = False
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = found
            while sum(one[0].array.nbytes for one in self._found.values()) > self._limit:
                del self._found[next(iter(self._found))]
