"""Expert: three names; and the runner, after which a call has always ended in a `Finding` that can be trusted."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from attending.errors import AttendingError
from attending.experts.card import ExpertCard, ExpertError, RefusedError
from attending.experts.finding import Finding, Record
from attending.experts.fit import fit
from attending.imaging import Study
from attending.spatial import same_grid

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Expert(Protocol):
    """A specialist that examines a study.

    Attributes:
        card: What the model is told.
    """

    @property
    def card(self) -> ExpertCard:
        """What the model is told."""
        ...

    def available(self) -> str | None:
        """None when it can run here; else what is missing and how to get it."""
        ...

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Examine the study; called by `run_expert`, which has checked both against the card.

        A long run calls `step` now and then, so that it can be watched and stopped.

        Raises:
            ExpertError: There is no result, for a reason that the model may read.
        """
        ...


class _Watch:
    """What `step` reports to, and whether the run has been given up."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.given_up = threading.Event()


_watch: ContextVar[_Watch | None] = ContextVar("attending_expert_watch", default=None)


def step(done: int, total: int) -> None:
    """Report that `done` of `total` equal parts of the running expert's work are done.

    Raises:
        ExpertError: The run has taken more than its time, or was interrupted.
    """
    watch = _watch.get()
    if watch is None:
        return
    if watch.given_up.is_set():
        raise ExpertError("was stopped")
    watch.progress(done, total)


def run_expert(
    expert: Expert,
    study: Study,
    arguments: Mapping[str, Any] | None = None,
    *,
    seconds: float = 600,
    progress: Progress = lambda done, total: None,
) -> Finding:
    """Run one expert; whatever it does, the result is a `Finding`, and only a sound one is `done`.

    It is `refused` when card and study or arguments do not fit, and `failed` when the expert is not available, raises,
    takes longer than `seconds`, or returns what cannot be a result: no number where one belongs, a mask that is not on
    its series' grid, nothing at all. An expert that ignores the time limit is left behind in its thread and what it
    returns later is dropped; outside programs are killed.

    Args:
        expert: Which.
        study: What it examines.
        arguments: From the model; taken as hostile, only what the card lists passes.
        seconds: Its time.
        progress: Called with parts done and parts in all.
    """
    began = time.monotonic()
    card = expert.card
    record = Record(card.name, card.version)
    try:
        chosen = card.choose(arguments or {})
        record = replace(record, arguments=chosen)
        missing = expert.available()
        if missing is not None:
            raise ExpertError(f"is not available here: {missing}")
        fit(card, study)
        finding = _in_time(expert, study, chosen, seconds, progress)
        _check(finding, study)
    except RefusedError as error:
        return _nothing("refused", str(error), record, began)
    except (ExpertError, AttendingError) as error:
        return _nothing("failed", f"{card.name}: {error}", record, began)
    except MemoryError:
        return _nothing("failed", f"{card.name}: there is not enough memory for this study", record, began)
    except Exception as error:  # a third party's fault of any kind must not become a finding, nor end the consultation
        _log.warning("expert %s broke", card.name, exc_info=error)
        return _nothing("failed", f"{card.name}: it broke ({type(error).__name__})", record, began)
    record = replace(finding.record, expert=card.name, arguments=chosen, seconds=time.monotonic() - began)
    return replace(finding, record=record)


def _nothing(status: str, text: str, record: Record, began: float) -> Finding:
    return Finding(status, text, replace(record, seconds=time.monotonic() - began))


def _in_time(expert: Expert, study: Study, chosen: Mapping[str, str], seconds: float, progress: Progress) -> Finding:
    """What `expert.run` returns or raises, unless it takes too long."""
    watch = _Watch(progress)
    outcome: list[Finding | BaseException] = []

    def work() -> None:
        _watch.set(watch)
        try:
            outcome.append(expert.run(study, chosen))
        except BaseException as error:  # raised again in the caller's thread
            outcome.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(work), name=f"expert {expert.card.name}", daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:
        watch.given_up.set()
    if not outcome:
        raise ExpertError(f"took longer than its {seconds:g} seconds")
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _check(finding: Finding, study: Study) -> None:
    """Refuse a result that cannot be one.

    Raises:
        ExpertError: Says what is wrong with it.
    """
    if not isinstance(finding, Finding) or finding.status != "done":
        raise ExpertError("returned no finding")
    if not finding.text.strip() or not (finding.segmentation or finding.scores or finding.measurements):
        raise ExpertError("returned an empty finding")
    for name, score in finding.scores.items():
        if not (isinstance(score, float) and 0 <= score <= 1):
            raise ExpertError(f"returned a probability that is none, for {name!r}")
    _check_numbers(finding.measurements)
    if finding.segmentation is None:
        return
    labels = finding.segmentation.labels
    if labels.array.ndim != 3 or labels.array.dtype not in (np.uint8, np.uint16) or not labels.array.size:
        raise ExpertError("returned a mask of the wrong shape or type")
    sources = [series for series in study.series if series.id in finding.record.inputs]
    if not any(series.kind == "volume" and same_grid(labels, series.volume) for series in sources):
        raise ExpertError("returned a mask that is not on the grid of the series it was given")


def _check_numbers(value: object) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _check_numbers(part)
    elif isinstance(value, float) and not np.isfinite(value):
        raise ExpertError("returned a measurement that is no number")
