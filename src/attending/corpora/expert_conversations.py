"""Expert conversations: training records in which the model asks experts, made by the very loop that serves users.

Each is a consultation in which the model's lines are written down beforehand: cards, first turn, calls, results and
instruction come from the codec, calls are read by its parser, and experts run through `run_expert`. So a model is
trained on the texts that it will meet, and a line that its parser does not take for a call cannot get in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from attending.consult.carry_out import RunExpert
from attending.consult.loop import Codec, Options, Run, Said, Say, consultation
from attending.consult.show import first_pictures
from attending.consult.transcript import Transcript, Turn
from attending.corpora.cases import Case, Labelled
from attending.corpora.constructions import Plan, Speaker, plans_for
from attending.corpora.conversation import Conversation, Message
from attending.corpora.dataset import Dataset, Progress
from attending.corpora.readers.gather import Gather, PassedOverError
from attending.corpora.truth_expert import TruthExpert
from attending.errors import InputError
from attending.experts import Expert, ExpertCard, Finding, run_expert

ExpertOf = Callable[[ExpertCard, Labelled, Plan, int], Expert]
"""The expert that stands behind a card: of a case, for a plan, with a seed."""


class _Row(NamedTuple):
    case: int
    plan: int
    split: str


def truth(card: ExpertCard, case: Labelled, plan: Plan, seed: int) -> Expert:
    """An expert that knows the truth, or makes the plan's mistake."""
    return TruthExpert(card, case, seed, plan.mistake, plan.about)


def cards() -> tuple[ExpertCard, ...]:
    """The cards of VILA-M3's experts."""
    from attending.experts.brats import Brats
    from attending.experts.cxr import Cxr
    from attending.experts.vista3d import Vista3D

    return (Brats().card, Vista3D().card, Cxr().card)


def expert_conversations(
    cases: Iterable[Case],
    codec: Codec,
    *,
    name: str = "experts",
    split: str = "train",
    seed: int = 0,
    kinds: Sequence[str] = (),
    balanced: bool = False,
    expert_of: ExpertOf = truth,
    run: RunExpert = run_expert,
    progress: Progress = lambda done: None,
) -> Dataset:
    """Make the expert conversations of cases.

    Args:
        cases: See the functions `cases` of the readers `decathlon` and `brats`, and `phantom_cases`.
        codec: Of the model that is to be trained: `attending.consult.published.Published()` or `tools.Tools()`.
        name: Of the dataset.
        split: Of the records.
        seed: Draws wordings; the same seed, the same conversations.
        kinds: Constructions to keep; empty keeps all. `attending.corpora.constructions` names them.
        balanced: Leave out so many of the more frequent of positives and negatives, for each construction and what it
            is about, that both are as many.
        expert_of: What answers for a card; by default the truth. For the results of real experts give
            `lambda card, *_: find_expert(card.name)`, and plans with a mistake are left out.
        run: `run_expert`, or an `ExpertCache` that keeps results on disk.
        progress: Called with the number of conversations made.
    """
    kept = list(cases)
    offered = cards()

    @lru_cache(maxsize=2)
    def opened(number: int) -> tuple[Labelled, list[Plan], Any]:
        case = kept[number].open()
        shown = first_pictures(case.study, slices=codec.slices)
        speaker = Speaker(codec.name, np.random.default_rng([seed, *kept[number].id.encode()]))
        return case, plans_for(case, speaker, shown.modality, kept[number].facts), shown

    def make(row: _Row) -> Conversation:
        case, plans, shown = opened(row.case)
        plan = plans[row.plan]
        number = seed * 1_000_003 + row.case * 101 + row.plan
        told = tuple(card for card in offered if card.name != plan.without)
        experts = [expert_of(card, case, plan, number) for card in told]
        first = Turn("user", plan.question, shown.pictures, shown.modality, told)
        turns = enact(plan, first, case, experts, codec, run)
        return _record(kept[row.case], row, plan, turns, codec, shown.modality or "")

    gather: Gather[_Row] = Gather(name, split, make, progress)
    for row in _chosen(kept, opened, split, kinds, balanced, expert_of is truth, gather):
        gather.look()
        gather.add(row, "question type", "polarity")
    return gather.dataset(images=[path for case in kept for path in case.files])


def _chosen(
    cases: Sequence[Case],
    opened: Callable[[int], tuple[Labelled, list[Plan], Any]],
    split: str,
    kinds: Sequence[str],
    balanced: bool,
    mistakes: bool,
    gather: Gather[_Row],
) -> Iterator[_Row]:
    """The conversations to make, in the order of the cases; without balancing while each case is still open."""
    rows: list[tuple[_Row, Plan]] = []
    for number in range(len(cases)):
        try:
            plans = opened(number)[1]
        except InputError as error:
            gather.refuse(error)
            continue
        for place, plan in enumerate(plans):
            if (kinds and plan.kind not in kinds) or (plan.mistake and not mistakes):
                continue
            row = _Row(number, place, split)
            if balanced:
                rows.append((row, plan))
            else:
                yield row
    yield from (row for row, _ in _balance(rows))


def _balance(rows: list[tuple[_Row, Plan]]) -> list[tuple[_Row, Plan]]:
    """As many negatives as positives of each construction and subject; those left out are spread evenly."""
    sides: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for place, (_, plan) in enumerate(rows):
        if plan.polarity:
            key = (plan.kind, plan.facts.get("group", ""), plan.facts.get("about", ""))
            sides.setdefault(key, {"positive": [], "negative": []})[plan.polarity].append(place)
    out: set[int] = set()
    for both in sides.values():
        few = min(len(one) for one in both.values())
        for one in both.values():
            keep = {one[(2 * i + 1) * len(one) // (2 * few)] for i in range(few)} if few else set()
            out |= set(one) - keep
    return [row for place, row in enumerate(rows) if place not in out]


def enact(
    plan: Plan,
    first: Turn,
    case: Labelled,
    experts: Sequence[Expert],
    codec: Codec,
    run: RunExpert,
    before: Sequence[Turn] = (),
) -> tuple[Turn, ...]:
    """Hold the consultation, the model saying what the plan has it say; the turns, ending with the model's.

    Those of earlier questions come first, where the user asks another: `before`.
    """
    transcript = Transcript((*before, first))
    findings: list[Finding] = []
    lines = iter(plan.says)
    wanted = len(plan.says) - 1
    asked = consultation(transcript, case.study, experts, codec, Options(), lambda: False)
    step: Any = next(asked)
    told: list[str] = []
    while True:
        reply: Any
        if isinstance(step, Say):
            told = [turn.text for turn in _told(findings, case, codec)]
            reply = Said(next(lines)(findings, told), "stop")
        elif isinstance(step, Run):
            reply = [run(expert, case.study, call.arguments) for call, expert in step.calls]
            findings += reply
            if plan.mistake != "fails" and any(finding.status != "done" for finding in reply):
                raise PassedOverError(f"{reply[0].record.expert} gave no result")
        try:
            step = asked.send(reply)
        except StopIteration as stop:
            transcript = stop.value.transcript
            break
    if next(lines, None) is not None or (wanted and not findings):
        raise RuntimeError(f"the line {plan.kind!r} was not taken for a call: {transcript.turns[-1].text!r}")
    turns = list(transcript.turns)
    while turns[-1].role != "assistant":  # "I segmented ... using" is the last word: the overlay is the answer
        turns.pop()
    for question, answer in plan.then:
        turns += [Turn("user", question), Turn("assistant", answer(findings, told))]
    return tuple(turns)


def _told(findings: Sequence[Finding], case: Labelled, codec: Codec) -> list[Turn]:
    return [codec.tell(None, finding, case.study) for finding in findings]


def _record(case: Case, row: _Row, plan: Plan, turns: Sequence[Turn], codec: Codec, modality: str) -> Conversation:
    messages, pictures = codec.messages(turns)
    facts = {
        "original id": case.id,
        "question type": plan.kind,
        "polarity": plan.polarity,
        "expert": ", ".join(turn.finding.record.expert for turn in turns if turn.finding is not None) or "none",
        "status": ", ".join(turn.finding.status for turn in turns if turn.finding is not None),
        "codec": codec.name,
        "modality": modality,
        "language": "en",
    } | dict(plan.facts)
    return Conversation(
        f"{case.id}/{plan.kind.replace(' ', '-')}-{row.plan}",
        tuple(Message(str(one["role"]), str(one["content"])) for one in messages),
        tuple(pictures),
        case.patient,
        case.source,
        row.split,
        facts,
    )
