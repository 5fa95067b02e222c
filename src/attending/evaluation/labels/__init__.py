"""labels: what a report says, by rules: CheXpert's 14 labels, findings with place, grade and change, contradictions."""

from attending.evaluation.labels.agreement import LABEL_SCORERS, Contradiction, contradictions
from attending.evaluation.labels.chexpert import CHEXPERT, CHEXPERT_5, chexpert, positives
from attending.evaluation.labels.facts import Fact, facts

__all__ = [
    "CHEXPERT",
    "CHEXPERT_5",
    "LABEL_SCORERS",
    "Contradiction",
    "Fact",
    "chexpert",
    "contradictions",
    "facts",
    "positives",
]
