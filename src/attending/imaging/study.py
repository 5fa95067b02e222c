"""Study and Series: what was found on disk, with voxels read when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attending.errors import InputError
from attending.imaging.archive import Unpacked
from attending.imaging.image2d import Image2D
from attending.imaging.volume import Volume


@dataclass(frozen=True)
class Patient:
    """Who a series belongs to, as its header says; empty where it does not. Safe to print, not de-identified.

    Two are the same when `id` and `name` are: sex may be missing once, and age grows from study to study.
    """

    id: str = ""
    name: str = ""
    sex: str = field(default="", compare=False)
    age: str = field(default="", compare=False)

    @property
    def known(self) -> bool:
        """Whether a header names them at all."""
        return bool(self.id or self.name)

    def __str__(self) -> str:
        facts = (self.name, self.id and f"ID {self.id}", self.sex, self.age)
        return ", ".join(fact for fact in facts if fact) or "unknown"


@dataclass(eq=False)
class Series:
    """One series: a volume, or frames of a 2D image. All text is safe to print and is still to be escaped in HTML.

    Attributes:
        id: Unique within the study: the Series Instance UID, with `#2`, `#3` where one UID held several; for other
            formats the path below the study's folder.
        kind: `volume`, `image`, or `localizer` (a scout view, set apart from what it plans).
        modality: DICOM modality (`CT`, `MR`, `CR`, `DX`, `US`, ...), or None when neither file nor user said.
        shape: Voxels `(X, Y, Z)` of a volume; `(columns, rows, frames)` of an image.
        spacing: mm along each axis of `shape` (an image has two, (columns, rows)); None when unknown.
        orientation: Where the voxel axes point, such as `LPS`; None for an image.
        channels: Channels of a volume (time points, echoes), colour samples of an image.
        description: Series Description, or what the format has in its place.
        body_part: Body Part Examined, or what the user said; empty when unknown.
        patient: Who it belongs to.
        study_uid: Study Instance UID; empty outside DICOM.
        date: Study date, `YYYYMMDD`; empty when unknown.
        number: Series number, or None.
        sequence: Role in a brain-tumour MRI study: `t1ce`, `t1`, `t2` or `flair`; None for any other.
        files: The files it is read from.
        warnings: What was repaired or assumed, a sentence each.
        archive: What keeps the unpacked files of a zip on disk while a series may still read them.
    """

    id: str
    kind: str
    modality: str | None
    shape: tuple[int, int, int]
    spacing: tuple[float, ...] | None
    read: Callable[[Series], Volume | Image2D] = field(repr=False)
    orientation: str | None = None
    channels: int = 1
    description: str = ""
    body_part: str = ""
    patient: Patient = Patient()
    study_uid: str = ""
    date: str = ""
    number: int | None = None
    sequence: str | None = None
    files: tuple[Path, ...] = field(default=(), repr=False)
    warnings: list[str] = field(default_factory=list)
    archive: Unpacked | None = field(default=None, repr=False)

    @cached_property
    def pixels(self) -> Volume | Image2D:
        """What the series holds, read on first use and kept until `unload`.

        Raises:
            InputError: The pixel data is broken or too large.
            NotAvailableError: A codec is missing.
        """
        return self.read(self)

    @property
    def volume(self) -> Volume:
        """The voxels of a series that is a volume.

        Raises:
            InputError: It is a 2D image, or its pixel data is broken.
        """
        if not isinstance(self.pixels, Volume):
            raise InputError("is a 2D image, not a volume", field="series", value=self.id)
        return self.pixels

    @property
    def image(self) -> Image2D:
        """The frames of a series that is a 2D image.

        Raises:
            InputError: It is a volume, or its pixel data is broken.
        """
        if not isinstance(self.pixels, Image2D):
            raise InputError("is a volume, not a 2D image", field="series", value=self.id)
        return self.pixels

    def unload(self) -> None:
        """Give the pixels' memory back; they are read again when next asked for."""
        self.__dict__.pop("pixels", None)


@dataclass(eq=False)
class Study:
    """What `open_study` found.

    Attributes:
        path: What the user pointed at.
        series: The series that can be read, in the order of patient, study and series number.
        rejected: What could not be read: one error each, naming file, field and value.
        skipped: Files passed over, counted by reason (`not a medical image`, `DICOM without an image (...)`).
    """

    path: Path
    series: list[Series]
    rejected: list[InputError] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def patients(self) -> list[Patient]:
        """The patients in it. More than one means that a question about "the patient" has no answer yet."""
        return list(dict.fromkeys(series.patient for series in self.series))

    @property
    def warnings(self) -> list[str]:
        """The warnings of all its series, each with the series it is about, and what concerns the whole."""
        found = [f"{series.description or series.id}: {text}" for series in self.series for text in series.warnings]
        found = list(dict.fromkeys(found))
        known = sum(patient.known for patient in self.patients)
        if known > 1:
            found.insert(0, f"{known} patients in one place; they are kept apart")
        return found

    @property
    def sequences(self) -> dict[str, Series]:
        """Series by their role in a brain-tumour MRI study (`t1ce`, `t1`, `t2`, `flair`), those that are there.

        Raises:
            InputError: Two series claim one role; the user must name which it is.
        """
        found: dict[str, Series] = {}
        for series in self.series:
            if series.sequence is None:
                continue
            if series.sequence in found:
                raise InputError(
                    f"fits two series, {found[series.sequence].id} and {series.id}; say which it is, for example with "
                    f"--sequence {series.sequence}=ID",
                    path=self.path,
                    field="sequence",
                    value=series.sequence,
                )
            found[series.sequence] = series
        return found

    def find(self, key: str) -> Series:
        """The one series whose id, number or description is `key`.

        Raises:
            InputError: None or several are; says what there is.
        """
        found = [s for s in self.series if s.id == key]
        found = found or [s for s in self.series if key in (str(s.number), s.description)]
        if len(found) == 1:
            return found[0]
        there = "; ".join(f"{s.id} ({s.description})" if s.description else s.id for s in self.series)
        problem = "fits several series" if found else "is no series here"
        raise InputError(f"{problem}; there is: {there}", path=self.path, field="series", value=key)
