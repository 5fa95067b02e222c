"""attending: medical images, domain experts, and answers that rest on evidence. For research use only."""

from typing import TYPE_CHECKING, Any

from attending.errors import AttendingError, InputError, NotAvailableError

if TYPE_CHECKING:
    from attending.assembly import load
    from attending.consult import Answer, Attending
    from attending.imaging import Study, open_study

__version__ = "0.1.0.dev0"
__all__ = [
    "Answer",
    "Attending",
    "AttendingError",
    "InputError",
    "NotAvailableError",
    "Study",
    "__version__",
    "load",
    "open_study",
]

# Rooms load when first used, so that `import attending` takes milliseconds.
_LAZY = {
    "Answer": "attending.consult",
    "Attending": "attending.consult",
    "Study": "attending.imaging",
    "load": "attending.assembly",
    "open_study": "attending.imaging",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'attending' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
