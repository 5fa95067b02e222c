"""Sheet: some conversations of a dataset on one picture, so that a person sees what will be trained on."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attending.corpora.conversation import PLACE, Conversation
from attending.corpora.dataset import Dataset, load_picture
from attending.errors import AttendingError, printable
from attending.imaging import Picture

_TILE, _GAP, _LINE, _LINES = 240, 8, 16, 7
_FONT = ImageFont.load_default(12)
_WHITE, _GREY, _YELLOW = (255, 255, 255), (140, 140, 140), (255, 214, 90)


def conversation_sheet(dataset: Dataset, tiles: int = 12, columns: int = 4) -> Picture:
    """Conversations spread evenly over the dataset: the last picture of each, how its question ends, and its answer.

    What the font cannot draw becomes `?`, and a picture that cannot be read is said so in its place.
    """
    count = len(dataset.conversations)
    chosen = sorted({(2 * i + 1) * count // (2 * tiles) for i in range(tiles)}) if count else []
    shown = [dataset.conversations[index] for index in chosen]
    rows = max(1, -(-len(shown) // columns))
    high, wide = _TILE + _LINE * _LINES + _GAP, _TILE + _GAP
    sheet = Image.new("RGB", (_GAP + wide * min(columns, max(1, len(shown))), _GAP + _LINE + rows * high))
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 2), _drawable(f"{dataset.name} {dataset.split}: {count} conversations"), _WHITE, _FONT)
    for place, conversation in enumerate(shown):
        left, top = _GAP + place % columns * wide, _GAP + _LINE + place // columns * high
        _tile(sheet, draw, conversation, left, top)
    return Picture(np.asarray(sheet))


def _tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, conversation: Conversation, left: int, top: int) -> None:
    if conversation.images:
        try:
            picture = load_picture(conversation.images[-1]).square()
            rows, columns = picture.pixels.shape[:2]
            scale = _TILE / max(rows, columns)
            shown = picture.resized(max(1, round(rows * scale)), max(1, round(columns * scale)))
            sheet.paste(shown.to_pil(), (left, top))
        except AttendingError as error:
            _text(draw, str(error), left, top, _YELLOW, 10)
    asked = [message.content for message in conversation.messages if message.role == "user"]
    question = asked[-1].replace(PLACE, "").strip().replace("\n", " ")
    used = _text(draw, question[-150:], left, top + _TILE, _GREY, 4)
    answer = conversation.messages[-1].content.replace("\n", " ")
    _text(draw, answer, left, top + _TILE + used * _LINE, _WHITE, _LINES - used)


def _text(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, color: tuple[int, int, int], lines: int) -> int:
    wrapped = textwrap.wrap(_drawable(text), 38)[:lines]
    for number, line in enumerate(wrapped):
        draw.text((left, top + number * _LINE), line, color, _FONT)
    return len(wrapped)


def _drawable(text: str) -> str:
    return "".join(char if char.isascii() else "?" for char in printable(text, 600))
