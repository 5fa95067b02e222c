"""METEOR 1.5 as pycocoevalcap has it: matches by the Java program in that package, scores from their counts.

It matches words that are equal, of one stem, WordNet synonyms, or paraphrases (Denkowski and Lavie 2014). Program and
tables come with `pycocoevalcap`; Java must be on the machine. The counts of pairs add up, so that a corpus, or a
resampling of one, is scored without matching again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attending.errors import NotAvailableError

Array = NDArray[np.float64]
COUNTS = 23
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75  # METEOR 1.5's for English
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # equal, stem, synonym, paraphrase
_JAR = "meteor-1.5.jar"


def meteor_counts(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """What METEOR needs of each pair of texts, whose tokens are apart by spaces.

    Returns:
        [pairs, 23]: words of both texts, function words of both; for each kind of match the content words matched in
        both and the function words matched in both; chunks (0 for a pair that is matched whole), words matched in both.

    Raises:
        NotAvailableError: There is no Java, pycocoevalcap is not installed, or the program ends early.
    """
    command, folder = _program()
    asked = [
        f"SCORE ||| {_line(theirs)} ||| {_line(mine)}\n" for mine, theirs in zip(hypotheses, references, strict=True)
    ]
    done = subprocess.run(
        command, cwd=folder, input="".join(asked), capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    lines = done.stdout.splitlines()
    try:
        counts = np.array([[float(one) for one in line.split()] for line in lines], dtype=np.float64)
        counts = counts.reshape(len(asked), COUNTS)
    except ValueError as error:
        problem = f"METEOR answered {len(lines)} of {len(asked)} pairs; it said: {done.stderr.strip()[-300:]}"
        raise NotAvailableError(problem) from error
    whole = (counts[:, 20] == 1) & (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1])
    counts[whole, 20] = 0
    return counts


def meteor_score(counts: Array) -> Array:
    """METEOR of counts or of sums of them, 0 to 1.

    Args:
        counts: [..., 23].

    Returns:
        [...].
    """
    content, functional = (counts[..., [0, 1]] - counts[..., [2, 3]]), counts[..., [2, 3]]
    length = _DELTA * content + (1 - _DELTA) * functional
    # [..., kind of match, content or function, hypothesis or reference]
    of = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 2, 2)
    matched = np.einsum("k,...kws,w->...s", _WEIGHTS, of, np.array([_DELTA, 1 - _DELTA]))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matched / length, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        broken = counts[..., 20] / ((counts[..., 21] + counts[..., 22]) / 2)
        score = mean * (1 - _GAMMA * broken**_BETA)
    return np.where((matched > 0).all(axis=-1), score, 0.0)


def _program() -> tuple[list[str], Path]:
    """The command, and the folder it must run in."""
    java = shutil.which("java")
    if java is None:
        raise NotAvailableError("METEOR 1.5 needs Java; install a Java runtime so that `java` is on the path")
    found = find_spec("pycocoevalcap")
    for place in (found and found.submodule_search_locations) or ():
        folder = Path(place) / "meteor"
        if (folder / _JAR).is_file():
            return [java, "-jar", "-Xmx2G", _JAR, "-", "-", "-stdio", "-l", "en", "-norm"], folder
    raise NotAvailableError("METEOR 1.5 needs pycocoevalcap; install it with: pip install 'attending[meteor]'")


def _line(text: str) -> str:
    """A text on one line, without the mark that stands between texts."""
    return " ".join(text.replace("|||", " ").split())
