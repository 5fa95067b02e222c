"""The word normalisation of VQA challenges as VILA-M3's MIMIC-VQA metric has it, slips included."""

from __future__ import annotations

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_TO_TEN = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0", **{word: str(value) for value, word in enumerate(_TO_TEN.split())}}
_ARTICLES = ("a", "an", "the")
_STOP = re.compile(r"\.(?!\d)")
_STOPS = int(re.UNICODE)
"""The reference gives a flag where a count goes: only the first 32 full stops are removed."""
_COMMA = re.compile(r"\d,\d")
# Written out with their apostrophes; a word that lacks one of them is put right.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
who've why'll why're why's won't would've wouldn't y'all y'all'll y'all'd've you'd you'll you're you've
"""


def _without_one(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


_CONTRACTIONS = {short: word for word in _CONTRACTED.split() for short in _without_one(word)}
_CONTRACTIONS["somebody'd"] = "somebodyd"  # the one entry that the table has the wrong way round


def normalize_word(text: str) -> str:
    """Lower-case words without articles; number words as digits; punctuation dropped or made a space.

    A mark becomes nothing where it stands beside a space anywhere in the text, and a space otherwise; one number with a
    comma (`1,000`) makes every mark nothing.
    """
    plain = text
    squeeze = _COMMA.search(text) is not None
    for mark in _MARKS:
        beside = mark + " " in text or " " + mark in text
        plain = plain.replace(mark, "" if beside or squeeze else " ")
    plain = _STOP.sub("", plain, count=_STOPS)
    words = (_NUMBERS.get(word, word) for word in plain.lower().split())
    kept = (_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
    return " ".join(kept).replace(",", "")
