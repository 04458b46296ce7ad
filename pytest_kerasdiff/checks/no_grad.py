"""The check that inference keeps nothing for a backward pass."""

from __future__ import annotations

from pytest_kerasdiff.checks.subject import Outcome, Whole


def check(whole: Whole) -> Outcome:
    """Warn where a plain call of the port tracks gradients: it holds activations that nobody asks for.

    Whether the product calls it inside ``torch.inference_mode()`` cannot be seen from the port.
    """
    facts = whole.facts
    if facts.deployed_error:
        return Outcome("", f"not observed: the port raised in its own dtype: {facts.deployed_error}")
    if not facts.tracks_gradient:
        return Outcome("", "a plain call tracks no gradient")
    return Outcome(
        "no-grad",
        f"a plain call tracks gradients and holds {facts.held_bytes / 2**20:.2f} MiB for a backward pass (batch of "
        f"{whole.reference.shapes[whole.reference.inputs[0]][0] if whole.reference.inputs else 0}); call the port "
        "inside torch.inference_mode(), or call .requires_grad_(False) on it",
        warns=True,
    )
