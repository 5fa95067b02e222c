"""BLEU, ROUGE-L, METEOR and CIDEr are those of pycocoevalcap, sacrebleu, rouge-score and nltk, on the same tokens."""

import random
import sys

import absl.logging
import numpy as np
import pytest
import sacrebleu
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import single_meteor_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score import rouge_scorer

from attending.evaluation.text import (
    bleu_statistics,
    cider,
    coco_bleu,
    lcs_length,
    meteor,
    report_tokens,
    rouge_l,
    rouge_tokens,
    sacre_bleu,
    stem,
)

# absl, which rouge_score brings, closes its stream when a server sets up logging: not that of pytest, please.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

WORDS = ["effusion", "effusions", "normal", "lung", "lungs", "opacity", "opacities", *(f"w{i}" for i in range(200))]


@pytest.fixture(scope="module")
def pairs():
    """Token lists of 0 to 70 words, partly shared; one hypothesis is empty."""
    rng = random.Random(0)
    mine, theirs = [], []
    for number in range(150):
        words = WORDS[: rng.choice([12, 207])]
        first = [rng.choice(words) for _ in range(rng.randint(1, 70))]
        second = [word if rng.random() < 0.8 else rng.choice(words) for word in first[: rng.randint(1, 70)]]
        mine.append([] if number == 7 else first)
        theirs.append(second + [rng.choice(words) for _ in range(rng.randint(0, 12))])
    return mine, theirs


@pytest.fixture(scope="module")
def captions(pairs):
    mine, theirs = ({i: [" ".join(tokens)] for i, tokens in enumerate(side)} for side in pairs)
    return mine, theirs


def test_bleu_is_that_of_pycocoevalcap(pairs, captions):
    corpus, single = Bleu(4).compute_score(captions[1], captions[0], verbose=0)
    counts = bleu_statistics(*pairs)
    assert coco_bleu(counts.sum(axis=0)) == pytest.approx(corpus, abs=1e-12)
    assert np.abs(coco_bleu(counts) - np.array(single).T).max() < 1e-12


def test_bleu_is_that_of_sacrebleu(pairs):
    mine, theirs = ([" ".join(tokens) for tokens in side] for side in pairs)
    expected = sacrebleu.corpus_bleu(mine, [theirs], tokenize="none", force=True).score
    assert sacre_bleu(bleu_statistics(*pairs).sum(axis=0)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("a b c d", "a b c d"),
        ("a b c d e", "a x c y e"),
        ("a b c d", "x y z"),
        ("a b", "a b"),
        ("a a a a a", "a a b b c"),
    ],
)
def test_bleu_smooths_as_sacrebleu_does(mine, theirs):
    expected = sacrebleu.corpus_bleu([mine], [[theirs]], tokenize="none", force=True).score
    counts = bleu_statistics([mine.split()], [theirs.split()])
    assert sacre_bleu(counts.sum(axis=0)) == pytest.approx(expected, abs=1e-9)


def test_bleu_counts_by_hand():
    (row,) = bleu_statistics([["the"] * 3], [["the", "cat", "the"]])
    assert list(row) == [3, 3, 2, 0, 0, 0, 3, 2, 1, 0]


def test_bleu_of_a_huge_vocabulary_and_many_pairs_is_still_exact():
    rng = random.Random(1)
    mine = [[f"{rng.random():.12f}" for _ in range(9000)] for _ in range(40)]
    theirs = [tokens[:4500] + tokens[4501:] for tokens in mine]
    counts = bleu_statistics(mine, theirs).sum(axis=0) / 40
    assert list(counts[2:6]) == [8999, 8997, 8995, 8993]


def test_bleu_wants_one_reference_each():
    with pytest.raises(ValueError, match="2 hypotheses, 1 references"):
        bleu_statistics([["a"], ["b"]], [["a"]])


def test_rouge_l_is_that_of_pycocoevalcap(pairs, captions):
    expected, single = Rouge().compute_score(captions[1], captions[0])
    found = [rouge_l(a, b, beta=1.2) for a, b in zip(*pairs, strict=True)]
    assert found == pytest.approx(list(single), abs=1e-12)
    assert np.mean(found) == pytest.approx(expected, abs=1e-12)


def test_rouge_l_is_that_of_rouge_score_on_raw_text():
    texts = ["The heart is not enlarged.", "No pleural-effusion; 2.5 cm nodule!", "", "Café ÄB 12", "a b a b a"]
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    for mine in texts:
        for theirs in texts:
            expected = scorer.score(theirs, mine)["rougeL"].fmeasure
            assert rouge_l(rouge_tokens(mine), rouge_tokens(theirs)) == pytest.approx(expected, abs=1e-12)


def test_the_longest_common_subsequence_is_that_of_the_table():
    rng = random.Random(2)
    for _ in range(200):
        a, b = ([rng.choice("abcd") for _ in range(rng.randint(0, 90))] for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
        assert lcs_length(a, b) == table[-1, -1]


def test_cider_is_that_of_pycocoevalcap(pairs, captions):
    expected, single = Cider().compute_score(captions[1], captions[0])
    assert np.abs(cider(*pairs) - single).max() < 1e-9
    assert cider(*pairs).mean() == pytest.approx(expected, abs=1e-9)


class NoSynonyms:
    def synsets(self, word):
        return []


def test_meteor_is_that_of_nltk_without_synonyms(pairs):
    for mine, theirs in zip(*pairs, strict=True):
        assert meteor(mine, theirs) == single_meteor_score(theirs, mine, wordnet=NoSynonyms())
    assert meteor(["effusions"], ["effusion"]) > 0  # by its stem


def test_stems_are_those_of_nltk():
    rng, porter = random.Random(3), PorterStemmer()
    ends = [
        "",
        *("s", "ed", "ing", "ational", "ization", "fulness", "ly", "alli", "logi", "ies", "y", "eed", "ion", "ement"),
        *("able", "ll", "ied", "ness", "es", "bli", "ive"),
    ]
    for _ in range(20_000):
        word = (
            "".join(rng.choice("abcdeiloprstuyz") for _ in range(rng.randint(0, 6)))
            + rng.choice(ends)
            + rng.choice(ends)
        )
        assert not word or stem(word) == porter.stem(word), word


def test_report_tokens_drop_punctuation_and_keep_numbers_and_hyphens():
    found = report_tokens("There's a 2.5-cm nodule; it doesn't move (left-sided), 1,234 mL.")
    assert found == ["there", "'s", "a", "2.5-cm", "nodule", "it", "does", "n't", "move", "left-sided", "1,234", "ml"]
