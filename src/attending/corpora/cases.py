"""Cases: studies whose every voxel has a true label, wherever they come from, in the label ids that experts use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attending.errors import InputError
from attending.imaging import Image2D, Limits, Patient, Series, Study, Volume, open_study


@dataclass(frozen=True, eq=False)
class Labelled:
    """An opened case.

    Attributes:
        study: Its images, in memory.
        labels: True label ids `[X, Y, Z]` on the grid of the study's first series; None for a radiograph.
        names: Names by label id, whether or not they are present: VISTA3D's on CT, BraTS 1, 2, 4 on brain MRI.
        lesions: Label ids that are lesions.
        present: Of findings that have no label, whether they are there (radiographs).
    """

    study: Study
    labels: Volume | None
    names: Mapping[int, str]
    lesions: frozenset[int] = frozenset()
    present: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Case:
    """A case that is not open yet.

    Attributes:
        id: Unique within its dataset.
        patient: Who; see `Conversation.patient`.
        source: Name of the dataset.
        open: Reads or makes it.
        files: What it rests on.
        facts: What else is known: grade, task ...
    """

    id: str
    patient: str
    source: str
    open: Callable[[], Labelled]
    files: tuple[Path, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def study_of(
    pixels: Mapping[str, Volume | Image2D],
    modality: str,
    body_part: str = "",
    patient: str = "",
    folder: Path | None = None,
) -> Study:
    """A study of what is in memory already; a series' id tells its voxels, so that caches know one case from another.

    Args:
        pixels: Volumes or images by name; `t1ce`, `t1`, `t2` and `flair` are known as these sequences.
        modality: DICOM modality of all of them.
        body_part: Body Part Examined.
        patient: Patient's id.
        folder: Where they came from.
    """
    series = []
    for name, one in pixels.items():
        name_and_voxels = f"{name}-{_digest(one)}"
        held = replace(one, modality=modality, series=name_and_voxels)
        shape = held.shape if isinstance(held, Volume) else (held.array.shape[2], held.array.shape[1], len(held.array))
        series.append(
            Series(
                id=name_and_voxels,
                kind="volume" if isinstance(held, Volume) else "image",
                modality=modality,
                shape=shape,
                spacing=held.spacing,
                read=lambda _, held=held: held,  # type: ignore[misc]
                orientation=held.orientation if isinstance(held, Volume) else None,
                body_part=body_part,
                patient=Patient(id=patient),
                sequence=name if name in ("t1ce", "t1", "t2", "flair") else None,
            )
        )
    return Study(folder or Path(), series)


def _digest(pixels: Volume | Image2D) -> str:
    found = hashlib.sha256(f"{pixels.array.dtype} {pixels.array.shape}".encode())
    found.update(np.ascontiguousarray(pixels.array).tobytes())
    if isinstance(pixels, Volume):
        found.update(pixels.affine.tobytes())
    return found.hexdigest()[:16]


def read_volume(path: Path, modality: str | None = None) -> Volume:
    """The voxels of a NIfTI file.

    Raises:
        InputError: It is missing, broken, or no volume.
    """
    return open_study(path, modality=modality, limits=Limits.from_environment()).series[0].volume


def read_labels(path: Path, known: Mapping[int, int], like: Volume | None = None) -> Volume:
    """Label ids of a NIfTI file, each turned into the one that experts use.

    Args:
        path: The file.
        known: By the file's ids, the experts'; 0 stays 0.
        like: The image it belongs to, whose grid it must have.

    Raises:
        InputError: An id that is not known, or another grid; names it.
    """
    volume = read_volume(path)
    array = volume.array
    if array.ndim != 3:
        raise InputError("expected one label map [X, Y, Z]", path=path, field="shape", value=array.shape)
    if like is not None and array.shape != like.shape:
        wrong = f"is not the image's {like.shape}"
        raise InputError(wrong, path=path, field="shape", value=array.shape)
    if like is not None and not np.allclose(volume.affine, like.affine, atol=1e-2):
        raise InputError("lies elsewhere than its image", path=path, field="affine")
    labels: npt.NDArray[np.uint8] = np.zeros(array.shape, np.uint8)
    for theirs, ours in known.items():
        labels[array == theirs] = ours
    unknown = (labels == 0) & (array != 0)  # NaN and fractions too
    if unknown.any():
        expected = ", ".join(map(str, [0, *known]))
        raise InputError(f"expected label ids {expected}", path=path, field="label", value=array[unknown][0])
    return Volume(labels, volume.affine if like is None else like.affine)
