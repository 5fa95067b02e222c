"""Whether an expert fits a study, and which series it is then given."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from attending.errors import InputError, printable
from attending.experts.card import ExpertCard, RefusedError
from attending.imaging import Series, Study, Volume

_ANYWHERE = ("WHOLEBODY", "WHOLE BODY")
_MIN_SLICES = 4
UNNAMED = "t1"
"""What a lone MR volume is taken for that does not say which sequence it is."""


def fit(card: ExpertCard, study: Study) -> tuple[list[Series], list[str]]:
    """The series an expert is to see, and warnings about the choice.

    Args:
        card: The expert's.
        study: All series the user has opened.

    Returns:
        One series, or those of `card.sequences` in its order. Of several that fit, the one with the most voxels. Where
        `card.any_sequences`, those that are there; a lone volume that does not say which it is stands for `UNNAMED`.

    Raises:
        RefusedError: Wrong or unknown modality, wrong body part, a sequence that is missing, or several patients.
    """
    wanted = " or ".join(card.modality)
    there = [series for series in study.series if series.modality in card.modality and series.kind != "localizer"]
    if not there:
        found = ", ".join(sorted({_code(series.modality or "unknown") for series in study.series})) or "nothing"
        raise RefusedError(f"{card.name} examines {wanted}; the study holds: {found}")
    patients = {series.patient for series in there}
    if len(patients) > 1:
        raise RefusedError(f"the study holds {len(patients)} patients; {card.name} examines one")
    right = [series for series in there if _part_fits(card, series)]
    if not right:
        found = ", ".join(sorted({_code(series.body_part) for series in there}))
        raise RefusedError(
            f"{card.name} examines {' or '.join(card.body_part).lower()}; the images are of: {found.lower()}"
        )
    chosen, warnings = _sequences(card, study, right) if card.sequences else ([_largest(card, right)], [])
    if card.body_part and not all(series.body_part for series in chosen):
        warnings.append(
            f"the images do not say which body part they show; {card.name} takes {card.body_part[0].lower()}"
        )
    if not card.sequences and len(right) > 1:
        name = printable(chosen[0].description or chosen[0].id)
        warnings.append(f"{len(right)} series fit {card.name}; the largest was examined: {name}")
    for series in chosen:
        warnings += [f"{printable(series.description or series.id)}: {text}" for text in series.warnings]
    return chosen, warnings


def channels(card: ExpertCard, used: list[Series]) -> list[Series | None]:
    """What `fit` chose, a place for each of `card.sequences`: None for one that is missing."""
    if not card.sequences:
        return [*used]
    roles = {series.sequence or UNNAMED: series for series in used}
    return [roles.get(role) for role in card.sequences]


def _code(text: str) -> str:
    """A coded header value as a model may read it, since refusals are told to it: in DICOM's own form or not at all.

    PS3.5 section 6.2, CS: at most 16 capitals, digits, spaces and underscores.
    """
    return text if re.fullmatch(r"[A-Z0-9 _]{1,16}", text.upper()) else "a value that is no DICOM code"


def _part_fits(card: ExpertCard, series: Series) -> bool:
    part = re.sub(r"[^A-Z ]", "", series.body_part.upper())
    return not card.body_part or not part or part in _ANYWHERE or any(word in part for word in card.body_part)


def _sequences(card: ExpertCard, study: Study, right: list[Series]) -> tuple[list[Series], list[str]]:
    try:
        roles = study.sequences
    except InputError as error:
        raise RefusedError(f"{card.name} needs one series for each sequence: {error.problem}") from error
    deep = _volumes(card, right)
    there = [roles[role] for role in card.sequences if role in roles and roles[role] in deep]
    missing = [role for role in card.sequences if role not in roles or roles[role] not in deep]
    if not missing:
        return there, []
    if not card.any_sequences:
        raise RefusedError(
            f"{card.name} needs the sequences {', '.join(card.sequences)}; missing: {', '.join(missing)}"
        )
    warnings = []
    if not there:
        there = [series for series in deep if series.sequence is None]
        if len(there) != 1:
            raise RefusedError(
                f"{card.name} examines the sequences {', '.join(card.sequences)}; the {len(deep)} series here do not "
                f"say which they are: name one or more, for example with --sequence {UNNAMED}=ID"
            )
        missing.remove(UNNAMED)
        warnings.append(f"the images do not say which MRI sequence they are; they were taken for {UNNAMED}")
    warnings.append(f"{card.name} works best with {', '.join(card.sequences)}; missing: {', '.join(missing)}")
    return there, warnings


def _volumes(card: ExpertCard, right: list[Series]) -> list[Series]:
    volumes = [series for series in right if series.kind == "volume"]
    if not volumes:
        raise RefusedError(f"{card.name} examines a volume; the study holds: {right[0].kind}")
    deep = [series for series in volumes if min(series.shape) >= _MIN_SLICES]
    if not deep:
        raise RefusedError(f"{card.name} examines a volume of at least {_MIN_SLICES} slices")
    return deep


def _largest(card: ExpertCard, right: list[Series]) -> Series:
    if card.task == "classification":
        fitting = [series for series in right if series.kind == "image"]
        if not fitting:
            raise RefusedError(f"{card.name} examines an image; the study holds: {right[0].kind}")
    else:
        fitting = _volumes(card, right)
    return max(fitting, key=lambda series: int(np.prod(series.shape)))  # of equals the first


def digest(series: Series) -> str:
    """SHA-256 of a series' voxels, their type, shape and place."""
    pixels = series.pixels
    found = hashlib.sha256(f"{pixels.array.dtype.str} {pixels.array.shape}".encode())
    if isinstance(pixels, Volume):
        found.update(pixels.affine.tobytes())
    for part in pixels.array:
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()
