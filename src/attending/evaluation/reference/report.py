"""Reports: the reference's cleaning, then BLEU, ROUGE-L and CIDEr as pycocoevalcap computes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from attending.evaluation.reference.files import Answered
from attending.evaluation.text import bleu_statistics, cider, coco_bleu, report_tokens, rouge_l

_ENDS = re.compile(r"(?<!a\.m)(?<!p\.m)(?<!Dr)\.(?!\d)|(?<=[!?])")
_SHORTEST = 7
"""Sentences of fewer characters are dropped."""
_BETA = 1.2


def clean_report(text: str) -> str:
    r"""A predicted report as the reference cleans it; empty where it writes none.

    Kept: newlines vanish without a space ("the heart\nis" becomes "the heartis"); what comes before a sentence's
    first letter is cut ("2.5 cm nodule" becomes "Cm nodule"), and text before the first ": "; sentences of six or fewer
    characters, repeated ones and those with a question mark go.
    """
    line = re.sub(r"\s+", " ", text.replace("\n", "").replace("\r", "").strip()).strip()
    kept = []
    for sentence in _sentences(line):
        said = sentence.split(": ", 1)[-1]
        first = next((i for i, letter in enumerate(said) if letter.isalpha()), None)
        said = said if first is None else said[first].upper() + said[first + 1 :]
        if len(said) < _SHORTEST or not said[0].isalpha():
            continue
        said = (said[0].upper() + said[1:]).strip()
        kept.append(said if said[-1] in ".!?" else said + ".")
    return " ".join(sentence for sentence in dict.fromkeys(kept) if "?" not in sentence)


def _sentences(line: str) -> list[str]:
    """Pieces between sentence ends, each with the character that follows its first occurrence in the line."""
    pieces = _ENDS.split(line)
    found = []
    for piece in pieces[:-1]:
        if piece.strip():
            end = line.find(piece) + len(piece)
            found.append(piece.strip() + line[end : end + 1])
    return [*found, pieces[-1].strip()] if pieces[-1].strip() else found


def report(rows: Sequence[Answered]) -> Mapping[str, float]:
    """`BLEU_4` and `ROUGE_L` are reported; also BLEU_1 to BLEU_3 and Cider; `pairs` is how many were compared.

    Predictions are cleaned, references are not. Kept: a report without a prediction, or whose cleaned prediction is
    empty, is left out. METEOR is missing: the reference's needs Java. Tokens are `report_tokens` where it runs
    Stanford's tokeniser.
    """
    cleaned = [(clean_report(row.text), row.reference) for row in rows if row.text is not None]
    pairs = [(report_tokens(mine), report_tokens(theirs.strip())) for mine, theirs in cleaned if mine]
    if not pairs:
        return {"BLEU_4": float("nan"), "ROUGE_L": float("nan"), "pairs": 0.0}
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    bleu = coco_bleu(bleu_statistics(mine, theirs).sum(axis=0))
    return {
        "BLEU_4": float(bleu[3]),
        "ROUGE_L": float(np.mean([rouge_l(a, b, _BETA) for a, b in pairs])),
        **{f"BLEU_{order}": float(bleu[order - 1]) for order in (1, 2, 3)},
        "Cider": float(cider(mine, theirs).mean()),
        "pairs": float(len(pairs)),
    }
