"""metrics: scorers judge one answer (0 to 1), metrics judge a set of them; both are looked up by name.

A scorer is a function of (parsed, reference) that gives 0 to 1 and never drops an answer: an invalid one scores 0.
A metric is a `Metric`: rows to one number, with its values under resampling for intervals.

Scorers: exact_match, normalised_match, token_precision, token_recall, token_f1 (any); within_10_percent,
within_20_percent (numbers); box_iou, box_hit (IoU 0.5 or more; boxes); set_exact, set_f1 (lists); bleu_4, rouge_l,
meteor, chexpert_f1, finding_f1, location_f1, severity_agreement, temporal_f1, consistency (reports); dice (masks).

Metrics: mean_score, invalid_rate (any); accuracy, balanced_accuracy, sensitivity, specificity, precision, f1, macro_f1,
micro_f1 (yes_no and option); auroc, ece, brier (yes_no with a probability); mae, mre, mae_answered, mre_answered
(numbers); bleu_1 to bleu_4, rouge_l, meteor, meteor_1_5 (needs Java and the extra `meteor`), cider, chexpert_macro_f1,
chexpert_micro_f1, chexpert_5_macro_f1, chexpert_5_micro_f1 (reports); radgraph, chexbert, green, ratescore (reports;
need the extra `radeval`); set_accuracy (pairs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attending.evaluation.labels import LABEL_SCORERS
from attending.evaluation.metrics.answers import ANSWER_SCORERS
from attending.evaluation.metrics.base import Metric, Row, mean_of
from attending.evaluation.metrics.calibration import CALIBRATION_METRICS, Bin, reliability
from attending.evaluation.metrics.classes import CLASS_METRICS, confusion
from attending.evaluation.metrics.learned import LEARNED_METRICS
from attending.evaluation.metrics.places import box_hit, box_iou, dice, dice_score, hausdorff, iou
from attending.evaluation.metrics.quantities import QUANTITY_METRICS, QUANTITY_SCORERS
from attending.evaluation.metrics.reports import REPORT_METRICS, REPORT_SCORERS
from attending.evaluation.parse import Parsed

Scorer = Callable[[Parsed, Any], float]

SCORERS: dict[str, Scorer] = {
    **ANSWER_SCORERS,
    **QUANTITY_SCORERS,
    "box_iou": box_iou,
    "box_hit": box_hit,
    "dice": dice_score,
    **REPORT_SCORERS,
    **LABEL_SCORERS,
}
"""Per-sample scorers by name."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mean_score", mean_of(lambda row: row.score)),
        Metric("invalid_rate", mean_of(lambda row: 0.0 if row.prediction.valid else 1.0), higher_is_better=False),
        *CLASS_METRICS,
        *CALIBRATION_METRICS,
        *QUANTITY_METRICS,
        *REPORT_METRICS,
        *LEARNED_METRICS,
    )
}
"""Corpus metrics by name."""

__all__ = [
    "METRICS",
    "SCORERS",
    "Bin",
    "Metric",
    "Row",
    "Scorer",
    "confusion",
    "dice",
    "hausdorff",
    "iou",
    "reliability",
]
