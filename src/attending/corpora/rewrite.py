"""Rewrite: a language model brings the sentences of reports to a pool of plain ones, and is not believed blindly.

VILA-M3's authors had a model replace report sentences by those of a pool where they mean the same. Here each distinct
sentence is asked about once, and its answer kept in a JSON lines file that a stopped run goes on with. An answer that
adds or loses a finding, a denial or a number is refused, and the sentence stays as the rules left it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from attending.consult.claims import claims
from attending.corpora.readers.tables import append_to
from attending.errors import InputError
from attending.imaging.files import open_regular
from attending.model import Backend, Sampling

POOL = (
    "The lungs are clear.",
    "The lungs are well expanded.",
    "Lung volumes are low.",
    "The lungs are hyperinflated.",
    "There is no focal consolidation.",
    "There is no pleural effusion.",
    "There is no pneumothorax.",
    "There is no pulmonary edema.",
    "There is no pleural effusion or pneumothorax.",
    "There is no focal consolidation, pleural effusion or pneumothorax.",
    "There is mild pulmonary edema.",
    "There is bibasilar atelectasis.",
    "There is a small right pleural effusion.",
    "There is a small left pleural effusion.",
    "There are bilateral pleural effusions.",
    "The heart is normal in size.",
    "The heart is enlarged.",
    "The cardiomediastinal silhouette is normal.",
    "The mediastinal and hilar contours are normal.",
    "The aorta is tortuous.",
    "No acute fracture is seen.",
    "The bones are intact.",
)
"""Plain sentences for what chest radiographs most often show."""
_ASK = (
    "Below is a sentence of a chest X-ray report. If a sentence of the list says exactly the same, answer with that "
    "sentence. Otherwise rewrite the sentence so that it speaks only of this one picture, in plain words, keeping "
    "every finding, side, size, number and doubt. Answer with one sentence and nothing else.\n\nList:\n{pool}\n\n"
    "Sentence: {sentence}"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SIDE = re.compile(r"\b(left|right|bilateral\w*)\b", re.IGNORECASE)
_MOST = 400


def read_rewritten(store: Path) -> dict[str, str]:
    """What `rewrite` wrote: sentence to sentence.

    Raises:
        InputError: A line is not what it writes; a last line that a stopped run left unfinished is passed over.
    """
    found: dict[str, str] = {}
    with open_regular(store) as file:
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found[row["sentence"]] = row["text"]
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise InputError("expected an object with sentence and text", path=store, field=f"line {number}") from None
    return found


def rewrite(
    wanted: Iterable[str],
    model: Backend,
    store: Path,
    *,
    pool: Sequence[str] = POOL,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Ask about each sentence that `store` does not hold yet, and add its answer there.

    Args:
        wanted: Sentences; repeated ones are asked about once.
        model: Any back end, such as `load_backend("http://localhost:8000/v1#name")`.
        store: JSON lines, one for each sentence: `sentence`, `text`, `model`, and `how`: `pool`, `rewritten`, or
            `kept` with `why`.
        pool: The plain sentences.
        progress: Called with the number of sentences done.

    Returns:
        How many were done each way: `held` (already there), `pool`, `rewritten`, `kept`.
    """
    held = read_rewritten(store) if store.is_file() else {}
    counts = dict.fromkeys(("held", "pool", "rewritten", "kept"), 0)
    _finish_line(store)
    with append_to(store) as file:
        for done, sentence in enumerate(dict.fromkeys(wanted), 1):
            if sentence in held:
                counts["held"] += 1
            else:
                row = _ask(sentence, model, pool)
                counts[row["how"]] += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
            progress(done)
    return counts


def refusal(sentence: str, answer: str) -> str:
    """Why an answer cannot stand for the sentence; empty when it can."""
    if not answer or "\n" in answer or len(answer) > _MOST:
        return "not one sentence"
    if sorted(_NUMBER.findall(answer)) != sorted(_NUMBER.findall(sentence)):
        return "other numbers"
    if _sides(answer) != _sides(sentence):
        return "another side"
    if _said(answer) != _said(sentence):
        return "other findings or denials"
    return ""


def _ask(sentence: str, model: Backend, pool: Sequence[str]) -> dict[str, Any]:
    prompt = _ASK.format(pool="\n".join(pool), sentence=sentence)
    stream = model.session().stream([{"role": "user", "content": prompt}], (), Sampling(max_new_tokens=200))
    answer = "".join(delta.text for delta in stream).strip()
    row = {"sentence": sentence, "text": sentence, "model": model.name}
    why = refusal(sentence, answer)
    if why:
        return row | {"how": "kept", "why": why}
    return row | {"text": answer, "how": "pool" if answer in pool else "rewritten"}


def _said(sentence: str) -> set[tuple[str, str]]:
    found = claims(sentence, "", frozenset(), frozenset())
    return {(claim.kind, claim.subject) for claim in found if claim.kind in ("presence", "absence")}


def _sides(sentence: str) -> set[str]:
    return {"bilateral" if side.lower().startswith("bi") else side.lower() for side in _SIDE.findall(sentence)}


def _finish_line(store: Path) -> None:
    """Cut off the line that a killed run left half written."""
    if not store.is_file():
        return
    content = store.read_bytes()
    if content and not content.endswith(b"\n"):
        with store.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
