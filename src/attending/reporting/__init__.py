"""reporting: an `Answer` becomes files for people and machines."""

from attending.reporting.text import tell
from attending.reporting.write import write

__all__ = ["tell", "write"]
