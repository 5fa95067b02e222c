"""Runner: asks a model the questions of a task under every condition, in shards, and goes on where it stopped."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from attending.consult import Attending, Case, Options
from attending.errors import AttendingError, InputError, NotAvailableError
from attending.evaluation import shifts
from attending.evaluation.asking import Asker, Condition, Lender, record
from attending.evaluation.controls import AUDIT, MAIN, NO_EXPERTS, PICTURES, chosen, donors
from attending.evaluation.expert_cache import ExpertCache
from attending.evaluation.journal import Journal, entries, write_whole
from attending.evaluation.sources import Samples, load_samples
from attending.evaluation.task import Task, find_task
from attending.experts import Expert
from attending.model import Backend, Sampling, load_backend

Tick = Callable[[int, int], None]
Loader = Callable[[str], Backend]


@dataclass(frozen=True)
class Plan:
    """What is run. It is kept in `run.json`; a folder that holds a run of another kind is refused.

    Attributes:
        task: Name of a shipped task, or path of a YAML file.
        model: Folder or URL.
        out: Folder of the task's files.
        data: Folder of the dataset, where it needs one.
        cache: Folder for phantoms and for what experts found.
        experts: Names, or experts; empty for none; None for all that can run here.
        seeds: Of the model's draws; each is a run of its own.
        temperature: Instead of the task's; None takes the task's.
        controls: Instead of the task's.
        control_limit: Samples of each part that a control asks; 0 for all.
        audit: Also ask with experts' results of other studies.
        route: Ask the experts before the model speaks, whether it can call them or not.
        rounds: How often the model may have experts run.
        limit: Only the first samples; 0 for all.
        batch: Conversations that go on at once.
        shifts: Names of shifts (`attending.evaluation.shifts`) under which the samples of controls are asked too.
    """

    task: str
    model: str
    out: Path
    cache: Path
    data: Path | None = None
    experts: tuple[str | Expert, ...] | None = ()
    seeds: tuple[int, ...] = (0,)
    temperature: float | None = None
    controls: tuple[str, ...] | None = None
    control_limit: int = 300
    audit: bool = False
    route: bool = False
    rounds: int = 3
    limit: int = 0
    batch: int = 8
    shifts: tuple[str, ...] = ()

    def conditions(self, task: Task) -> list[Condition]:
        """How each sample is asked: the main runs first."""
        wanted = task.controls if self.controls is None else self.controls
        names = [*(name for name in PICTURES if name in wanted), *shifts.conditions(self.shifts)]
        if self.experts != ():
            names = [NO_EXPERTS, *(AUDIT if self.audit else ()), *names]
        return [*(Condition(MAIN, seed) for seed in self.seeds), *(Condition(name, self.seeds[0]) for name in names)]


@dataclass
class Work:
    """One task made ready: its samples, and who is asked which under what condition."""

    plan: Plan
    task: Task
    samples: Samples
    _donors: dict[str, Any] = field(default_factory=dict)

    def donor(self, index: int, condition: str) -> int:
        """The sample that lends to another under a condition; -1 where none fits."""
        if condition not in self._donors:
            self._donors[condition] = donors(self.samples, condition)
        return int(self._donors[condition][index])

    def asked(self, condition: Condition) -> Iterator[tuple[int, int]]:
        """Index of each sample that a condition asks, and of its lender."""
        within = chosen(self.samples, 0 if condition.name in (MAIN, NO_EXPERTS) else self.plan.control_limit)
        lends = condition.name == "shuffled" or condition.name in AUDIT
        for index in range(len(self.samples)):
            donor = self.donor(index, condition.name) if lends else -1
            if within[index] and (donor >= 0 or not lends):
                yield index, donor


def prepare(plan: Plan) -> Work:
    """Read the task and its samples, and claim the folder.

    Raises:
        InputError: The task or its data cannot be used, or the folder holds another run.
    """
    task = find_task(plan.task)
    samples = load_samples(task, plan.data, plan.cache, plan.limit)
    fixed = {
        **task.identity,
        "samples": len(samples),
        "data": samples.digest,
        "model": plan.model,
        "experts": "all" if plan.experts is None else [_name(expert) for expert in plan.experts],
        "route": plan.route,
        "rounds": plan.rounds,
        "temperature": task.temperature if plan.temperature is None else plan.temperature,
        "control_limit": plan.control_limit,
        "limit": plan.limit,
    }
    path = plan.out / "run.json"
    if path.is_file():
        _same(path, fixed)
    loose = {
        "task": plan.task,
        "data": None if plan.data is None else str(plan.data.absolute()),
        "cache": str(plan.cache.absolute()),
        "seeds": list(plan.seeds),
        "controls": None if plan.controls is None else list(plan.controls),
        "audit": plan.audit,
        "shifts": list(plan.shifts),
    }
    write_whole(path, json.dumps({"fixed": fixed, "plan": loose}, indent=1) + "\n")
    return Work(plan, task, samples)


def reopen(out: Path) -> Work:
    """The run whose answers lie in a folder, as it was last started; nothing is asked.

    Raises:
        InputError: There is none, or its data is not there any more or has changed.
    """
    path = out / "run.json"
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
        fixed, loose = told["fixed"], told["plan"]
        plan = Plan(
            loose["task"], fixed["model"], out, Path(loose["cache"]), loose["data"] and Path(loose["data"]),
            None if fixed["experts"] == "all" else tuple(fixed["experts"]), tuple(loose["seeds"]), fixed["temperature"],
            None if loose["controls"] is None else tuple(loose["controls"]), fixed["control_limit"], loose["audit"],
            fixed["route"], fixed["rounds"], fixed["limit"], shifts=tuple(loose.get("shifts") or ()),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("expected a folder that attending eval has written", path=path) from error
    return prepare(plan)


def run(
    plan: Plan,
    shards: int = 1,
    *,
    load: Loader = load_backend,
    tick: Tick = lambda done, total: None,
    engine: str = "local",
) -> Work:
    """Ask everything that is not answered yet.

    Answers go to `answers-<shard>.jsonl` of the plan's folder as they come. After a kill the same call goes on: what is
    on disk is not asked again, and what was on its way is.

    Args:
        plan: What to run.
        shards: Processes; samples about the same images go to the same one.
        load: Makes the model; called in each process.
        tick: Called with answers so far and answers in all.
        engine: `local`, or `ray` for the machines of a cluster.

    Raises:
        InputError: As `prepare`; or answers on disk that cannot be read.
        NotAvailableError: The model or an expert is not there (any more).
    """
    work = prepare(plan)
    if engine == "ray" or shards > 1:
        from attending.evaluation.shards import in_processes, on_ray

        (on_ray if engine == "ray" else partial(in_processes, tick=tick))(plan, shards, load)
    else:
        run_shard(work, 0, 1, load, tick)
    return work


def run_shard(work: Work, shard: int, shards: int, load: Loader, tick: Tick = lambda done, total: None) -> None:
    """Ask what one shard has to; see `run`."""
    plan, samples = work.plan, work.samples
    conditions = plan.conditions(work.task)
    done = answered(plan.out, conditions, len(samples))
    total = sum(1 for condition in conditions for _ in work.asked(condition))
    count = sum(map(sum, done.values()))
    tick(count, total)
    backend: Backend | None = None
    found = ExpertCache(plan.cache / "experts")
    with Journal(plan.out / f"answers-{shard}.jsonl") as journal:
        for condition in conditions:
            mine = (
                (index, donor)
                for index, donor in work.asked(condition)
                if not done[condition][index] and _shard_of(samples[index].place, shards) == shard
            )
            first = next(mine, None)
            if first is None:
                continue
            backend = backend or load(plan.model)
            for told in _answers(work, backend, found, condition, _chain(first, mine)):
                journal.write(told)
                count += 1
                tick(count, total)


def answered(out: Path, conditions: Sequence[Condition], size: int) -> dict[Condition, bytearray]:
    """Per condition a 1 for each sample that has its answer on disk.

    Raises:
        InputError: A record of no sample here, or a second one of the same.
    """
    done = {condition: bytearray(size) for condition in conditions}
    for path in sorted(out.glob("answers-*.jsonl")):
        for told in entries(path):
            try:
                index, condition = int(told["i"]), Condition(str(told["condition"]), int(told["seed"]))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError("holds a record that is no answer", path=path) from error
            marks = done.get(condition)
            if marks is None:
                continue  # of a control that this run does not ask for
            if not 0 <= index < size or marks[index]:
                raise InputError(
                    "is of no sample here, or there twice", path=path, field="record", value=told.get("id")
                )
            marks[index] = 1
    return done


def _answers(
    work: Work, backend: Backend, found: ExpertCache, condition: Condition, mine: Iterator[tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    """The records of one condition, as the model answers; a sample that cannot be asked gets its error."""
    plan, task = work.plan, work.task
    lender = Lender(found)
    without = condition.name in ("blank", "text_only", NO_EXPERTS)
    temperature = task.temperature if plan.temperature is None else plan.temperature
    sampling = Sampling(task.tokens, temperature, seed=condition.seed)
    doctor = Attending(
        backend, [] if without else plan.experts, Options(plan.rounds, route=plan.route, sampling=sampling), run=lender
    )
    codec, published = doctor.codec, task.protocol == "reference"
    asker = Asker(work.samples, lender, doctor.experts, codec.slices, published, codec.together)
    waiting: dict[int, tuple[int, Case]] = {}
    failed: deque[dict[str, Any]] = deque()

    def cases() -> Iterator[Case]:
        number = 0
        for index, donor in mine:
            try:
                case = asker.case(index, condition.name, donor)
            except InputError as error:
                failed.append(record(index, work.samples[index], condition, str(error), ()))
            else:
                waiting[number] = index, case
                number += 1
                yield case

    for number, answer in doctor.as_answered(cases(), plan.batch):
        while failed:
            yield failed.popleft()
        index, case = waiting.pop(number)
        if isinstance(answer, NotAvailableError):
            raise answer  # a server that is gone is no wrong answer
        told = str(answer) if isinstance(answer, AttendingError) else answer
        yield record(index, work.samples[index], condition, told, case.pictures or ())
    yield from failed


def _shard_of(place: str, shards: int) -> int:
    return zlib.crc32(place.encode("utf-8", "replace")) % shards


def _chain(first: tuple[int, int], rest: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    yield first
    yield from rest


def _name(expert: str | Expert) -> str:
    return expert if isinstance(expert, str) else expert.card.name


def _same(path: Path, told: dict[str, Any]) -> None:
    """Refuse a folder that holds another run.

    Raises:
        InputError: Names what differs.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))["fixed"]
        differ = [name for name in told if held.get(name) != told[name]]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError("is no description of a run", path=path) from error
    if differ:
        problem = f"this folder holds another run ({differ[0]} is {held.get(differ[0])}); choose another --out"
        raise InputError(problem, path=path, field=differ[0], value=told[differ[0]])
