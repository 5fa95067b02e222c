"""corpora: datasets on the user's disk become `Conversation` records, and these become batches."""

from attending.corpora.conversation import PLACE, Conversation, Message, turns
from attending.corpora.dataset import (
    SPLITS,
    Dataset,
    check_images,
    load_picture,
    names,
    read,
    report,
    require,
)
from attending.corpora.leaks import check_leaks

__all__ = [
    "PLACE",
    "SPLITS",
    "Conversation",
    "Dataset",
    "Message",
    "check_images",
    "check_leaks",
    "load_picture",
    "names",
    "read",
    "report",
    "require",
    "turns",
]
