"""Words that make a sentence a refusal, a hedge or a denial."""

from __future__ import annotations

import re

_JUDGE = (
    r"tell|say|determin\w*|answer\w*|assess\w*|know\w*|conclu\w*|judge\w*|evaluat\w*|interpret\w*|diagnos\w*|decid\w*|"
    r"confirm\w*|comment|provide|assist|help"
)
REFUSAL = re.compile(
    r"\b(?:(?:can(?:not|'t| not)|could(?: not|n't)|unable|impossible|not (?:possible|able)|difficult|hard)"
    rf"(?: \w+){{0,3}}? (?:to )?(?:{_JUDGE})"
    r"|(?:cannot|can't|unable to|do not|don't) (?:see|view|access|open) (?:the |any |this |your )?"
    r"(?:image|picture|scan|photo)s?"
    r"|(?:do not|don't|does not|doesn't) (?:know|have (?:enough|sufficient))|not (?:sure|certain|clear|enough)|unsure"
    r"|uncertain|unclear|indeterminate|undetermined|inconclusive|insufficient|as an ai|language model|i'm sorry"
    r"|i am sorry|unanswerable|no way to (?:tell|know)|cannot be (?:determined|assessed|answered))\b"
)
"""The answer says that there is no answer. Matched on lower-case text."""

HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibl[ey]|might|may|could|(?:cannot|can't) (?:be )?(?:exclude|rule)d?|not (?:be )?"
    r"(?:excluded|ruled out)|equivocal|questionable|borderline|suspicious|suspected|versus|vs)\b"
)
"""It may or may not be so, with no leaning. Matched on lower-case text."""

DENIED = re.compile(
    r"\b(?:no|not|without|absent|absence|unlikely|denie[sd]|free of|negative for|lacks?|neither|nor|never|cannot"
    r"|fails? to|resolved)\b|n't\b"
)
"""What the clause speaks of is not there. Matched on lower-case text."""
