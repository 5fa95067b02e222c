"""The protocol that every model is asked through, and the choice of a back end by address.

A back end is a folder (computed here) or a URL (any OpenAI-compatible server).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from attending.errors import InputError
from attending.imaging import Picture
from attending.model.decoding import Constraint, Delta, Sampling
from attending.model.local import LocalModel
from attending.model.messages import Messages
from attending.model.remote import RemoteModel


class Speaker(Protocol):
    """One conversation with a model."""

    def stream(
        self,
        messages: Messages,
        pictures: Sequence[Picture] = ...,
        sampling: Sampling = ...,
        *,
        constraint: Constraint | None = ...,
        cancelled: Callable[[], bool] = ...,
    ) -> Iterator[Delta]:
        """Continue the conversation; see `Session.stream`."""
        ...


class Backend(Protocol):
    """A model, wherever it runs."""

    name: str

    def session(self) -> Speaker:
        """Begin a conversation."""
        ...


def load_backend(where: str, dtype: str = "auto", device: str = "cpu") -> Backend:
    """Load a model folder, or connect to `http://host/v1#name`.

    Raises:
        InputError: When there is no such folder, or it is not a model.
    """
    if where.startswith(("http://", "https://")):
        return RemoteModel(where)
    if not Path(where).is_dir():
        raise InputError("expected a model folder, or an address such as http://host/v1#name", path=where)
    return LocalModel.load(where, dtype, device)
