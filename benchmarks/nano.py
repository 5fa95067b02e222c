"""What attending-nano can and cannot do, from a run of its task; and what it says when every expert fails.

    attending eval run nano --experts TORSO,BRAIN,CHEST --reliance --out runs/eval-nano --model MODEL
    python benchmarks/nano.py table runs/eval-nano
    python benchmarks/nano.py failing runs/eval-nano [--model MODEL] [--questions 200]

`table`: whether the right experts were called, and none where none is needed; answers right with and without experts;
by wording, hospital and kind of study; sizes within 10 %; controls; and how answers follow an expert that lies.
Intervals are of 95 %, by patient. `failing` asks questions that need an expert while each one fails, and lists the
answers that claim something all the same.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attending.consult import Attending, Case, Options
from attending.evaluation.asking import Condition
from attending.evaluation.intervals import bootstrap
from attending.evaluation.results import read_records
from attending.evaluation.runner import reopen
from attending.evaluation.scoring import row_of
from attending.experts import Expert, Finding, Record, find_expert
from attending.imaging import Study, open_study
from attending.model import Sampling, load_backend

Samples = list[tuple[int, Any]]
_SIZES = ("measuring mm", "measuring mL")


def share(values: Sequence[float], patients: Sequence[str]) -> str:
    """A mean with its interval and how many it is of."""
    if not values:
        return "-"
    low, value, high = bootstrap(np.array(values, float), None, list(patients))
    return f"{value:.3f} [{low:.3f}-{high:.3f}] of {len(values)}"


def called(told: Mapping[str, Any]) -> str:
    """The experts that were asked, as the facts name them."""
    return " and ".join(sorted({one["expert"] for one in told.get("experts") or ()}))


def table(out: Path) -> dict[str, Any]:
    """Everything that the answers of a run tell, printed as it is computed."""
    work = reopen(out)
    samples = list(enumerate(work.samples))
    records = read_records(out, len(samples))
    main, alone = (records.get(Condition(name, work.plan.seeds[0]), {}) for name in ("main", "no_experts"))
    needing = [(index, one) for index, one in samples if one.facts["calls"]]
    free = [(index, one) for index, one in samples if not one.facts["calls"]]
    lines: dict[str, str] = {"questions": str(len(samples)), "patients": str(len({one.patient for _, one in samples}))}

    def judged(name: str, which: Samples, answers: Mapping[int, Any], judge: Callable[[Any, Any], float]) -> None:
        there = [(index, one) for index, one in which if index in answers]
        lines[name] = share([judge(one, answers[index]) for index, one in there], [one.patient for _, one in there])

    def right(one: Any, told: Mapping[str, Any]) -> float:
        row = row_of(work.task.parts[one.part], one, told.get("answer") or "", told.get("error") or "")
        return float(row.score >= 0.999)

    judged("the right experts called", needing, main, lambda one, told: float(called(told) == one.facts["calls"]))
    judged("no expert called where none is needed", free, main, lambda one, told: float(not called(told)))
    judged("right, with experts", needing, main, right)
    judged("right, the same model without experts", needing, alone, right)
    judged("right, needing no expert", free, main, right)
    sized = [(index, one) for index, one in samples if one.part in _SIZES]
    judged("sizes within 10 %", sized, main, right)
    for fact in ("wording", "style", "kind"):
        for value in sorted({one.facts[fact] for _, one in samples}):
            these = [(index, one) for index, one in needing if one.facts[fact] == value]
            judged(f"right, with experts, {fact} {value}", these, main, right)
            judged(
                f"right experts, {fact} {value}",
                these,
                main,
                lambda one, told: float(called(told) == one.facts["calls"]),
            )
    for part in work.task.parts:
        judged(f"right, {part}", [(index, one) for index, one in samples if one.part == part], main, right)
    for condition in records:
        if condition.name not in ("main", "no_experts"):
            judged(f"right, {condition.name}", needing, records[condition], right)
    for name, text in lines.items():
        print(f"{name:48} {text}")
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    for index, one in samples:
        if index in main and called(main[index]) != one.facts["calls"]:
            wrong[one.facts["type"]][f"{one.facts['calls'] or 'none'} -> {called(main[index]) or 'none'}"] += 1
    print("wrong calls:", json.dumps({kind: dict(found) for kind, found in sorted(wrong.items())}))
    return {"lines": lines, "wrong": wrong}


class Failing:
    """An expert that always fails."""

    def __init__(self, expert: Expert) -> None:
        self.card = expert.card

    def available(self) -> None:
        """See `Expert`."""

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Fail."""
        name = self.card.name
        return Finding("failed", f"{name}: the graphics card is out of memory", Record(name))


def failing(out: Path, model: str, questions: int) -> None:
    """Ask with experts that fail; print every answer that does not say so."""
    work = reopen(out)
    asked = [one for one in work.samples if one.facts["calls"]][:questions]
    experts = [Failing(find_expert(name)) for name in ("TORSO", "BRAIN", "CHEST")]
    doctor = Attending(load_backend(model), experts, Options(sampling=Sampling(max_new_tokens=96)), run=_run)
    studies = {one.study[0]: open_study(one.study[0]) for one in asked}
    claimed = told = 0
    for one, answer in zip(
        asked, doctor.ask_many(Case(one.prompt, studies[one.study[0]]) for one in asked), strict=True
    ):
        text = getattr(answer, "text", "")
        says = any(word in text.lower() for word in ("no result", "cannot"))
        told += says
        if not says:
            claimed += 1
            print(f"{one.prompt!r}: {text!r}")
    print(f"{claimed} of {len(asked)} answers claim something; {told} say that they cannot")


def _run(expert: Expert, study: Study, arguments: Any = None, **limits: Any) -> Finding:
    return expert.run(study, dict(arguments or {}))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "failing"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--questions", type=int, default=200)
    given = parser.parse_args()
    if given.what == "table":
        table(given.out)
    else:
        failing(given.out, given.model, given.questions)


if __name__ == "__main__":
    main()
