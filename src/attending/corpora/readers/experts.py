"""Expert conversations as datasets: of labelled volumes, of phantoms, and of radiographs with a classifier's scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.phantoms import shape_of
from attending.corpora.readers.reader import Reader
from attending.corpora.readers.shares import shares_of, split_by_hash
from attending.errors import InputError

if TYPE_CHECKING:
    from attending.consult.loop import Codec

_PHANTOM_SPLIT = {"train": "train", "validate": "validation", "test": "test"}


def _codec(name: str) -> Codec:
    from attending.consult.codecs import CODECS

    if name not in CODECS:
        raise InputError(f"expected one of {', '.join(CODECS)}", field="codec", value=name)
    return CODECS[name]()


def _kinds(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def read_volumes(
    folder: Path,
    split: str,
    *,
    progress: Progress,
    of: str = "decathlon",
    codec: str = "vila-m3",
    kinds: str = "",
    balanced: bool = False,
    shares: str = "100,0,0",
    seed: int = 0,
) -> Dataset:
    """Expert conversations of a decathlon task or of BraTS; the experts' findings are the true labels.

    Args:
        folder: As that reader expects it.
        split: See `shares`.
        progress: See `read`.
        of: `decathlon` or `brats`.
        codec: `vila-m3`, as published checkpoints are talked to, or `tools`.
        kinds: Constructions to keep, separated by commas; empty keeps all.
        balanced: As many positives as negatives.
        shares: See that reader.
        seed: Draws wordings.
    """
    from attending.corpora.expert_conversations import expert_conversations
    from attending.corpora.readers import brats, decathlon

    if of not in ("decathlon", "brats"):
        raise InputError("expected decathlon or brats", field="of", value=of)
    cut = shares_of(shares)
    cases = decathlon.cases(folder) if of == "decathlon" else brats.cases(folder)
    chosen = [case for case in cases if split_by_hash(case.patient, cut) == split]
    return expert_conversations(
        chosen,
        _codec(codec),
        name=f"expert {of}",
        split=split,
        seed=seed,
        kinds=_kinds(kinds),
        balanced=balanced,
        progress=progress,
    )


def read_phantoms(
    folder: None,
    split: str,
    *,
    progress: Progress,
    studies: str = "ct,mri,cxr,ct+cxr",
    cases: int = 20,
    first: int = 0,
    styles: str = "A,B,C,D",
    codec: str = "vila-m3",
    kinds: str = "",
    balanced: bool = False,
    size: int = 0,
    seed: int = 0,
) -> Dataset:
    """Expert conversations of phantoms; the experts' findings are the truth.

    Args:
        folder: Not used.
        split: By seed.
        progress: See `read`.
        studies: Of `ct`, `mri`, `cxr` and `ct+cxr` (both in one study), separated by commas.
        cases: Patients of each.
        first: First seed within the split.
        styles: Hospitals, taking turns by seed.
        codec: `vila-m3` or `tools`.
        kinds: Constructions to keep, separated by commas; empty keeps all.
        balanced: As many positives as negatives.
        size: Voxels along a side, for small and fast ones; 0 for the usual.
        seed: Draws wordings.
    """
    from attending.corpora.expert_conversations import expert_conversations
    from attending.corpora.phantom_cases import phantom_cases
    from attending.phantom import seeds_of

    seeds = seeds_of(_PHANTOM_SPLIT[split], first, cases)
    made = []
    for study in _kinds(studies):
        if study not in ("ct", "mri", "cxr", "ct+cxr"):
            raise InputError("expected some of ct, mri, cxr, ct+cxr", field="studies", value=study)
        made += phantom_cases(study, seeds, _kinds(styles), shape=shape_of(study, size))
    return expert_conversations(
        made,
        _codec(codec),
        name="expert phantom",
        split=split,
        seed=seed,
        kinds=_kinds(kinds),
        balanced=balanced,
        progress=progress,
    )


def read_radiographs(
    folder: Path, split: str, *, progress: Progress, of: str = "llava", scores: str = "", codec: str = "vila-m3"
) -> Dataset:
    """Questions or reports about chest radiographs, each begun by asking the CXR expert, whose scores are on disk.

    Args:
        folder: As that reader expects it.
        split: Of that reader.
        progress: See `read`.
        of: The reader of the plain conversations, such as `mimic-cxr` or `medical-diff-vqa`.
        scores: The file that `attending.corpora.scores.score_images` wrote.
        codec: `vila-m3` or `tools`.
    """
    from attending.corpora.dataset import read
    from attending.corpora.scores import read_scores, with_scores

    if not scores:
        raise InputError("needs the file of scores", field="option", value="scores")
    plain = read(of, folder, split)
    dataset = with_scores(plain, read_scores(Path(scores)), _codec(codec), progress=progress)
    dataset.problems[:0] = plain.problems
    return dataset


VOLUMES = Reader(
    name="expert-volumes",
    title="expert conversations of a decathlon task or of BraTS",
    expects=("what decathlon or brats expects (option of)",),
    source="see decathlon and brats",
    citation="Nath et al., VILA-M3, CVPR 2025, arXiv:2411.12915 (the constructions)",
    licence="that of the data",
    splits=("train", "validate", "test"),
    read=read_volumes,
)
PHANTOMS = Reader(
    name="expert-phantom",
    title="expert conversations of phantoms, made as they are asked for",
    expects=("nothing: no folder is read",),
    source="made by `attending`",
    citation="Nath et al., VILA-M3, CVPR 2025, arXiv:2411.12915 (the constructions)",
    licence="Apache-2.0",
    splits=("train", "validate", "test"),
    read=read_phantoms,
    needs_folder=False,
)
RADIOGRAPHS = Reader(
    name="expert-radiographs",
    title="questions or reports about chest radiographs that begin by asking the CXR expert",
    expects=("what the reader named by the option of expects", "a file of scores (option scores)"),
    source="see that reader",
    citation="Nath et al., VILA-M3, CVPR 2025, arXiv:2411.12915 (the construction)",
    licence="that of the data",
    splits=("train", "validate", "test"),
    read=read_radiographs,
)
