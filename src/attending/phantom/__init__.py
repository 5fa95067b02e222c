"""phantom: seeded synthetic studies whose every voxel, measurement, question and sentence is known."""

from attending.phantom.case import Case, generate, stream_cases
from attending.phantom.finding import KINDS, Finding, Request
from attending.phantom.splits import SPLITS, check_apart, seeds_of, split_of
from attending.phantom.study import Visit, label_names
from attending.phantom.style import between, styles

__all__ = [
    "KINDS",
    "SPLITS",
    "Case",
    "Finding",
    "Request",
    "Visit",
    "between",
    "check_apart",
    "generate",
    "label_names",
    "seeds_of",
    "split_of",
    "stream_cases",
    "styles",
]
