"""Learned report metrics: what RadEval is asked, and that without it nothing pretends."""

import sys
import types
import warnings
from pathlib import Path

import pytest

from attending.errors import NotAvailableError
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.metrics.learned import learned_scores
from attending.evaluation.parse import found, invalid

NAMES = {
    "radgraph": ("radgraph", "radgraph_partial"),
    "chexbert": ("f1chexbert", "f1chexbert_sample_acc_5"),
    "green": ("green", "green"),
    "ratescore": ("ratescore", "ratescore"),
}


@pytest.mark.parametrize("name", NAMES)
def test_without_radeval_the_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "radeval", None)
    with pytest.raises(NotAvailableError, match=r"attending\[radeval\]"):
        METRICS[name]([Row(found("a"), "a")])


@pytest.fixture
def radeval(monkeypatch):
    """RadEval as its version 2.2.1 is called; it litters and silences warnings as that does."""
    asked = []

    class RadEval:
        def __init__(self, metrics, per_sample, show_progress):
            warnings.filterwarnings("ignore")
            Path("litter.txt").write_text("x")
            assert per_sample
            assert not show_progress
            self.metrics = metrics

        def __call__(self, refs, hyps):
            asked.append((self.metrics, refs, hyps))
            (metric,) = self.metrics
            key = next(key for known, key in NAMES.values() if known == metric)
            return {key: [0.25 if a == b else None for a, b in zip(refs, hyps, strict=True)]}

    module = types.ModuleType("radeval")
    module.RadEval = RadEval
    monkeypatch.setitem(sys.modules, "radeval", module)
    return asked


@pytest.mark.parametrize("name", NAMES)
def test_every_report_counts_and_empty_ones_are_not_sent(name, radeval):
    rows = [Row(found("a"), "a"), Row(invalid("empty"), "b"), Row(found("c"), "d"), Row(found("e"), "e")]
    assert METRICS[name](rows) == pytest.approx(0.5 / 4)
    assert radeval == [([NAMES[name][0]], ["a", "d", "e"], ["a", "c", "e"])]


def test_radeval_leaves_no_trace(radeval, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filters = list(warnings.filters)
    learned_scores("green", ["a"], ["a"])
    assert list(tmp_path.iterdir()) == []
    assert warnings.filters == filters


def test_nothing_to_compare_loads_no_weights(radeval):
    assert list(learned_scores("green", ["", "a"], ["b", " "])) == [0, 0]
    assert radeval == []


def test_weights_that_cannot_be_had_are_said_so(monkeypatch):
    def broken(**_):
        raise OSError("no such weights")

    module = types.ModuleType("radeval")
    module.RadEval = broken
    monkeypatch.setitem(sys.modules, "radeval", module)
    with pytest.raises(NotAvailableError, match="weights of green cannot be loaded: no such weights"):
        learned_scores("green", ["a"], ["a"])
