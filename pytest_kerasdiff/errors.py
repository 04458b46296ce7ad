"""The one exception for a run that cannot be made, what it says of others, and words that a terminal may be given."""

import re

_COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that change the direction of writing, and halves of characters; a new line is none."""


def printable(words: str) -> str:
    """Words as a terminal may be given them: what would be a command to it, or turn the text round, is written out."""
    return _COMMANDS.sub(lambda found: f"\\x{ord(found[0]):02x}", words)


def one_line(words: str) -> str:
    """Printable words without line breaks."""
    return printable(words).replace("\n", "\\n")


class RunError(Exception):
    """A comparison cannot be made, for a reason the user can act on.

    The message is one line: what is wrong, with the value received, and what to do next. pytest shows it as a usage
    error (exit status 4), the program prints it and exits with status 2.
    """

    def __init__(self, message: object) -> None:
        """Say why; names in it come from files and from code."""
        super().__init__(printable(str(message)))


class UnfollowedError(RunError):
    """The port computes something outside of torch's operations."""


class UnwritableError(BaseException):
    """A file that a run keeps its own in cannot be written; the message is one line.

    No ``Exception``: it is raised amid calls of Keras's layers, where what catches those would take it for an error of
    the model.
    """


def not_imported(error: ImportError, extra: str = "") -> str:
    """Why a package cannot be used: it is not there, or it is and cannot be imported (no memory, another version).

    Args:
        error: What importing it raised.
        extra: Of pytest-kerasdiff, that brings it.
    """
    command = f"pip install 'pytest-kerasdiff[{extra}]'" if extra else "pip install pytest-kerasdiff"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed in this environment: {command}"
    return f"{error.name or 'a package'} cannot be imported: {in_short(error)}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says; empty where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0]


def in_short(error: BaseException) -> str:
    """Type and first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"
