"""Option: which of the offered choices an answer names, by label or by text; never the nearest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import punctuation, whitespace

from attending.evaluation.parse import Parsed, final_answer, found, invalid
from attending.evaluation.parse_words import REFUSAL

_DENIED = re.compile(
    r"\b(?:not|no|isn't|aren't|wasn't|without|excludes?|excluding|rather than|instead of|rules? out|ruled out|unlike|"
    r"unlikely|neither|nor|denies|never|except|incorrect|wrong)\b(?:\W+\w+){0,3}\W*$"
)
_CLAUSE = re.compile(r"[.;!?\n]|,?\s+(?:but|however|although|though|while|whereas|so)\b")


def option(text: str, options: Sequence[str] | Mapping[str, str]) -> Parsed:
    """The label of the option that the answer names.

    Labels count where they stand as labels: alone, at the head with a delimiter ("B. effusion"), in brackets, or after
    "option", "choice" or "answer". "Hepatitis B", "vitamin D" and the article "a" do not. Texts count as whole words,
    the longest first, and not where denied ("not pneumonia"). Invalid: `empty`, `several options`,
    `label and text disagree`, `no such option`, `refusal`, `no option`.

    Raises:
        ValueError: Fewer than two options, or two of one text.
    """
    known = _labelled(options)
    answer = final_answer(text).strip()
    if not answer:
        return invalid("empty")
    labels = _labels(answer, known)
    if labels - known.keys():
        return invalid("no such option")
    if len(labels) > 1:
        return invalid("several options")
    if labels:
        label = next(iter(labels))
        return found(label) if _beside(answer, known) in ("", label) else invalid("label and text disagree")
    texts = _texts(answer, known)
    if len(texts) > 1:
        return invalid("several options")
    if texts:
        return found(next(iter(texts)))
    return invalid("refusal" if REFUSAL.search(answer.lower()) else "no option")


def _labelled(options: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Upper-case labels to texts in plain lower-case words."""
    pairs = (
        options.items() if isinstance(options, Mapping) else zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", options, strict=False)
    )
    known = {str(label).upper(): _words(text) for label, text in pairs}
    if len(known) < 2 or len(known) != len(options) or len(set(known.values())) < len(known):
        raise ValueError(f"options are {options!r}; expected 2 to 26 different texts")
    return known


def _words(text: object) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:[.'][^\W_]+)*|[<>+%]", str(text).lower()))


def _labels(answer: str, known: Mapping[str, str]) -> set[str]:
    """Every label that stands as one; among them letters that no option has."""
    shape = "[A-Z]" if all(len(label) == 1 and label.isalpha() for label in known) else "|".join(map(re.escape, known))
    core = answer.strip(punctuation + whitespace)
    alone = re.fullmatch(rf"(?:(?:option|choice|answer)\W{{1,5}})?({shape})", core, re.IGNORECASE)
    if alone:
        return {alone[1].upper()}
    seen = set()
    head = re.match(rf"[\s(\[*\"']*({shape})\s*(?:[).\]:,*}}]|-\s)", answer)
    if head:
        seen.add(head[1].upper())
    seen |= {match.upper() for match in re.findall(rf"[(\[]\s*({shape})\s*[)\]]", answer)}
    for word in re.finditer(
        rf"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)s?\s*(?:is\s*)?[:(\[]?\s*({shape})\b", answer
    ):
        if not _DENIED.search(_CLAUSE.split(answer[: word.start()])[-1].lower()):
            seen.add(word[1].upper())
    both = re.fullmatch(rf"({shape})\s*(?:,|/|&|and|or)\s*({shape})", core)
    return seen | ({both[1].upper(), both[2].upper()} if both else set())


def _texts(answer: str, known: Mapping[str, str]) -> set[str]:
    """The options whose text the answer holds as whole words and does not deny; the longest first."""
    named = set()
    for clause in _CLAUSE.split(answer.lower()):
        rest = f" {_words(clause)} "
        for label, text in sorted(known.items(), key=lambda pair: -len(pair[1])):
            place = rest.find(f" {text} ") if text else -1
            while place >= 0:
                if text in ("no", "yes") or not _DENIED.search(rest[:place]):
                    named.add(label)
                rest = f"{rest[: place + 1]}{'~ ' * len(text.split())}{rest[place + len(text) + 1 :].lstrip()}"
                place = rest.find(f" {text} ")
    return named


def _beside(answer: str, known: Mapping[str, str]) -> str:
    """The label whose text follows the opening label ("B. effusion"), or nothing."""
    rest = f" {_words(re.sub(r'^[^A-Za-z0-9]*[A-Za-z0-9]+[^A-Za-z0-9]*', '', answer, count=1))} "
    heads = [label for label, text in known.items() if text and rest.startswith(f" {text} ")]
    return max(heads, key=lambda label: len(known[label]), default="")
