"""The errors a user meets, and the one way hostile text becomes safe to print."""

import unicodedata
from os import PathLike, fspath

_MAX_SHOWN = 200


def printable(text: object, limit: int = _MAX_SHOWN) -> str:
    r"""Return `text` on one line without anything that could steer a terminal or hide its meaning.

    Control, format (bidirectional overrides, zero-width), surrogate, private-use and line-separator characters become
    escapes such as ``\x1b``; more than `limit` characters are cut with an ellipsis. Markup is left as
    it is: who writes HTML or rich markup escapes it there.
    """
    shown = str(text)
    cut = len(shown) > limit
    parts = []
    for char in shown[:limit]:
        category = unicodedata.category(char)
        unsafe = category[0] == "C" or category in ("Zl", "Zp")
        parts.append(char.encode("unicode_escape").decode("ascii") if unsafe else char)
    return "".join(parts) + ("…" if cut else "")


def printable_lines(text: object, limit: int = 100_000) -> str:
    """`text` with its line breaks and without anything else that could steer a reader's eye or terminal.

    Every line is `printable`; tabs become spaces. Beyond `limit` characters the text ends with how many are left out.
    """
    whole = str(text)
    kept = whole[:limit].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    shown = "\n".join(printable(line, len(line)) for line in kept.split("\n"))
    left = len(whole) - limit
    return f"{shown}… (cut: {left:,} more characters)" if left > 0 else shown


class AttendingError(Exception):
    """Base of every error that `attending` raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 5


class InputError(AttendingError):
    """The user's input cannot be used. Says which file, which field, what its value is and what would be right.

    Attributes:
        problem: What is wrong and what would have been right, in one sentence.
        path: The file or folder, where there is one.
        field: The DICOM keyword, header field or archive entry at fault, where there is one.
        value: The value found there.
    """

    exit_code = 3

    def __init__(
        self,
        problem: str,
        *,
        path: str | PathLike[str] | None = None,
        field: str | None = None,
        value: object = None,
    ) -> None:
        self.problem = printable(problem, 1000)
        self.path = None if path is None else printable(fspath(path), 500)
        self.field = None if field is None else printable(field)
        self.value = None if value is None else printable(value)
        where = [part for part in (self.path, self.field) if part]
        if self.value is not None:
            where[-1:] = [f"{where[-1]} is {self.value}"] if where else [self.value]
        super().__init__(": ".join([*where, self.problem]))


class NotAvailableError(AttendingError):
    """Something needed is not installed or cannot be reached; the message says how to get it."""

    exit_code = 4
