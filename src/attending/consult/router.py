"""Which experts to ask for a model that cannot: those the user named, or those that fit the study."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attending.consult.terms import canonical
from attending.consult.transcript import Call
from attending.experts import Expert, RefusedError, fit
from attending.imaging import Study


def route(question: str, study: Study, experts: Sequence[Expert], named: bool) -> list[Call]:
    """The calls that go before the model's answer.

    Args:
        question: An argument whose words it holds is chosen ("hepatic tumor" for a question about a liver lesion), else
            the card's default.
        study: What is examined.
        experts: Those on offer.
        named: The user named them: each is asked, and refuses where it does not fit. Otherwise only those that fit.
    """
    calls = []
    for expert in experts:
        if not named:
            try:
                fit(expert.card, study)
            except RefusedError:
                continue
        lists = expert.card.arguments
        chosen = {name: value for name, values in lists.items() if (value := _mentioned(question, values))}
        calls.append(Call(expert.card.name, chosen))
    return calls


def _mentioned(question: str, values: Sequence[str]) -> str | None:
    """The longest value that a question speaks of."""
    said = canonical(question)
    there = [value for value in values if re.search(rf"\b{re.escape(canonical(value))}\b", said)]
    return max(there, key=len, default=None)
