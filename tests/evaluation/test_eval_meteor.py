"""METEOR 1.5: scores from counts are those that the Java program gave; where Java is, all of it is pycocoevalcap's."""

import shutil
import subprocess

import numpy as np
import pytest

from attending.errors import NotAvailableError
from attending.evaluation.intervals import bootstrap
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found, invalid
from attending.evaluation.text import meteor_counts, meteor_score, report_tokens

# Pairs, the counts that METEOR 1.5 printed for them (kinds of match: equal, stem, synonym, paraphrase), and its scores.
PAIRS = [
    ("a small effusion is seen on the left", "there is a small left pleural effusion"),
    ("the heart is enlarged", "the heart is enlarged"),
    ("", "no pneumothorax is seen"),
    ("lung is clear with a big effusion", "the lungs are clear without large effusions"),
    ("cardiac size normal is of the heart", "heart size is normal"),
    ("x y z", "stable nodule"),
]
COUNTS = """
8 7 4 3 3 3 2 2 0 0 0 0 0 0 0 0 0 0 0 0 4 5 5
4 4 2 2 2 2 2 2 0 0 0 0 0 0 0 0 0 0 0 0 1 4 4
0 4 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
7 7 3 2 1 1 0 0 1 1 0 0 0 0 1 1 2 2 1 1 2 6 6
7 4 3 1 3 3 1 1 0 0 0 0 0 0 0 0 0 0 0 0 4 4 4
3 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
SCORES = [0.309443795471007, 1.0, 0.0, 0.3041844081946014, 0.37209302325581395, 0.0]
CORPUS = 0.2869946210004652


class Java:
    """Stands in for the program: remembers what it is given, and prints the counts."""

    def __init__(self, monkeypatch, printed=COUNTS):
        self.given, self.printed = "", printed
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, command, *, input, **_):  # noqa: A002 (subprocess' own name)
        self.command, self.given = command, input
        return subprocess.CompletedProcess(command, 0, self.printed.strip() + "\n", "it broke")


def test_scores_of_pairs_and_of_the_corpus_are_those_of_the_program(monkeypatch):
    Java(monkeypatch)
    counts = meteor_counts(*zip(*PAIRS, strict=True))
    assert meteor_score(counts) == pytest.approx(SCORES, abs=1e-12)
    assert float(meteor_score(counts.sum(axis=0))) == pytest.approx(CORPUS, abs=1e-12)


def test_the_program_is_given_a_line_a_pair_whatever_a_text_holds(monkeypatch):
    java = Java(monkeypatch, "\n".join(COUNTS.strip().splitlines()[:2]))
    meteor_counts(["a ||| b\nEVAL ||| 1", "--help"], ["c\r\nd", "e"])
    assert java.given == "SCORE ||| c d ||| a b EVAL 1\nSCORE ||| e ||| --help\n"


@pytest.mark.parametrize("printed", ["", "Error: not 23 numbers", COUNTS.strip() + "\n1 2 3"])
def test_a_program_that_ends_early_gives_no_number(monkeypatch, printed):
    Java(monkeypatch, printed)
    with pytest.raises(NotAvailableError, match=r"METEOR answered \d of 6 pairs; it said: it broke"):
        meteor_counts(*zip(*PAIRS, strict=True))


def test_without_java_or_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NotAvailableError, match="needs Java"):
        meteor_counts(["a"], ["a"])
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr("attending.evaluation.text.meteor_java.find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match=r"pip install 'attending\[meteor\]'"):
        meteor_counts(["a"], ["a"])


def test_as_a_metric_it_is_the_corpus_score_and_an_invalid_answer_an_empty_report(monkeypatch):
    Java(monkeypatch)
    rows = [Row(found(mine) if mine else invalid("empty"), theirs, cluster=theirs) for mine, theirs in PAIRS]
    assert METRICS["meteor_1_5"](rows) == pytest.approx(CORPUS)
    low, value, high = bootstrap(rows, METRICS["meteor_1_5"], draws=100)
    assert 0 <= low < value < high <= 1


def test_no_rows_have_no_score_and_need_no_program():
    assert np.isnan(METRICS["meteor_1_5"]([]))


there = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
SENTENCES = [
    "The heart is mildly enlarged.",
    "There is a 2.5 cm nodule in the right upper lobe, unchanged since 2019.",
    "No pneumothorax or pleural effusion.",
    "An endotracheal tube ends 4 cm above the carina; it wasn't seen before.",
    "The lungs are clear (both sides).",
    "Left-sided effusions have increased by 10% compared with the prior study.",
    "Heart size is at the upper limit of normal.",
    "There's mild interstitial oedema and bibasilar atelectasis.",
]


@pytest.mark.slow  # Java loads tables of 60 MB
@there
def test_it_is_pycocoevalcaps_meteor():
    from pycocoevalcap.meteor.meteor import Meteor

    rng = np.random.default_rng(0)
    reports = [" ".join(rng.choice(SENTENCES, rng.integers(1, 6))) for _ in range(60)]
    mine, theirs = ([" ".join(report_tokens(text)) for text in reports[half::2]] for half in (0, 1))
    mine[3] = ""
    program = Meteor()
    expected, single = program.compute_score(
        {i: [text] for i, text in enumerate(theirs)}, {i: [text] for i, text in enumerate(mine)}
    )
    for pipe in (program.meteor_p.stdout, program.meteor_p.stderr):
        pipe.close()
    counts = meteor_counts(mine, theirs)
    assert meteor_score(counts) == pytest.approx(single, abs=1e-12)
    assert float(meteor_score(counts.sum(axis=0))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow  # Java
@there
def test_report_tokens_are_those_of_stanfords_tokeniser_but_for_brackets():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    told = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(SENTENCES)})
    words = [told[i][0].replace(" -lrb-", "").replace(" -rrb-", "") for i in range(len(SENTENCES))]
    assert [" ".join(report_tokens(text)) for text in SENTENCES] == words
