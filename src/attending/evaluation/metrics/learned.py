"""Learned report metrics (RadGraph, CheXbert, GREEN, RaTEScore) through RadEval, which brings their code.

They know chest radiographs only, and their weights come from the model hub under their own licences. RadEval is pinned:
its numbers move between versions.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attending.errors import NotAvailableError
from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, ratio

_KEYS = {
    "radgraph": ("radgraph", "radgraph_partial"),
    "chexbert": ("f1chexbert", "f1chexbert_sample_acc_5"),
    "green": ("green", "green"),
    "ratescore": ("ratescore", "ratescore"),
}
"""Our name: RadEval's metric, and its key for scores of single samples."""


def learned_scores(name: str, hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """Scores of each pair by RadEval, [pairs]; 0 where either report is empty.

    `radgraph` is its partial F1 with RadGraph-XL, `chexbert` whether all five leaderboard labels agree, `green`
    GREEN with GREEN-radllama2-7b, `ratescore` RaTEScore.

    Raises:
        NotAvailableError: RadEval is not installed, or its weights cannot be had.
    """
    metric, key = _KEYS[name]
    try:
        from radeval import RadEval
    except ImportError as error:
        raise NotAvailableError(
            f"{name} needs {error.name}; install it with: pip install 'attending[radeval]'"
        ) from error
    full = [i for i, pair in enumerate(zip(hypotheses, references, strict=True)) if all(text.strip() for text in pair)]
    scores = np.zeros(len(references))
    if not full:
        return scores
    with _contained():
        try:
            judge: Any = RadEval(metrics=[metric], per_sample=True, show_progress=False)
        except (OSError, ValueError) as error:
            raise NotAvailableError(f"the weights of {name} cannot be loaded: {error}") from error
        found = judge(refs=[references[i] for i in full], hyps=[hypotheses[i] for i in full])
    scores[full] = np.array([0.0 if value is None else value for value in found[key]], dtype=np.float64)
    return scores


@contextlib.contextmanager
def _contained() -> Any:
    """RadEval silences all warnings of the process and writes to the working directory: not here."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def _prepare(name: str) -> Callable[[Sequence[Row]], Weighted]:
    def prepare(rows: Sequence[Row]) -> Weighted:
        mine = [str(row.prediction.value) if row.prediction.valid else "" for row in rows]
        scores = learned_scores(name, mine, [str(row.reference) for row in rows])
        return lambda weights: ratio(weights @ scores, weights.sum(axis=1))

    return prepare


LEARNED_METRICS = tuple(Metric(name, _prepare(name)) for name in _KEYS)
