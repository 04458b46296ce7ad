"""The one exception for a run that cannot be made."""


class RunError(Exception):
    """A comparison cannot be made, for a reason the user can act on.

    The message is one line: what is wrong, with the value received, and what to do next. pytest shows it as a usage
    error (exit status 4), the program prints it and exits with status 2.
    """
