"""Conversations become token ids with labels, and whole conversations share rows without seeing each other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attending.corpora.conversation import PLACE, Conversation, Message
from attending.errors import InputError
from attending.imaging import Picture

if TYPE_CHECKING:
    from attending.model import VilaM3Processor

IGNORED = -100
"""Label of a token that nothing is learned from."""

_RENDERING = threading.Lock()
"""Transformers notes where answers lie in a tracker that belongs to the template, so to all threads."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One conversation, tokenized.

    Attributes:
        ids: `[length]` int64; each picture takes as many placeholder ids as it has tokens.
        labels: `[length]` int64: the id itself on what the assistant said and on the token that ends it, else
            `IGNORED`. The first is always ignored: nothing precedes it to predict it from.
        images: One for each placeholder run, in order.
        id: Of the conversation.
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    images: tuple[Path | Picture, ...]
    id: str

    def __len__(self) -> int:
        return len(self.ids)


def encode(conversation: Conversation, processor: VilaM3Processor, context: int, fix_up: bool = False) -> Sample:
    """Render a conversation with the processor's chat template, tokenize it and mark what is learned.

    Args:
        conversation: What to encode; its pictures are not opened.
        processor: Tokenizer and chat template.
        context: Tokens that a conversation may have, pictures included.
        fix_up: Bring the text around pictures into the form that the published models were trained on: see
            `trained_form`.

    Raises:
        InputError: The conversation is longer than the context, or nothing in it is learned; names it.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = trained_form(conversation.messages) if fix_up else conversation.messages
    told: list[dict[str, Any]] = [{"role": one.role, "content": one.content} for one in messages]
    with _RENDERING:
        rendered, spans = render_jinja_template(
            conversations=[told],
            chat_template=processor.chat_template,
            return_assistant_tokens_mask=True,
            **processor.tokenizer.special_tokens_map,
        )
    ids, offsets = processor.expanded_offsets(rendered[0])
    name = f"conversation {conversation.id!r} of {conversation.source or 'no source'}"
    if len(ids) > context:
        pictures = len(conversation.images) * processor.image_seq_length
        raise InputError(
            f"{name}: the context is {context} tokens; {pictures} of these are pictures", field="tokens", value=len(ids)
        )
    answered = _inside(np.array(offsets, np.int64).reshape(-1, 2), spans[0])
    tokens = np.array(ids, np.int64)
    answered &= tokens != processor.image_token_id
    answered[:1] = False
    if not answered.any():
        raise InputError(f"{name}: nothing in it is learned", field="messages")
    return Sample(tokens, np.where(answered, tokens, IGNORED), conversation.images, conversation.id)


def _inside(offsets: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Which tokens, given their `[n, 2]` characters, overlap one of the spans; those without characters do not."""
    inside = np.zeros(len(offsets), bool)
    for start, end in spans:
        inside |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return inside


def trained_form(messages: Sequence[Message]) -> tuple[Message, ...]:
    r"""The white space around pictures as in the published models' training data.

    Before a picture one space stands for any white space, after it one line end; so `Q\n<image>` becomes
    `Q <image>\n`. At inference the reference sends the text as it is: the two differ, and which is better is to be
    measured.
    """
    return tuple(Message(one.role, _trained_text(one.content)) if PLACE in one.content else one for one in messages)


def _trained_text(text: str) -> str:
    *before, last = (part.strip() for part in text.split(PLACE))
    joined = "".join(f"{part} {PLACE}\n" for part in before).lstrip()
    return joined + last


def pack(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Share conversations out to rows of at most `limit` tokens: the longest first, each into the first row with room.

    Args:
        lengths: Tokens of each conversation.
        limit: Tokens of a row; a conversation that is longer gets a row of its own.

    Returns:
        Indices into `lengths`, a list for each row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        place = next((row for row, left in enumerate(room) if left >= lengths[index]), None)
        if place is None:
            rows.append([])
            room.append(limit)
            place = len(rows) - 1
        rows[place].append(index)
        room[place] -= lengths[index]
    return rows


def pack_padded(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Share conversations out to padded batches: neighbours in length together, `limit` tokens with the padding."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= limit:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
