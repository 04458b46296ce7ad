"""The check of throughput: how many times as fast as Keras the port is, against what the user asks for."""

from __future__ import annotations

from pytest_kerasdiff import text
from pytest_kerasdiff.checks.subject import Outcome, Whole


def check(whole: Whole) -> Outcome:
    """Fail where the port is slower than asked for at some batch size."""
    measured = whole.measured["throughput"]["measured"]
    broken = [words for entry in measured for words in entry["broken"]]
    return Outcome("throughput", "; ".join(broken)) if broken else Outcome("", "; ".join(map(text.speed, measured)))
