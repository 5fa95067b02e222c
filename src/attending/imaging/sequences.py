"""Which of the four sequences of a brain-tumour MRI study a series is, by what its header calls it."""

from __future__ import annotations

import re

SEQUENCES = ("t1ce", "t1", "t2", "flair")
"""In the order that the BRATS expert takes them."""

_FLAIR = re.compile(r"flair|tirm|dark.?fluid", re.IGNORECASE)
_T1 = re.compile(r"(?<![a-z0-9])(t1|mp.?rage|mprage|spgr|bravo|tfe|3d.?fspgr)", re.IGNORECASE)
_T2 = re.compile(r"(?<![a-z0-9])t2(?![* _-]?(\*|star|gre|flash))", re.IGNORECASE)
_CONTRAST = re.compile(
    r"t1.?(ce|c|gd|gad)(?![a-z])|post(?!erior)|contrast|enhanced|\+ ?(c|gd|km)|c\+"
    r"|(?<![a-z])(gd|gad|km|ce|dotarem|gadovist)(?![a-z])",
    re.IGNORECASE,
)
_WITHOUT = re.compile(r"(?<![a-z])(pre|without|w/?o|non|no|nativ\w*|unenhanced|ohne)(?![a-z])", re.IGNORECASE)
_OTHER = re.compile(
    r"dwi|diff|adc|trace|perf|dsc|dce|swi|bold|fmri|dti|tof|angio|locali|scout|survey|subtract|map", re.IGNORECASE
)


def sequence_of(*names: str, contrast_agent: str = "") -> str | None:
    """The role of an MR series, or None when its names do not say.

    Args:
        names: Series Description, Protocol Name, Sequence Name: the first that tells decides.
        contrast_agent: Contrast/Bolus Agent of the header; a T1 with one is `t1ce` unless its name denies it.
    """
    for name in names:
        if _OTHER.search(name):
            return None
        if _FLAIR.search(name):
            return "flair"
        if _T1.search(name):
            denied = _WITHOUT.search(name)
            given = _CONTRAST.search(name) or contrast_agent.strip(" -").lower() not in ("", "no", "none")
            return "t1ce" if given and not denied else "t1"
        if _T2.search(name):
            return "t2"
    return None
