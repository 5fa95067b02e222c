"""Tokenisers: that of rouge-score, and one for reports that follows the Penn Treebank as pycocoevalcap uses it."""

from __future__ import annotations

import re

_ROUGE = re.compile(r"[a-z0-9]+")
# Numbers with their decimals, words with inner hyphens, full stops or slashes, and the Treebank's split clitics.
_REPORT = re.compile(
    r"n't\b|'(?:s|re|ve|ll|d|m)\b|\d+(?:[.,:/-]\d+)*(?:-[^\W_]+)*|[^\W\d_](?:\.[^\W\d_])+\.?"
    r"|[^\W_]+?(?=n't\b)|[^\W_]+(?:[-/][^\W_]+)*|[%+=<>&/]"
)


def rouge_tokens(text: str) -> list[str]:
    """Lower-case runs of ASCII letters and digits: rouge-score's default, without stemming."""
    return _ROUGE.findall(text.lower())


def report_tokens(text: str) -> list[str]:
    """Lower-case Penn Treebank tokens without punctuation.

    pycocoevalcap runs Stanford's PTBTokenizer in Java for this. On plain report sentences the tokens are the same but
    for brackets, which it leaves as `-lrb-` and `-rrb-`; rare cases (abbreviations, times) may differ too. So scores
    here are those of pycocoevalcap *on these tokens*.
    """
    return _REPORT.findall(text.lower())
