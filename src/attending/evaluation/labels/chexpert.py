"""CheXpert's 14 labels from a report, by rules: mentions, negation, uncertainty, families.

This is our own rule set on CheXpert's labels (Irvin et al. 2019), not its labeller, which needs Java and old parsers;
on real reports the two disagree in places. `docs/metrics.md` says how it was checked.
"""

from __future__ import annotations

from attending.evaluation.labels.facts import facts
from attending.evaluation.labels.lexicon import lexicon

CHEXPERT = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The labels, in the order of CheXpert's files."""

CHEXPERT_5 = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The five that its leaderboard ranks by."""

POSITIVE, NEGATIVE, UNCERTAIN = 1, 0, -1
_VALUES = {"present": POSITIVE, "uncertain": UNCERTAIN, "absent": NEGATIVE}


def chexpert(report: str, families: bool = True) -> dict[str, int | None]:
    """The label values: 1 positive, 0 negative, -1 uncertain, None not mentioned.

    Over several mentions positive outweighs uncertain, which outweighs negative. No Finding is 1 when nothing but
    support devices is positive or uncertain; an empty report has no label at all.

    Args:
        report: Free text.
        families: Whether what is positive or uncertain makes its parents at least that: consolidation is an opacity.
    """
    labels: dict[str, int | None] = dict.fromkeys(CHEXPERT)
    if not report.strip():
        return labels
    known = lexicon()
    for fact in facts(report):
        value = _VALUES.get(fact.status)
        if value is None:
            continue
        raised = [fact.finding, *(known.ancestors(fact.finding) if families and value != NEGATIVE else [])]
        for finding in raised:
            label = known.chexpert.get(finding)
            if label is not None:
                labels[label] = _stronger(labels[label], value)
    sick = any(labels[label] in (POSITIVE, UNCERTAIN) for label in CHEXPERT if label != "Support Devices")
    labels["No Finding"] = None if sick else POSITIVE
    return labels


def _stronger(old: int | None, new: int) -> int:
    order = (NEGATIVE, UNCERTAIN, POSITIVE)
    return new if old is None else max(old, new, key=order.index)


def positives(report: str, labels: tuple[str, ...] = CHEXPERT) -> frozenset[str]:
    """The labels that a report has as positive; uncertain ones are not."""
    found = chexpert(report)
    return frozenset(label for label in labels if found[label] == POSITIVE)
