"""A line between the two child processes, over which the candidate asks the reference to run the Keras model.

Both are children of one supervisor, which gives each an end of a socket pair. What goes over it is JSON, one object a
line; where one process ends, the other reads the end of the line.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

from pytest_kerasdiff.errors import RunError

VARIABLE = "KERASDIFF_TURNS"
"""Environment variable: the file descriptor of this process's end."""


class Line:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        """Take a connected socket."""
        self._file = end.makefile("rw", encoding="utf-8", newline="\n")
        end.close()  # the file keeps it open

    @staticmethod
    def of_process() -> Line | None:
        """This process's end; None where it has no partner."""
        number = os.environ.get(VARIABLE)
        return Line(socket.socket(fileno=int(number))) if number else None

    def close(self) -> None:
        """Let the other end know that nothing more comes."""
        with contextlib.suppress(OSError):
            self._file.close()

    def send(self, message: Any) -> None:
        """Send what is JSON-serialisable.

        Raises:
            RunError: The other process has ended.
        """
        try:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()
        except OSError:
            raise RunError("the other process has ended while both models were timed") from None

    def receive(self) -> Any:
        """Wait for a message; None where the other process has ended."""
        try:
            text = self._file.readline()
        except OSError:
            return None
        return json.loads(text) if text else None

    def run(self, runs: int) -> float:
        """Seconds that so many runs of the Keras model took.

        Raises:
            RunError: It could not be run, or its process has ended.
        """
        answer = self.ask({"runs": runs})
        if "missing" in answer:
            raise RunError(str(answer["missing"]))
        return float(answer["seconds"])

    def ask(self, message: Any) -> Any:
        """Send a message and wait for what comes back.

        Raises:
            RunError: The other process has ended.
        """
        self.send(message)
        answer = self.receive()
        if answer is None:
            raise RunError("the other process has ended while both models were timed")
        return answer
