"""The check that inference leaves the port as it is."""

from __future__ import annotations

from pytest_kerasdiff.checks.subject import Outcome, Whole
from pytest_kerasdiff.text import shortened


def check(whole: Whole) -> Outcome:
    """Fail where a forward pass changed a parameter or a buffer; warn where parameters require a gradient."""
    facts = whole.facts
    if facts.changed:
        return Outcome(
            "frozen",
            f"a forward pass changed {shortened(facts.changed)}: the next answer depends on it; call .eval(), or keep "
            "such state out of forward",
        )
    if facts.trainable:
        return Outcome(
            "frozen",
            f"{len(facts.trainable)} parameters require a gradient ({shortened(facts.trainable)}): an optimiser may "
            "change them; call .requires_grad_(False) on the port",
            warns=True,
        )
    return Outcome("", "no parameter requires a gradient, and a forward pass changes none")
