"""How fast our text metrics are beside sacrebleu, rouge-score and pycocoevalcap on report pairs, scores identical.

Each round times both variants once, in turn, in CPU seconds of one thread; the ratio is the median over rounds.
Needs `pip install 'attending[dev]'`. Run: python benchmarks/text_metrics.py [PAIRS] [ROUNDS]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import random
import statistics
import sys
import time
from collections.abc import Callable

import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from rouge_score import rouge_scorer

from attending.evaluation.text import bleu_statistics, cider, coco_bleu, rouge_l, rouge_tokens, sacre_bleu

SENTENCES = (
    "the heart is {grade} enlarged .",
    "there is a {grade} {side} pleural effusion .",
    "no pneumothorax is seen .",
    "{grade} atelectasis at the {side} base .",
    "the lungs are clear .",
    "there is {grade} pulmonary edema with vascular congestion .",
    "an endotracheal tube ends {cm} cm above the carina .",
    "no focal consolidation to suggest pneumonia .",
    "the mediastinal contours are unchanged from the prior study of {cm} days ago .",
    "a {cm} mm nodule in the {side} upper lobe is stable .",
)


def report(rng: random.Random) -> str:
    """A made-up report of four to eight sentences, tokens apart by one space."""
    chosen = rng.sample(SENTENCES, rng.randint(4, 8))
    return " ".join(
        sentence.format(
            grade=rng.choice(["mildly", "small", "moderate", "large"]),
            side=rng.choice(["left", "right"]),
            cm=rng.randint(1, 30),
        )
        for sentence in chosen
    )


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """CPU seconds and the score."""
    start = time.process_time()
    score = work()
    return time.process_time() - start, score


def main(pairs: int = 5000, rounds: int = 5) -> None:
    rng = random.Random(0)
    mine, theirs = [report(rng) for _ in range(pairs)], [report(rng) for _ in range(pairs)]
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    images = {i: [text] for i, text in enumerate(mine)}, {i: [text] for i, text in enumerate(theirs)}

    def ours_bleu() -> float:
        counts = bleu_statistics([text.split() for text in mine], [text.split() for text in theirs])
        return sacre_bleu(counts.sum(axis=0))

    def ours_coco() -> float:
        counts = bleu_statistics([text.split() for text in mine], [text.split() for text in theirs])
        return float(coco_bleu(counts.sum(axis=0))[3])

    def ours_rouge() -> float:
        return sum(rouge_l(rouge_tokens(a), rouge_tokens(b)) for a, b in zip(mine, theirs, strict=True)) / pairs

    def their_rouge() -> float:
        return sum(scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(mine, theirs, strict=True)) / pairs

    def ours_cider() -> float:
        return float(cider([text.split() for text in mine], [text.split() for text in theirs]).mean())

    rows: list[tuple[str, Callable[[], float], Callable[[], float]]] = [
        (
            "BLEU-4, sacrebleu tokenize=none",
            lambda: sacrebleu.corpus_bleu(mine, [theirs], tokenize="none", force=True).score,
            ours_bleu,
        ),
        ("BLEU-4, pycocoevalcap", lambda: Bleu(4).compute_score(images[1], images[0], verbose=0)[0][3], ours_coco),
        ("ROUGE-L, rouge-score", their_rouge, ours_rouge),
        ("CIDEr, pycocoevalcap", lambda: float(Cider().compute_score(images[1], images[0])[0]), ours_cider),
    ]
    print(f"{pairs} pairs, {rounds} rounds, CPU seconds of one thread")
    for name, peer, ours in rows:
        taken = []
        for _ in range(rounds):
            (slow, expected), (fast, found) = timed(peer), timed(ours)
            if abs(expected - found) > 1e-9 * max(1.0, abs(expected)):
                raise SystemExit(f"{name}: {found} is not {expected}")
            taken.append((slow, fast, slow / fast))
        slow, fast = (statistics.median(row[i] for row in taken) for i in (0, 1))
        ratios = [row[2] for row in taken]
        print(
            f"{name:34} peer {slow:6.3f} s   ours {fast:6.3f} s   ratio {statistics.median(ratios):5.1f} "
            f"[{min(ratios):.1f}-{max(ratios):.1f}]"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
