"""The one exception for a run that cannot be made, and what it says of others."""


class RunError(Exception):
    """A comparison cannot be made, for a reason the user can act on.

    The message is one line: what is wrong, with the value received, and what to do next. pytest shows it as a usage
    error (exit status 4), the program prints it and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says; empty where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0]


def in_short(error: BaseException) -> str:
    """Type and first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"
