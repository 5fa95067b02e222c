"""corpora: datasets on the user's disk become `Conversation` records, and these become batches."""

from attending.corpora.conversation import PLACE, Conversation, Message, turns
from attending.corpora.dataset import SPLITS, Dataset, load_picture, names, read, report, require

__all__ = [
    "PLACE",
    "SPLITS",
    "Conversation",
    "Dataset",
    "Message",
    "load_picture",
    "names",
    "read",
    "report",
    "require",
    "turns",
]
