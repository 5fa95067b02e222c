"""corpora: datasets on the user's disk become `Conversation` records, and these become batches."""

from attending.corpora.conversation import PLACE, Conversation, Message, turns

__all__ = ["PLACE", "Conversation", "Message", "turns"]
