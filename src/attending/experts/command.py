"""An outside program, such as nnU-Net or TotalSegmentator, as an expert: NIfTI in, NIfTI out, no shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np

from attending.errors import InputError, printable
from attending.experts.card import ExpertCard, ExpertError, card_of, labels_of, text_of
from attending.experts.expert import step
from attending.experts.finding import Finding, Record
from attending.experts.fit import digest, fit
from attending.imaging import Study, Volume, open_study
from attending.spatial import resample, same_grid

_PLACES = ("{input}", "{output}", "{input_folder}", "{output_folder}")


class Command:
    """A program that reads NIfTI files and writes one label map.

    Args:
        card: What the model is told.
        argv: Program and arguments. `{input}` and `{output}` become the paths of the first image and of the label
            map, `{input_folder}` and `{output_folder}` the folders they lie in, and `{name}` the value of the card's
            argument `name`, from its closed list. Run directly, not by a shell.
        labels: Names by label id of the map.
        lesions: Which of them are lesions.
        seconds: The program is killed, with all it started, after this time.
        output: The label map's name in the output folder.
    """

    def __init__(
        self,
        card: ExpertCard,
        argv: Sequence[str],
        labels: Mapping[int, str],
        lesions: tuple[int, ...] = (),
        seconds: float = 600,
        output: str = "case.nii.gz",
    ) -> None:
        self._card, self.argv, self.labels, self.lesions = card, tuple(argv), labels, lesions
        self.seconds, self.output = seconds, output

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        return self._card

    def available(self) -> str | None:
        """See `Expert`."""
        if shutil.which(self.argv[0]) is None:
            return f"the program {self.argv[0]} is not on the path; install it"
        return None

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Write the images to a folder of its own, run the program, read its label map; see `Expert`."""
        from attending.experts.segment import tell

        used, warnings = fit(self.card, study)
        first = used[0].volume
        with TemporaryDirectory(prefix="attending-expert-") as temporary:
            source, result = Path(temporary) / "in", Path(temporary) / "out"
            source.mkdir()
            result.mkdir()
            for channel, series in enumerate(used):
                # nnU-Net's names (case, channel); it wants all channels on one grid, that of the first.
                volume = series.volume
                if not same_grid(volume, first):
                    volume = resample(volume, first, nearest=False, outside=float(volume.array.min()))
                    warnings.append(f"{series.sequence} lies on another grid than {used[0].sequence} and was resampled")
                _save(volume, source / f"case_{channel:04d}.nii.gz")
            self._call(self._words(source / "case_0000.nii.gz", result, arguments), Path(temporary))
            labels = _read(result / self.output)
        if not same_grid(labels, first):
            labels = resample(labels, first, nearest=True)
            warnings.append(f"{self.card.name} answered on another grid; its mask was resampled")
        labels = Volume(labels.array, first.affine, series=first.series)
        record = Record(
            "",
            self.card.version,
            inputs={series.id: digest(series) for series in used},
            settings={"argv": list(self.argv)},
        )
        return tell(labels, self.labels, used[0], record, warnings, self.lesions)

    def _words(self, image: Path, result: Path, arguments: Mapping[str, str]) -> list[str]:
        filled = {
            "{input}": str(image),
            "{output}": str(result / self.output),
            "{input_folder}": str(image.parent),
            "{output_folder}": str(result),
        } | {f"{{{name}}}": value for name, value in arguments.items()}
        return [filled.get(word, word) for word in self.argv]

    def _call(self, words: list[str], folder: Path) -> None:
        """Run the program in a process group of its own, so that it can be ended with all it started."""
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            until = time.monotonic() + self.seconds
            try:
                while process.poll() is None:
                    step(0, 1)
                    if time.monotonic() > until:
                        raise ExpertError(f"took longer than its {self.seconds:g} seconds")
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.2)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise ExpertError(f"the program ended with {process.returncode}: {_last_line(log)}")


def _save(volume: Volume, path: Path) -> None:
    """Write an image with both of NIfTI's transforms, since programs differ in which one they read."""
    array = np.moveaxis(volume.array, 0, -1) if volume.array.ndim == 4 else volume.array
    image = nib.Nifti1Image(array, volume.affine)
    image.set_qform(volume.affine, code="scanner")
    image.set_sform(volume.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it said nothing"


def _read(path: Path) -> Volume:
    """The label map, through the same checks as a user's file."""
    if not path.is_file():
        raise ExpertError("the program left no label map")
    volume = open_study(path).series[0].volume
    array = volume.array
    if (
        array.ndim != 3
        or not array.size
        or not np.array_equal(array, np.rint(array))
        or array.min() < 0
        or array.max() > 65535
    ):
        raise ExpertError("the program's label map does not hold label ids")
    return Volume(array.astype(np.uint16), volume.affine)


def command_expert(table: Mapping[str, Any], path: Path) -> Command:
    """The expert that a YAML card with `kind: command` describes.

    Raises:
        InputError: A field is missing or of the wrong kind.
    """
    card = card_of(table, path)
    argv = table.get("command")
    if not (isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv)):
        raise InputError("expected a list: the program, then its arguments", path=path, field="command", value=argv)
    known = {*_PLACES, *(f"{{{name}}}" for name in card.arguments)}
    for word in argv:
        if word.startswith("{") and word not in known:
            raise InputError(f"expected one of {', '.join(sorted(known))}", path=path, field="command", value=word)
    labels = labels_of(table, path)
    if labels is None:
        raise InputError("expected names by label id", path=path, field="labels")
    seconds = table.get("seconds", 600)
    if not (isinstance(seconds, int | float) and 0 < seconds <= 86400):
        raise InputError("expected seconds above 0, at most a day", path=path, field="seconds", value=seconds)
    output = text_of(table, "output", path, "case.nii.gz")
    if Path(output).name != output:
        raise InputError("expected a file name without folders", path=path, field="output", value=output)
    lesions = table.get("lesions", [])
    if not (isinstance(lesions, list) and all(isinstance(one, int) for one in lesions)):
        raise InputError("expected a list of label ids", path=path, field="lesions", value=lesions)
    return Command(card, argv, labels, tuple(lesions), float(seconds), output)
