"""Yes or no: words count only as words; negation, hedges, refusals and contradictions are told apart."""

from __future__ import annotations

import re

from attending.evaluation.parse import Parsed, final_answer, found, invalid
from attending.evaluation.parse_words import DENIED, HEDGE, REFUSAL

_YES = r"yes|yeah|yep|yup|affirmative"
_NO = r"no|nope|nah"
# Verdicts that stand for yes or no only when they are the whole answer.
_WHOLE = {
    **dict.fromkeys(("y", "true", "correct", "positive", "present", "right", "it is", "there is", "there are"), True),
    **dict.fromkeys(
        ("n", "false", "incorrect", "negative", "absent", "none", "unlikely", "not present", "not really"), False
    ),
    **dict.fromkeys(
        ("not seen", "not visible", "it is not", "there is not", "there are not", "i do not think so"), False
    ),
    "i think so": True,
}
_ECHO = re.compile(r"\b(?:yes|no)\s*(?:or|and|/|nor|,?\s*(?:but\s+)?also)\s*(?:yes|no)\b")
_UNSAID = re.compile(r"\b(?:not|n't|neither|cannot say|can't say|whether|if)\s+(?:a\s+)?(?:definite\s+)?(?:yes|no)\b")
_SAID_YES = re.compile(rf"\b(?:{_YES})\b")
# "no" answers where the sentence ends or turns; before a noun it only denies that noun.
_SAID_NO = re.compile(
    rf"\b(?:{_NO})\b(?=\s*(?:$|[.,;:!?)\]\n\"'*]|-\s)|\s+(?:there|it|this|that|the|these|they|he|she|i|we|because|as|since)\b)"
)
_OPENS_NO = re.compile(rf"\W*(?:{_NO})\b")
_STATED = re.compile(
    r"\b(?:there(?:'s| is| are| appears?| seems?)|(?:is|are|appears?|seems?)(?: \w+){0,2}? (?:present|seen|visible"
    r"|noted|identified|evident|demonstrated|observed|detected|likely|apparent|depicted|shown)|shows?|demonstrates?|reveals?|"
    r"exhibits?|contains?|indicates?|suggests?|depicts?|present|evidence of|consistent with)\b"
)
_USUAL = re.compile(r"\b(?:normal|clear|unremarkable|intact|healthy|unchanged)\b")
_CLAUSE = re.compile(r"[.;:!?\n]+|,?\s+(?:but|however|although|though|while|whereas|yet|and there|except)\b")


def yes_no(text: str) -> Parsed:
    """The answer as a bool.

    In this order: a verdict that is the whole answer; the words yes and no where they answer ("No, ..." but not "no
    effusion"); then what the sentences state or deny to be there. Invalid: `empty`, `both` (also "yes or no"),
    `refusal`, `hedge` (it may be), `neither` ("The heart is normal" answers only who knows the question).
    """
    lower = final_answer(text).lower()
    plain = re.sub(r"\s+", " ", lower).strip(" .!*\"'()[]")
    if not plain:
        return invalid("empty")
    if plain in _WHOLE:
        return found(_WHOLE[plain])
    if _ECHO.search(lower):
        return invalid("both")
    if _UNSAID.search(lower):
        return invalid("neither")
    yes, no = _SAID_YES.search(lower) is not None, _SAID_NO.search(lower) is not None
    if yes and no:
        return invalid("both")
    if no and (_refuses(lower) if _OPENS_NO.match(lower) else REFUSAL.search(lower)):
        return invalid("refusal")
    return found(yes) if yes or no else _stated(lower)


def _refuses(text: str) -> bool:
    """Whether an opening no goes on to refuse: "No, I cannot tell"."""
    return REFUSAL.match(re.sub(r"^\W*\w+\W*(?:(?:i|it|we) (?:am |is |are )?)?", "", text)) is not None


def _stated(text: str) -> Parsed:
    """What the clauses state or deny, where all agree."""
    if REFUSAL.search(text):
        return invalid("refusal")
    verdicts = set()
    hedged = False
    for clause in _CLAUSE.split(text):
        if not clause or not clause.strip():
            continue
        if HEDGE.search(clause):
            hedged = True
        elif DENIED.search(clause) and " " in clause.strip():
            verdicts.add(False)
        elif _STATED.search(clause) and not _USUAL.search(clause):
            verdicts.add(True)
    if len(verdicts) == 2:
        return invalid("both")
    if hedged:
        return invalid("hedge")
    return found(verdicts.pop()) if verdicts else invalid("neither")
