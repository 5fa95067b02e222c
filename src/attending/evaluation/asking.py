"""Asking: one sample under one condition becomes a case for the model, and the answer becomes a record."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from attending.consult import Answer, Case
from attending.consult.show import first_pictures
from attending.corpora import load_picture
from attending.errors import InputError, printable
from attending.evaluation import shifts
from attending.evaluation.controls import AUDIT, NO_EXPERTS, blank
from attending.evaluation.sources import Sample
from attending.experts import Expert, Finding
from attending.imaging import Picture, Study, open_study

_FINDINGS = "{findings}"
_MODALITIES = {"CT": "CT", "MR": "MRI", "MRI": "MRI", "CXR": "CXR", "XRAY": "X-RAY", "US": "US", "ULTRASOUND": "US"}
_MAX_TEXT = 2000


@dataclass(frozen=True)
class Condition:
    """How a sample is asked: its name (`main` or a control) and the seed of the model's draws."""

    name: str
    seed: int = 0


class Lender:
    """Stands in for `run_expert`: a study that was lent to gets what the expert finds in the other."""

    def __init__(self, run: Callable[..., Finding]) -> None:
        self._run = run
        self._lent: weakref.WeakKeyDictionary[Study, Study] = weakref.WeakKeyDictionary()

    def lend(self, study: Study, other: Study) -> None:
        """Let `study` have the findings of `other` from now on."""
        self._lent[study] = other

    def __call__(
        self, expert: Expert, study: Study, arguments: Mapping[str, Any] | None = None, **more: Any
    ) -> Finding:
        """See `run_expert`."""
        return self._run(expert, self._lent.get(study, study), arguments, **more)


class Asker:
    """Makes cases.

    Args:
        samples: Of the task.
        lender: What carries out the experts' calls.
        experts: On offer; empty for none.
        slices: Of a volume that the model is shown at first.
        reference: The published protocol: only pictures and the prompt, no word on the modality.
        together: Whether pictures of all modalities of a study are shown.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        lender: Lender,
        experts: Sequence[Expert],
        slices: int,
        reference: bool,
        together: bool = False,
    ) -> None:
        self.samples, self.lender, self.experts = samples, lender, experts
        self.slices, self.reference, self.together = slices, reference, together
        self._open = lru_cache(maxsize=4)(_open)
        self._first = lru_cache(maxsize=4)(self._first_pictures)

    def case(self, index: int, condition: str, donor: int) -> Case:
        """The case of one sample.

        Args:
            index: Of the sample.
            condition: Name of a condition.
            donor: Index of the sample that lends images or findings, for the conditions that need one.

        Raises:
            InputError: Its images cannot be read, or the dataset's row was broken.
        """
        sample = self.samples[index]
        if sample.problem:
            raise InputError(sample.problem)
        if condition == "text_only":
            return Case(sample.prompt)
        lent = self.samples[donor] if condition == "shuffled" else sample
        if condition == "blank":
            study, pictures = self._look(sample, False)
            return Case(sample.prompt, study, tuple(blank(picture) for picture in pictures))
        shift = shifts.told(condition)
        offered = bool(self.experts) and condition != NO_EXPERTS
        study, pictures = self._look(lent, offered)
        if shift:
            seed = zlib.crc32(f"{sample.id} {condition}".encode("utf-8", "replace"))
            pictures = tuple(shifts.shifted(picture, *shift, seed + n) for n, picture in enumerate(pictures))
        prompt = sample.prompt
        if offered and sample.expert_prompt:
            prompt = self._told(sample, self._study(self.samples[donor]) if condition in AUDIT else study)
            study = None
        elif study is not None and condition in AUDIT:
            study = replace(study)  # its own, so that what is lent to it is this question's alone
            other = self._study(self.samples[donor])
            if other is None:
                raise InputError("has no study that experts could examine", field="sample", value=sample.id)
            self.lender.lend(study, other)
        return Case(prompt, study, pictures)

    def pictures(self, sample: Sample) -> tuple[Picture, ...]:
        """What the model is shown of a sample.

        Raises:
            InputError: It cannot be read.
        """
        return self._look(sample, False)[1]

    def _look(self, sample: Sample, experts: bool) -> tuple[Study | None, tuple[Picture, ...]]:
        """The study, where one is needed or says more than the pictures, and the pictures."""
        study = self._study(sample) if experts or sample.study or not self.reference else None
        if sample.study:
            return study, tuple(picture for path in sample.study for picture in self._first(path))
        return study, tuple(load_picture(image) for image in sample.images)

    def _first_pictures(self, path: Path) -> tuple[Picture, ...]:
        return first_pictures(self._open(path, ""), None, self.slices, self.together).pictures

    def _study(self, sample: Sample) -> Study | None:
        """What experts may examine: the latest visit, or a single picture whose modality is known."""
        if sample.study:
            return self._open(sample.study[-1], "")
        modality = _MODALITIES.get(sample.modality.upper().replace("-", ""))
        if len(sample.images) == 1 and isinstance(sample.images[0], Path) and modality:
            return self._open(sample.images[0], modality)
        return None

    def _told(self, sample: Sample, study: Study | None) -> str:
        """The prompt with what the experts predict, a line each."""
        if study is None:
            raise InputError("experts need a picture of known modality", field="sample", value=sample.id)
        lines = []
        for expert in self.experts:
            finding = self.lender(expert, study, {})
            if finding.status != "done":
                raise InputError(
                    f"{finding.record.expert} has no result: {finding.text}", field="sample", value=sample.id
                )
            likely = {name.lower().replace("_", " "): score > 0.5 for name, score in finding.scores.items()}
            lines += [f" {name}: {'yes' if likely[name] else 'no'}\n" for name in sorted(likely)]
        return sample.expert_prompt.replace(_FINDINGS, "".join(lines))


def record(
    index: int, sample: Sample, condition: Condition, answer: Answer | str, pictures: Sequence[Picture]
) -> dict[str, Any]:
    """What is kept of one answer: plain JSON values.

    Args:
        index: Of the sample.
        sample: What was asked.
        condition: How.
        answer: The answer, or why there is none.
        pictures: What was shown.
    """
    told: dict[str, Any] = {
        "i": index,
        "id": sample.id,
        "part": sample.part,
        "condition": condition.name,
        "seed": condition.seed,
        "pictures": [picture.digest[:16] for picture in pictures],
    }
    if not isinstance(answer, Answer):
        return {**told, "answer": "", "status": "error", "error": printable(answer, 1000)}
    return {
        **told,
        "answer": answer.said,
        "status": answer.status,
        "experts": [_brief(finding) for finding in answer.findings],
        "contradicted": sum(check.verdict == "contradicted" for check in answer.checks),
        "seconds": dict(answer.timings),
        "tokens": dict(answer.tokens),
    }


def _brief(finding: Finding) -> dict[str, Any]:
    return {
        "expert": finding.record.expert,
        "arguments": dict(finding.record.arguments),
        "status": finding.status,
        "text": printable(finding.text, _MAX_TEXT),
        "scores": {name: round(score, 4) for name, score in finding.scores.items()},
    }


def _open(path: Path, modality: str) -> Study:
    return open_study(path, modality=modality or None)
