"""Metrics of whole reports: BLEU, ROUGE-L, METEOR, CIDEr, F1 of CheXpert labels. An empty answer is an empty report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attending.evaluation.labels import CHEXPERT, CHEXPERT_5, positives
from attending.evaluation.metrics.base import Array, Metric, Row, Weighted, ratio
from attending.evaluation.parse import Parsed
from attending.evaluation.text import (
    bleu_statistics,
    cider,
    coco_bleu,
    meteor,
    meteor_counts,
    report_tokens,
    rouge_l,
    rouge_tokens,
)
from attending.evaluation.text import meteor_score as score_counts


def _answer(row: Row) -> str:
    return str(row.prediction.value) if row.prediction.valid else ""


def _pair(parsed: Parsed, reference: Any, tokens: Callable[[str], list[str]]) -> tuple[list[str], list[str]]:
    return tokens(str(parsed.value)) if parsed.valid else [], tokens(str(reference))


def bleu_4(parsed: Parsed, reference: Any) -> float:
    """BLEU-4 of one pair as pycocoevalcap gives it; near 0 without a common 4-gram."""
    mine, theirs = _pair(parsed, reference, report_tokens)
    return min(1.0, float(coco_bleu(bleu_statistics([mine], [theirs])[0])[-1])) if mine else 0.0


def rouge_l_score(parsed: Parsed, reference: Any) -> float:
    """ROUGE-L F1 of one pair as rouge-score gives it."""
    return rouge_l(*_pair(parsed, reference, rouge_tokens))


def meteor_score(parsed: Parsed, reference: Any) -> float:
    """METEOR of one pair by exact words and stems (see `attending.evaluation.text.meteor`)."""
    return meteor(*_pair(parsed, reference, report_tokens))


def _bleu(order: int) -> Callable[[Sequence[Row]], Weighted]:
    """Corpus BLEU as pycocoevalcap computes it, on report tokens."""

    def prepare(rows: Sequence[Row]) -> Weighted:
        mine = [report_tokens(_answer(row)) for row in rows]
        counts = bleu_statistics(mine, [report_tokens(str(row.reference)) for row in rows])

        def value(weights: Array) -> Array:
            sums = weights @ counts
            return np.where(sums[:, 0] == 0, 0.0, coco_bleu(sums)[:, order - 1])

        return value

    return prepare


def _mean(scores: Callable[[Sequence[Row]], Array]) -> Callable[[Sequence[Row]], Weighted]:
    def prepare(rows: Sequence[Row]) -> Weighted:
        values = scores(rows)
        return lambda weights: ratio(weights @ values, weights.sum(axis=1))

    return prepare


def _each(scorer: Callable[[Parsed, Any], float]) -> Callable[[Sequence[Row]], Array]:
    return lambda rows: np.array([scorer(row.prediction, row.reference) for row in rows])


def _cider(rows: Sequence[Row]) -> Array:
    """Under resampling the n-gram frequencies stay those of all references."""
    mine = [report_tokens(_answer(row)) for row in rows]
    return cider(mine, [report_tokens(str(row.reference)) for row in rows])


def _meteor_java(rows: Sequence[Row]) -> Weighted:
    """METEOR 1.5 of the corpus as pycocoevalcap computes it, on report tokens."""
    mine = [" ".join(report_tokens(_answer(row))) for row in rows]
    counts = meteor_counts(mine, [" ".join(report_tokens(str(row.reference))) for row in rows])
    return lambda weights: score_counts(weights @ counts)


def _label_f1(labels: tuple[str, ...], micro: bool) -> Callable[[Sequence[Row]], Weighted]:
    """F1 over the positive labels; macro: over the labels that either side has at all."""

    def prepare(rows: Sequence[Row]) -> Weighted:
        given, true = np.zeros((len(rows), len(labels))), np.zeros((len(rows), len(labels)))
        for i, row in enumerate(rows):
            mine, theirs = positives(_answer(row), labels), positives(str(row.reference), labels)
            given[i], true[i] = [label in mine for label in labels], [label in theirs for label in labels]
        both, either = given * true, given + true

        def value(weights: Array) -> Array:
            hits, sizes = weights @ both, weights @ either
            if micro:
                return ratio(2 * hits.sum(axis=1), sizes.sum(axis=1))
            f1 = ratio(2 * hits, sizes)
            return ratio(np.nansum(f1, axis=1), (~np.isnan(f1)).sum(axis=1).astype(np.float64))

        return value

    return prepare


REPORT_SCORERS: dict[str, Callable[[Parsed, Any], float]] = {
    "bleu_4": bleu_4,
    "rouge_l": rouge_l_score,
    "meteor": meteor_score,
}
REPORT_METRICS = (
    *(Metric(f"bleu_{order}", _bleu(order)) for order in (1, 2, 3, 4)),
    Metric("rouge_l", _mean(_each(rouge_l_score))),
    Metric("meteor", _mean(_each(meteor_score))),
    Metric("meteor_1_5", _meteor_java),
    Metric("cider", _mean(_cider), bounded=False),
    Metric("chexpert_macro_f1", _label_f1(CHEXPERT, micro=False)),
    Metric("chexpert_micro_f1", _label_f1(CHEXPERT, micro=True)),
    Metric("chexpert_5_macro_f1", _label_f1(CHEXPERT_5, micro=False)),
    Metric("chexpert_5_micro_f1", _label_f1(CHEXPERT_5, micro=True)),
)
