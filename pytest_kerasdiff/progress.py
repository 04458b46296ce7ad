"""What a run is doing, for those who wait for it: one line on a terminal, in a log one line for each long phase."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

LONG_S = 5.0
"""How long a phase lasts before a log has a line of it."""
_WAITING_S = 0.3
"""How long anybody waits before a terminal shows anything."""
_NUMBERS = re.compile(r" \d+ of \d+")


class Progress:
    """Shows what runs and how far it is."""

    def __init__(
        self,
        line: Callable[[str], None],
        over: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing shown.

        Args:
            line: Writes a line.
            over: Writes over what it has written before; None where there is no terminal.
            clock: Seconds.
        """
        self._line, self._over, self._clock = line, over, clock
        self._began, self._shown = clock(), ""
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def show(self, doing: Sequence[str]) -> None:
        """Say what is being done, one entry for each process."""
        now = self._clock()
        if self._over is not None:
            text = "kerasdiff: " + " · ".join(doing)
            if doing and text != self._shown and now - self._began > _WAITING_S:
                self._over(text)
                self._shown = text
            return
        phases = [_NUMBERS.sub("", text) for text in doing]
        self._since = {phase: self._since.get(phase, now) for phase in phases}
        for phase, since in self._since.items():
            if now - since > LONG_S and phase not in self._told:
                self._told.add(phase)
                self._line(f"kerasdiff: {phase} …")

    def end(self) -> None:
        """Leave nothing on the terminal."""
        if self._over is not None and self._shown:
            self._over("")
            self._shown = ""
