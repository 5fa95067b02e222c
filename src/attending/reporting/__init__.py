"""reporting: an `Answer` becomes files for people and machines."""

from attending.reporting.save import write
from attending.reporting.text import tell

__all__ = ["tell", "write"]
