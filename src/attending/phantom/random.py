"""Random streams that depend on names, not on the order of calls or on the process."""

import hashlib
import uuid

import numpy as np


def stream(seed: int, *names: object) -> np.random.Generator:
    """A generator for one purpose: the same seed and names give the same numbers in every process.

    Each part of a case draws from its own stream, so that a change in one (a finding removed) leaves the others as
    they were.
    """
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, *np.frombuffer(digest[:16], "<u4").tolist()]))


def uid(*names: object) -> str:
    """A DICOM UID fixed by names (PS3.5 B.2: `2.25.` and a UUID as a number)."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
