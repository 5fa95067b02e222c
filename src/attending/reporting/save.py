"""write: an answer into a folder: a report for people, JSON for programs, pictures and masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from attending.consult import NOTICE, Answer
from attending.reporting.album import Album
from attending.reporting.figures import figures_of, place_name
from attending.reporting.folder import TOP, drafting, publish, put, seal
from attending.reporting.masks import write_mask
from attending.reporting.page import Exhibit, Plate, render
from attending.reporting.plain import jsonable, slug

_ROOM = 2_000_000
"""Characters of pictures inside the page, so that a usual report stays under 3 MB and can be mailed."""
_SHARE = 200_000
"""Of that for one finding at least, while there is some: of very many the first have pictures, not none."""


def write(answer: Answer, folder: str | PathLike[str]) -> list[Path]:
    """Write an answer into `folder`.

    - `report.html`: for people; one file, without scripts or links.
    - `answer.json`: `Answer.to_dict`, each finding with its files, `files` with all, relative to the folder.
    - `transcript.json`: the turns, each picture with its file. One JSON object, since it is written once and whole.
    - `files-<id>/`: the pictures as the model was shown them and the overlays (PNG), masks (NIfTI) with their label
      names, and `SHA256SUMS`. The id comes from the content: files of two answers are never taken for each other.

    No file holds a patient's name or id; what series are called is written as their headers have it.

    All appear when they are whole, `answer.json` last; a run that is killed leaves an earlier answer as it was. The
    files of an earlier answer in the same folder are removed, unless they were changed since; other files stay.

    Args:
        answer: What to write.
        folder: Where to; made if it is not there.

    Returns:
        The files, `answer.json` first.

    Raises:
        InputError: The folder is a file, or cannot be written.
    """
    goal = Path(folder).expanduser()
    with drafting(goal) as aside:
        media = aside / "media"
        media.mkdir()
        album = Album(media, answer.study)
        shown = list(_keep_turns(answer, album))
        exhibits = list(_keep_findings(answer, album, media))
        album.room = _ROOM // 4
        seen = [album.add(picture, place_name(picture)) for picture in _last_shown(answer)]
        told, turns = jsonable(answer.to_dict()), jsonable(answer.transcript.to_dict())
        stamp = hashlib.sha256((seal(media) + json.dumps([told, turns])).encode()).hexdigest()[:8]
        name = f"files-{stamp}"
        (aside / "media").rename(aside / name)
        for finding, exhibit in zip(told["findings"], exhibits, strict=True):
            finding["files"] = [f"{name}/{file}" for file in exhibit.files]
        for turn, files in zip(turns, shown, strict=True):
            for picture, file in zip(turn.get("pictures", []), files, strict=True):
                picture["file"] = f"{name}/{file}"
        told["files"] = [*reversed(TOP), *(f"{name}/{path.name}" for path in sorted((aside / name).iterdir()))]
        put(aside / "report.html", render(answer, exhibits, seen, name).encode())
        put(aside / "transcript.json", _json({"answer": stamp, "turns": turns, "notice": NOTICE}))
        put(aside / "answer.json", _json(told))
        return publish(aside, goal, name)


def _keep_turns(answer: Answer, album: Album) -> Iterator[list[str]]:
    """For each turn the files of its pictures, as the model was shown them."""
    for number, turn in enumerate(answer.transcript.turns, 1):
        speaker = slug(turn.finding.record.expert) if turn.finding is not None else turn.role
        yield [
            album.add(picture, f"turn{number:02d}-{speaker}-{place}-{place_name(picture)}").file
            for place, picture in enumerate(turn.pictures, 1)
        ]


def _keep_findings(answer: Answer, album: Album, media: Path) -> Iterator[Exhibit]:
    """What is shown of each finding, its files written; room in the page that one does not need is left to the next."""
    left = _ROOM - _ROOM // 4
    for number, finding in enumerate(answer.findings, 1):
        share = min(left, max(_SHARE, left // (len(answer.findings) + 1 - number)))
        album.room = share
        stem = f"{number:02d}-{slug(finding.record.expert)}"
        plates, files = [], []
        for figure in figures_of(finding, answer.study):
            name = f"{number:02d}-{figure.name}"
            overlay = album.add(figure.overlay, f"{name}-overlay", legend=True)
            plain = None if figure.plain is None else album.add(figure.plain, name)
            plates.append(Plate(figure.about, overlay, plain))
            files += [shot.file for shot in (overlay, plain) if shot is not None]
        if finding.status == "done" and finding.segmentation is not None:
            files += write_mask(finding, finding.segmentation, media, f"{stem}-mask")
        left -= share - album.room
        yield Exhibit(finding, tuple(plates), tuple(dict.fromkeys(files)))


def _last_shown(answer: Answer) -> Any:
    turns = answer.transcript.since_question
    return turns[0].pictures if turns and turns[0].role == "user" else ()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
