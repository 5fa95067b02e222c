"""Sources: the samples of a task, from a dataset's conversations or from phantoms; nothing is dropped in silence."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attending.corpora import PLACE, Conversation, Dataset, read
from attending.errors import InputError, printable
from attending.evaluation.task import Task, fill
from attending.imaging import Picture

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with its reference answer.

    Attributes:
        id: Unique within the task.
        part: Of the task.
        question: As the dataset has it.
        prompt: As the model is asked it.
        expert_prompt: Asked instead where experts are on; `{findings}` is left for what they say. Empty for none.
        answer: The reference answer, as text.
        patient: Who it is about; of another when unknown (each sample is then its own).
        images: What is shown, where there is no study to choose from.
        study: Files that `open_study` takes, the earlier visit before the later one.
        modality: What the pictures were made with; empty when unknown.
        options: Choices, in the order of their letters.
        facts: What else the dataset says.
        group: The set it belongs to; empty for none.
        problem: Why it cannot be asked; it then counts as invalid.
    """

    id: str
    part: str
    question: str
    prompt: str
    answer: str
    patient: str = ""
    images: tuple[Path | Picture, ...] = ()
    study: tuple[Path, ...] = ()
    modality: str = ""
    options: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    problem: str = ""
    expert_prompt: str = ""

    @property
    def place(self) -> str:
        """Equal for samples about the same images: they are worked on together and are not shuffled with each other."""
        if self.study or (self.images and isinstance(self.images[0], Path)):
            return str((self.study or self.images)[0])
        return self.patient or self.id


@dataclass(frozen=True, eq=False)
class Samples(Sequence[Sample]):
    """The samples of a task in a fixed order, made when asked for.

    Attributes:
        task: Whose.
        conversations: They are made from.
        rows: The index of each sample's conversation.
        broken: Rows of the dataset that could not be read, a reason each; they are the last samples.
        counts: How many samples each part has, and what was left out.
        notes: What a reader of the numbers must know, a sentence each.
        digest: SHA-256 of all ids, questions and answers.
    """

    task: Task
    conversations: Sequence[Conversation]
    rows: Sequence[int]
    broken: Sequence[str]
    counts: Mapping[str, int]
    notes: Sequence[str]
    digest: str

    def __len__(self) -> int:
        return len(self.rows) + len(self.broken)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index >= len(self.rows):
            number = index - len(self.rows)
            part = next(iter(self.task.parts))
            return Sample(f"unreadable row {number + 1}", part, "", "", "", problem=self.broken[number])
        sample = _sample(self.task, self.conversations[self.rows[index]])
        assert sample is not None  # rows holds only what a part takes
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def load_samples(task: Task, data: Path | None, cache: Path, limit: int = 0) -> Samples:
    """The samples of a task.

    Args:
        task: Which.
        data: The dataset's folder; phantoms need none.
        cache: Folder where phantoms are made.
        limit: At most so many samples, the first ones; 0 for all.

    Raises:
        InputError: The dataset is not there, is another, has no sample, has an id twice, or holds another split.
    """
    if task.dataset == "phantom-benchmark":
        from attending.evaluation.synthetic import phantom_dataset

        dataset = phantom_dataset(task, cache)
    elif task.dataset == "nano-benchmark":
        from attending.evaluation.nano_benchmark import nano_dataset

        dataset = nano_dataset(task, cache)
    else:
        if data is None:
            raise InputError("needs the folder of its data; give it with --data", field="task", value=task.name)
        within = data / task.dataset  # one folder may hold several datasets
        dataset = read(task.dataset, within if within.is_dir() else data, task.split, **task.options)
    return samples_of(task, dataset, limit)


def samples_of(task: Task, dataset: Dataset, limit: int = 0) -> Samples:
    """The samples that a task makes of a dataset; see `load_samples`."""
    rows = array("q")
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    digest = hashlib.sha256()
    for row, conversation in enumerate(dataset.conversations):
        if conversation.split != task.split:
            problem = f"{conversation.id!r} belongs to {conversation.split}; the task is evaluated on {task.split}"
            raise InputError(problem, field="split", value=conversation.split)
        mark = hash(conversation.id)
        if mark in seen:
            raise InputError("is there twice; ids must be unique", field="id", value=conversation.id)
        seen.add(mark)
        sample = _sample(task, conversation)
        if sample is None:
            counts["of no part"] += 1
            continue
        rows.append(row)
        counts[sample.part] += 1
        digest.update("\0".join((sample.id, sample.prompt, sample.answer, "")).encode("utf-8", "replace"))
        if limit and len(rows) >= limit:
            break
    broken = [] if limit and len(rows) >= limit else [printable(problem, 500) for problem in dataset.problems]
    if not rows:
        raise InputError(f"has no sample of the {task.split} split for this task", field="task", value=task.name)
    return Samples(task, dataset.conversations, rows, broken, dict(counts), _notes(dataset, broken, counts, limit),
                   digest.hexdigest())  # fmt: skip


def _notes(dataset: Dataset, broken: Sequence[str], counts: Mapping[str, int], limit: int) -> list[str]:
    notes = [printable(note, 500) for note in dataset.notes]
    if broken:
        shown = "; ".join(broken[:_SHOWN])
        notes.append(f"{len(broken)} rows could not be read and count as invalid: {shown}")
    if counts.get("of no part"):
        notes.append(f"{counts['of no part']} samples belong to no part of this task and are not asked")
    if limit:
        notes.append(f"only the first {limit} samples were asked (--limit)")
    return notes


def _sample(task: Task, told: Conversation) -> Sample | None:
    """The sample that a conversation makes; None where no part takes it."""
    said = [message for message in told.messages if message.role != "system"]
    question, facts = said[0].content.replace(PLACE, "").strip(), told.facts
    # What the answer holds, where the dataset tells it apart from its wording.
    answer = facts.get("answer") or said[1].content.strip()
    part = task.part_of(facts, answer)
    if part is None:
        return None
    options = tuple(text for letter in LETTERS if (text := facts.get(f"option {letter}")))
    values = {**facts, "question": question, "options": listed(options)}
    values.pop("answer", None)  # no prompt may tell it
    return Sample(
        told.id,
        part,
        question,
        fill(task.parts[part].prompt or task.prompt, values),
        answer,
        told.patient,
        told.images,
        tuple(Path(path) for path in facts.get("study folders", "").split("\n") if path),
        task.modality or facts.get("modality", ""),
        options,
        facts,
        facts.get(task.sets, "") if task.sets else "",
        expert_prompt=fill(task.expert_prompt, values),
    )


def listed(options: Sequence[str]) -> str:
    """Options as a model is shown them, a letter and a line each."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
