"""Text from users, files and experts made harmless for a prompt: it can say anything and steer nothing."""

from __future__ import annotations

import re
import unicodedata

PLACE = "<image>"
"""Where a picture stands in a prompt."""

# What the tokenizers of Llama 2 and 3, Vicuna, Qwen, Mistral and SmolLM read as control tokens, and our own marks.
_CONTROL = re.compile(
    r"<(?=\|)|(?<=\|)>|<(?=/?s>)|<(?=image\b|/?tool_|/?call\b|unk>|pad>|mask>|bos>|eos>|<SYS|</SYS|/?think>)"
    r"|\[(?=/?(?:INST|PAD|TOOL_)[^\]]*\])",
    re.IGNORECASE,
)


def plain(text: str, limit: int = 100_000) -> str:
    """The text without control and invisible characters, its control tokens broken by a space; ordinary text stays.

    Args:
        text: From a user, a header or an expert.
        limit: Characters kept.
    """
    kept = "".join(
        char for char in text[:limit].replace("\r\n", "\n") if char in "\n\t" or unicodedata.category(char)[0] != "C"
    )
    return _CONTROL.sub(lambda found: " >" if found[0] == ">" else f"{found[0]} ", kept)
