"""Numbers: units brought to mm, mL, %, HU or a count; ranges, words and bounds told apart."""

from __future__ import annotations

import math
import re
from itertools import islice

from attending.evaluation.parse import Parsed, final_answer, found, invalid
from attending.evaluation.parse_words import REFUSAL

_UNITS: dict[str, dict[str, float]] = {
    "mm": {
        **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
        **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
        **dict.fromkeys(("m", "meter", "metre"), 1000.0),
        **dict.fromkeys(("um", "µm", "μm", "micron", "micrometer", "micrometre"), 0.001),
        **dict.fromkeys(("inch", "inche"), 25.4),
    },
    "mL": {
        **dict.fromkeys(("ml", "cc", "milliliter", "millilitre", "cm3", "cm^3", "cm³"), 1.0),
        **dict.fromkeys(("cubic centimeter", "cubic centimetre", "cubic cm"), 1.0),
        **dict.fromkeys(("l", "liter", "litre"), 1000.0),
        **dict.fromkeys(("dl", "deciliter", "decilitre"), 100.0),
        **dict.fromkeys(("mm3", "mm^3", "mm³", "cubic millimeter", "cubic millimetre", "cubic mm", "ul", "µl"), 0.001),
    },
    "%": dict.fromkeys(("%", "percent", "per cent", "percentage point"), 1.0),
    "HU": dict.fromkeys(("hu", "hounsfield unit", "hounsfield"), 1.0),
    "count": {},
}
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_VALUES = {word: float(value) for value, word in enumerate([*_SMALL.split(), "eighteen", "nineteen"])}
_VALUES |= {word: 10.0 * (i + 2) for i, word in enumerate(_TENS.split("|"))}
_VALUES |= {"a couple of": 2.0, "a pair of": 2.0, "a dozen": 12.0, "a single": 1.0, "single": 1.0, "a hundred": 100.0}
_WORD = "|".join(sorted(_VALUES, key=len, reverse=True))
_DIGITS = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?:e[-+]?\d{1,3})?"
_NUMBER = rf"(?:{_DIGITS}|(?:{_TENS})[- ](?:one|two|three|four|five|six|seven|eight|nine)|{_WORD})"
_UNIT = "|".join(sorted((re.escape(unit) for table in _UNITS.values() for unit in table), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?<![\w.,^])(?P<first>{_NUMBER})(?![\w]*\d)\s*(?P<unit1>(?:{_UNIT})s?(?![\w^³]))?"
    rf"(?:\s*(?P<join>-|to|and|or|x|×|by)\s*(?P<second>{_NUMBER})\s*(?P<unit2>(?:{_UNIT})s?(?![\w^³]))?)?"  # noqa: RUF001
    rf"(?:\s*(?:x|×|by)\s*(?P<third>{_NUMBER})\s*(?P<unit3>(?:{_UNIT})s?(?![\w^³]))?)?(?![\d])"  # noqa: RUF001
)
# Numbers that name something instead of measuring it.
_NAMING = re.compile(
    r"\b(?:slices?|images?|series|figures?|fig|segments?|grades?|stages?|types?|levels?|rads|years?|aged?|zones?|couinaud|"
    r"question|option|no|number|case|study|phase|version|class|category|score|lobe|rib|day|date)\s*(?:\.|#|:|of)?\s*$"
)
_BOUND = re.compile(
    r"(?:<|>|≤|≥|\b(?:less|more|greater|fewer|larger|smaller|bigger|under|over|above|below|at least|at most|up to|"
    r"exceed\w*|minimum of|maximum of|no more|no less)(?: than| or equal to)?)\s*(?:about |approximately )?$"
)
_NONE = re.compile(
    r"^\W*(?:no\b|none\b|zero\b|there (?:is|are) (?:no|none|not any)\b|nothing\b|i (?:see|count|find) (?:no|none)\b)"
)
_TOTAL = re.compile(
    r"\b(?:in total,?|(?<!in )total(?: of| is|:| number(?: of \w+)? is)?|altogether|in all,?|overall)\s*$"
)
_MAX_NUMBERS = 1000
_SAME = 0.01
"""Two readings this close, relatively, are one number in two units."""


def number(text: str, unit: str = "count") -> Parsed:
    """The number in `unit`.

    A number without a unit is taken to be in the asked one, unless the answer has numbers with it. A range gives its
    middle, a product such as `3.2 x 2.1 cm` its longest side; a range is no count. Invalid: `empty`, `refusal`,
    `no number`, `several numbers`, `a bound` (less than 5 mm), `other unit`, `negative`, `not finite`.

    Raises:
        ValueError: An unknown unit.
    """
    if unit not in _UNITS:
        raise ValueError(f"unit is {unit!r}; expected one of {', '.join(_UNITS)}")
    answer = final_answer(text).lower().strip()
    if not answer:
        return invalid("empty")
    written = list(islice(_QUANTITY.finditer(answer), _MAX_NUMBERS + 1))
    if len(written) > _MAX_NUMBERS:
        return invalid("several numbers")
    readings = [(match, _read(match, unit)) for match in written if not _names(answer, match)]
    ours = [(match, read) for match, read in readings if read is not None]
    with_unit = [pair for pair in ours if unit != "count" and _unit_of(pair[0])]
    chosen = with_unit or ours
    if not chosen:
        if unit == "count" and _NONE.match(answer):
            return found(0.0)
        return invalid("other unit" if readings else "refusal" if REFUSAL.search(answer) else "no number")
    if len(chosen) > 1:
        totals = [
            pair for pair in chosen if _TOTAL.search(answer[: pair[0].start()]) or _follows_total(answer, pair[0])
        ]
        chosen = totals if len(totals) == 1 else chosen
    values = [read for _, read in chosen if isinstance(read, Parsed)]
    return _checked(_agreed(values, answer, chosen[0][0]), unit)


def _follows_total(answer: str, match: re.Match[str]) -> bool:
    return re.match(r"\s*(?:\w+ ){0,3}?(?:in total|in all|altogether)\b", answer[match.end() :]) is not None


def _names(answer: str, match: re.Match[str]) -> bool:
    before = answer[max(0, match.start() - 30) : match.start()]
    ordinal = re.match(r"(?:st|nd|rd|th)\b", answer[match.end() : match.end() + 3]) is not None
    listed = match["unit1"] is None and re.match(r"[.)]\s+\S", answer[match.end() :]) is not None
    return ordinal or _NAMING.search(before) is not None or (listed and before.strip(" \t")[-1:] in ("", "\n"))


def _unit_of(match: re.Match[str]) -> str | None:
    """The unit written last applies to the numbers before it: "3 x 2 cm"."""
    return match["unit3"] or match["unit2"] or match["unit1"]


def _read(match: re.Match[str], unit: str) -> Parsed | None:
    """The quantity in `unit`, or why it is none; None where it is in another dimension."""
    last = _unit_of(match)
    factors = [f for f in (_factor(match[name] or last, unit) for name in ("unit1", "unit2", "unit3")) if f is not None]
    if len(factors) < 3:
        return None
    values = [
        _value(match[name]) * factor
        for name, factor in zip(("first", "second", "third"), factors, strict=True)
        if match[name]
    ]
    if len(values) == 1:
        return found(values[0])
    if match["join"] in ("x", "×", "by"):  # noqa: RUF001
        return found(max(values), "longest side") if unit == "mm" else invalid("several numbers")
    if match["join"] in ("-", "to") and unit != "count":
        return found(sum(values[:2]) / 2, "middle of a range")
    between = re.search(r"between\s*$", match.string[: match.start()])
    if match["join"] == "and" and between and unit != "count":
        return found(sum(values[:2]) / 2, "middle of a range")
    return invalid("several numbers")


def _factor(written: str | None, unit: str) -> float | None:
    if written is None:
        return 1.0
    table = _UNITS[unit]
    return table.get(written, table.get(written.removesuffix("s")))


def _value(word: str) -> float:
    if word in _VALUES:
        return _VALUES[word]
    tens = re.fullmatch(rf"({_TENS})[- ](\w+)", word)
    if tens:
        return _VALUES[tens[1]] + _VALUES[tens[2]]
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?:e.*)?", word):
        return float(word.replace(",", ""))
    return float(word.replace(",", "."))


def _agreed(values: list[Parsed], answer: str, first: re.Match[str]) -> Parsed:
    """The one number that all readings mean."""
    broken = next((value for value in values if not value.valid), None)
    if broken is not None:
        return broken
    if _BOUND.search(answer[: first.start()]):
        return invalid("a bound")
    lowest, highest = min(v.value for v in values), max(v.value for v in values)
    if math.isfinite(highest) and highest - lowest > _SAME * max(abs(lowest), abs(highest)):
        return invalid("several numbers")
    return values[0]


def _checked(read: Parsed, unit: str) -> Parsed:
    if read.valid and not math.isfinite(read.value):
        return invalid("not finite")
    if read.valid and read.value < 0 and unit != "HU":
        return invalid("negative")
    return read
