"""A request becomes a consultation: its pictures a study, its messages a conversation, its options the model's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from attending.consult import Attending, Event, Turn
from attending.errors import InputError
from attending.imaging import Picture, Study, open_study, picture_of
from attending.imaging.files import sniff
from attending.serving.request import Asked

_KINDS = ("png", "jpeg")


def consult(
    attending: Attending, asked: Asked, pixels: int, seconds: float, cancelled: Callable[[], bool]
) -> Iterator[Event]:
    """Answer a request as `Attending.stream` does.

    Args:
        attending: The server's; not changed.
        asked: The request.
        pixels: Most pixels of all pictures together.
        seconds: Time for the answer.
        cancelled: Asked now and then; True ends the consultation.

    Raises:
        InputError: A picture cannot be read, or see `Attending.ask`.
        NotAvailableError: The model's server cannot be reached.
    """
    mine = copy.copy(attending)
    mine.options = replace(attending.options, sampling=asked.sampling, seconds=min(seconds, attending.options.seconds))
    study, pictures = study_of(asked.images, asked.modality, asked.body_part, pixels)
    shown = [tuple(pictures[image] for image in message.images) for message in asked.messages]
    chat = mine.chat(study)
    if asked.system:
        chat.transcript += Turn("system", asked.system)
    for place in range(0, len(asked.messages) - 1, 2):
        question, answer = asked.messages[place], asked.messages[place + 1]
        chat.recall(question.text, answer.text, _new(shown[place], place))
    last = len(asked.messages) - 1
    yield from chat.stream(asked.messages[last].text, pictures=_new(shown[last], last), cancelled=cancelled)


def _new(pictures: tuple[Picture, ...], place: int) -> tuple[Picture, ...] | None:
    """What a turn shows; None for a later one that shows nothing new, or the study would be shown again."""
    return pictures if pictures or not place else None


def study_of(
    images: Sequence[bytes], modality: str | None, body_part: str | None, pixels: int
) -> tuple[Study | None, list[Picture]]:
    """The study that a conversation's pictures make, and the pictures.

    They are read as files from a user are, in a folder that is gone when this returns.

    Args:
        images: PNG or JPEG files.
        modality: What they were made with; see `open_study`.
        body_part: What they show.
        pixels: Most pixels of all together.

    Raises:
        InputError: One cannot be read or is too large; names it.
    """
    if not images:
        return None, []
    with TemporaryDirectory(prefix="attending-") as name:
        folder = Path(name)
        for number, data in enumerate(images, 1):
            path = folder / f"image-{number:06}"
            path.write_bytes(data)
            if _kind(path) not in _KINDS:
                raise InputError("expected PNG or JPEG", field=f"image {number}")
        try:
            study = open_study(folder, modality=modality, body_part=body_part)
            for error in study.rejected:
                raise error
            total = sum(series.shape[0] * series.shape[1] for series in study.series)
            if total > pixels:
                problem = f"the pictures of a conversation may have {pixels:,} pixels together"
                raise InputError(problem, field="images", value=f"{total:,} pixels")
            pictures = [picture_of(series.image) for series in study.series]
        except InputError as error:
            raise _named(error, folder) from None
    return replace(study, path=Path("images")), pictures


def _kind(path: Path) -> str | None:
    try:
        return sniff(path)
    except InputError:
        return None


def _named(error: InputError, folder: Path) -> InputError:
    """An error about a file as one about a picture of the conversation."""
    file = Path(error.path or "").name
    if not file.startswith("image-"):
        return error
    where = f"image {int(file[6:])}" + (f" ({error.field})" if error.field else "")
    return InputError(error.problem.replace(f"{folder}/", ""), field=where, value=error.value)
