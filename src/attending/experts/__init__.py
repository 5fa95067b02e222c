"""experts: specialists that examine a `Study` and return a `Finding`."""

from attending.experts.card import ExpertCard, ExpertError, RefusedError
from attending.experts.embedded import embedded
from attending.experts.expert import Expert, run_expert, step
from attending.experts.finding import Finding, Record, Segmentation
from attending.experts.fit import fit
from attending.experts.registry import experts, find_expert, read_card

__all__ = [
    "Expert",
    "ExpertCard",
    "ExpertError",
    "Finding",
    "Record",
    "RefusedError",
    "Segmentation",
    "embedded",
    "experts",
    "find_expert",
    "fit",
    "read_card",
    "run_expert",
    "step",
]
