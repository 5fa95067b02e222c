"""reference: VILA-M3's published metrics, bug for bug, so that its tables compare.

Read from the evaluation scripts of Project-MONAI/VLM. What is wrong with them is kept here on purpose and named in
`docs/metrics.md`; the `attending` versions of the tasks measure what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attending.evaluation.reference.classification import chestxray14, chexpert, extract_answer
from attending.evaluation.reference.files import (
    Answered,
    read_class_csv,
    read_mimic_vqa,
    read_pathvqa,
    read_reports,
    read_vqa,
)
from attending.evaluation.reference.report import clean_report, report
from attending.evaluation.reference.vqa import exact_match, mimic_vqa, pathvqa
from attending.evaluation.reference.words import normalize_word

MEASURES: dict[str, Callable[[Sequence[Answered]], Mapping[str, float]]] = {
    "vqa_rad": exact_match,
    "slake": exact_match,
    "pathvqa": pathvqa,
    "mimic_vqa": mimic_vqa,
    "chestxray14": chestxray14,
    "chexpert": chexpert,
    "report": report,
}
"""By task: rows to the numbers that the reference writes; the reported one is first.

`Answered.facts` must have: mimic_vqa `question_type` and `answer_type`; pathvqa `answer_type`; chestxray14 and chexpert
`class`.
"""

__all__ = [
    "MEASURES",
    "Answered",
    "chestxray14",
    "chexpert",
    "clean_report",
    "exact_match",
    "extract_answer",
    "mimic_vqa",
    "normalize_word",
    "pathvqa",
    "read_class_csv",
    "read_mimic_vqa",
    "read_pathvqa",
    "read_reports",
    "read_vqa",
    "report",
]
