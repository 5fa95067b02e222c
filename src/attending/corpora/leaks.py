"""Leaks: whether a patient or an image of one split is in another, within a dataset or across datasets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from attending.corpora.dataset import Dataset
from attending.errors import InputError
from attending.imaging.files import open_regular

_EXAMPLES = 3


class _Part(NamedTuple):
    """What one dataset holds: patients; files by size; digests of pictures made in memory."""

    name: str
    split: str
    patients: frozenset[str]
    files: dict[int, list[Path]]
    pictures: frozenset[str]


def check_leaks(datasets: Iterable[Dataset]) -> list[InputError]:
    """Find what two datasets of different splits share.

    Images are the same when their files are, byte for byte, or for pictures made in memory, when their pixels are. An
    image that was written again (scaled, compressed anew) is not found.

    Args:
        datasets: Any number, of any splits. Patients are compared by their name, which readers make to tell the
            archive they come from, so that MIMIC-CXR and Medical-Diff-VQA are held against each other.

    Returns:
        One problem for each pair of datasets and what leaks between them, with how many and a few of them.
    """
    parts = [_part(dataset) for dataset in datasets]
    found = []
    hashes: dict[Path, str] = {}
    for one, other in combinations(parts, 2):
        if one.split == other.split:
            continue
        between = f"{one.name} {one.split} and {other.name} {other.split}"
        patients = sorted(one.patients & other.patients)
        if patients:
            found.append(_leak(between, "patients", patients))
        images = _same_files(one, other, hashes) + sorted(one.pictures & other.pictures)
        if images:
            found.append(_leak(between, "images", images))
    return found


def _leak(between: str, what: str, shared: list[str]) -> InputError:
    examples = ", ".join(shared[:_EXAMPLES]) + (", ..." if len(shared) > _EXAMPLES else "")
    return InputError(f"both hold {len(shared)} of the same {what}: {examples}", field=between)


def _part(dataset: Dataset) -> _Part:
    patients, images = dataset.patients, dataset.images
    pictures: set[str] = set()
    if patients is None or images is None:
        seen, paths = set(), set()
        for conversation in dataset.conversations:
            seen.add(conversation.patient)
            for image in conversation.images:
                if isinstance(image, Path):
                    paths.add(image)
                else:
                    pictures.add(image.digest)
        patients, images = frozenset(seen - {""}), tuple(sorted(paths))
    files: dict[int, list[Path]] = defaultdict(list)
    for path in images:
        if path.is_file():  # one that is missing is a problem told of elsewhere
            files[path.stat().st_size].append(path)
    return _Part(dataset.name, dataset.split, patients, files, frozenset(pictures))


def _same_files(one: _Part, other: _Part, hashes: dict[Path, str]) -> list[str]:
    """Names of files in both; only files of one size are read."""
    found = []
    for size in one.files.keys() & other.files.keys():
        theirs = {_hash(path, hashes) for path in other.files[size]}
        found += [str(path) for path in one.files[size] if _hash(path, hashes) in theirs]
    return sorted(found)


def _hash(path: Path, hashes: dict[Path, str]) -> str:
    if path not in hashes:
        with open_regular(path) as file:
            hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes[path]
