"""Controls: the same questions with no picture, a blank one or another patient's; and answers that need no model."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attending.evaluation.metrics.answers import tokens
from attending.evaluation.sources import Sample
from attending.imaging import Picture

MAIN = "main"
NO_EXPERTS = "no_experts"
PICTURES = ("blank", "shuffled", "text_only")
"""Controls that ask the model."""
ANSWERS = ("majority", "by_question")
"""Controls that need no model: the commonest answer of the part, and of the same question on other patients."""
AUDIT = ("expert_shuffled", "expert_adversarial")
"""Expert results of another study: any, or one whose right answer to the question is another."""
_GREY = 127
_OFTEN = 10
_REACH = 500
"""How many candidates are looked at before a sample goes without a lender."""


def blank(picture: Picture) -> Picture:
    """A picture of the same size that shows nothing: even grey."""
    pixels = np.broadcast_to(np.uint8(_GREY), picture.pixels.shape)
    return replace(picture, pixels=pixels, legend=())


def chosen(samples: Sequence[Sample], limit: int) -> npt.NDArray[np.bool_]:
    """Which samples a control asks: `limit` of each part, the same ones in every run; all for 0."""
    if not limit:
        return np.ones(len(samples), bool)
    order: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, sample in enumerate(samples):
        order[sample.part].append((zlib.crc32(sample.id.encode()), index))
    kept = np.zeros(len(samples), bool)
    for listed in order.values():
        kept[[index for _, index in sorted(listed)[:limit]]] = True
    return kept


def donors(samples: Sequence[Sample], kind: str) -> npt.NDArray[np.int64]:
    """For each sample one of the same part about other images, which lends its images or findings; -1 where none fits.

    Args:
        samples: All.
        kind: `shuffled` lends images of the same modality and number. `expert_shuffled` lends findings to a sample with
            the same question, `expert_adversarial` to one whose answer is also another.
    """
    rings: dict[object, list[int]] = defaultdict(list)
    facts: list[tuple[str, str]] = []
    for index, sample in enumerate(samples):
        facts.append((sample.place, normal(sample.answer)))
        if not sample.problem:
            images = (sample.part, sample.modality, len(sample.images))
            rings[images if kind == "shuffled" else alike(sample)].append(index)
    contrary = kind == "expert_adversarial"
    found = np.full(len(samples), -1, np.int64)
    for ring in rings.values():
        ring.sort(key=lambda index: zlib.crc32(f"donor {facts[index][0]} {index}".encode()))
        for at, index in enumerate(ring):
            for step in range(1, min(len(ring), _REACH)):
                other = ring[(at + step) % len(ring)]
                if facts[other][0] != facts[index][0] and (not contrary or facts[other][1] != facts[index][1]):
                    found[index] = other
                    break
    return found


def common_answers(samples: Sequence[Sample], *, by_question: bool) -> list[str]:
    """For each sample the commonest answer of its part, as the dataset writes it.

    It is taken from the test set itself, so it bounds from above what such a guess can reach; leaving each sample out
    in turn would be wrong in the other direction, and push a balanced set below chance.

    Args:
        samples: All.
        by_question: The commonest among the samples with the same question, where there are ten or more.
    """
    tables: dict[object, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if not sample.problem:
            tables[sample.part][sample.answer] += 1
            tables[alike(sample)][sample.answer] += 1
    best = {key: min(table, key=lambda text: (-table[text], text)) for key, table in tables.items()}
    found = []
    for sample in samples:
        often = by_question and tables[alike(sample)].total() >= _OFTEN
        found.append(best.get(alike(sample) if often else sample.part, ""))
    return found


def normal(answer: str) -> str:
    """An answer by its words alone."""
    return " ".join(tokens(answer))


def alike(sample: Sample) -> tuple[str, ...]:
    """Equal for samples that ask the same: of one kind about one thing where the dataset says so, else in its words."""
    about = sample.facts.get("about") or sample.facts.get("class")
    asked = about if about else normal(sample.question)
    return (sample.part, sample.modality, asked, *sample.options)
