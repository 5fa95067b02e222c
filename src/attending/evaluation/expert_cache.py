"""Expert cache: what an expert found in a study is computed once and kept on disk, for all questions and all runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import weakref
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from attending.errors import InputError
from attending.experts import Expert, Finding, Record, Segmentation, run_expert
from attending.imaging import Picture, Study, Volume, Window

_LAYOUT = 1


class ExpertCache:
    """Stands in for `run_expert`: the same study, expert, weights and arguments are computed once.

    Which weights an expert has loaded is known from its first result, so its first call in a process is always
    computed; then results are looked up. Only findings that are `done` are kept on disk; what was refused or failed is
    remembered while the process lives.

    Args:
        folder: Where results are kept, a file each. One that cannot be read is computed again.
        run: What computes them.

    Attributes:
        computed: Calls that ran an expert.
        reused: Calls that did not.
    """

    def __init__(self, folder: Path, run: Callable[..., Finding] = run_expert) -> None:
        self.folder, self._run = folder, run
        self.computed = self.reused = 0
        self._weights: dict[tuple[str, str], str] = {}
        self._failed: dict[str, Finding] = {}
        self._digests: weakref.WeakKeyDictionary[Study, str] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()  # two experts of one question run side by side

    def __call__(
        self, expert: Expert, study: Study, arguments: Mapping[str, Any] | None = None, **more: Any
    ) -> Finding:
        """The finding; see `run_expert`."""
        known = self._key(expert, study, arguments)
        found = self._look_up(known) if known else None
        if found is not None:
            with self._lock:
                self.reused += 1
            return found
        finding = self._run(expert, study, arguments, **more)
        with self._lock:
            self.computed += 1
            if finding.status == "done":
                self._weights[expert.card.name, expert.card.version] = finding.record.weights
        key = self._key(expert, study, arguments)
        if key and finding.status == "done":
            _store(finding, self._file(key))
        elif key:
            self._failed[key] = finding
        return finding

    def _look_up(self, key: str) -> Finding | None:
        if key in self._failed:
            return self._failed[key]
        path = self._file(key)
        return _load(path) if path.is_file() else None

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def _key(self, expert: Expert, study: Study, arguments: Mapping[str, Any] | None) -> str | None:
        """None until the expert's weights are known."""
        card = expert.card
        if (card.name, card.version) not in self._weights:
            return None
        asked = {name: str((arguments or {}).get(name, values[0])) for name, values in card.arguments.items()}
        more = sorted(set(arguments or {}) - set(asked))  # what the card does not know is refused, by name
        told = [_LAYOUT, card.name, card.version, self._weights[card.name, card.version], asked, more]
        return hashlib.sha256(json.dumps([*told, self._digest(study)]).encode()).hexdigest()

    def _digest(self, study: Study) -> str:
        with self._lock:
            if study not in self._digests:
                self._digests[study] = study_digest(study)
            return self._digests[study]


def study_digest(study: Study) -> str:
    """SHA-256 of a study's files and of what the user said of them; the same wherever it lies.

    Raises:
        InputError: A file cannot be read any more.
    """
    found = hashlib.sha256()
    for series in study.series:
        told = (series.id, series.modality, series.body_part, series.sequence, series.kind)
        found.update(json.dumps(told).encode())
        for path in series.files:
            try:
                with path.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    return found.hexdigest()


def _store(finding: Finding, path: Path) -> None:
    """Write a finding aside and put it in place; a disk that is full costs the next run time, and this one nothing."""
    arrays: dict[str, Any] = {f"picture {i}": picture.pixels for i, picture in enumerate(finding.pictures)}
    facts = {
        "status": finding.status,
        "text": finding.text,
        "record": asdict(finding.record),
        "measurements": {name: dict(values) for name, values in finding.measurements.items()},
        "scores": dict(finding.scores),
        "warnings": list(finding.warnings),
        "pictures": [_of_picture(picture) for picture in finding.pictures],
    }
    if finding.segmentation is not None:
        labels = finding.segmentation.labels
        arrays |= {"labels": labels.array, "affine": labels.affine}
        facts["labels"] = {"modality": labels.modality, "series": labels.series}
        facts["names"] = {str(label): name for label, name in finding.segmentation.names.items()}
    try:
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    except TypeError:  # a third party's record that JSON cannot hold is computed again each time
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)


def _load(path: Path) -> Finding | None:
    """The finding that a file holds; None when it is broken."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            facts = json.loads(held["facts"].tobytes())
            segmentation = None
            if "names" in facts:
                labels = Volume(held["labels"], held["affine"], **facts["labels"])
                segmentation = Segmentation(labels, {int(label): name for label, name in facts["names"].items()})
            pictures = tuple(
                Picture(held[f"picture {i}"], **_to_picture(told)) for i, told in enumerate(facts["pictures"])
            )
            record = Record(**facts["record"])
            return Finding(
                facts["status"], facts["text"], replace(record, seconds=0.0), segmentation, facts["measurements"],
                facts["scores"], pictures, tuple(facts["warnings"]),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _of_picture(picture: Picture) -> dict[str, Any]:
    told = {name: getattr(picture, name) for name in ("series", "plane", "index", "position", "spacing", "legend")}
    return {**told, "window": None if picture.window is None else asdict(picture.window)}


def _to_picture(told: dict[str, Any]) -> dict[str, Any]:
    window = told["window"] and Window(**told["window"])
    legend = tuple((name, (r, g, b)) for name, (r, g, b) in told["legend"])
    return {**told, "window": window, "spacing": told["spacing"] and tuple(told["spacing"]), "legend": legend}
