"""readers: one module for each published format; `READERS` finds them by name."""

from attending.corpora.readers.reader import Reader

READERS: dict[str, Reader] = {}
