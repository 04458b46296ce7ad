"""Steps of padding: what a layer gives where its mask is false, and no layer reads."""

from __future__ import annotations

from pytest_kerasdiff.align.kinds import IDENTITIES
from pytest_kerasdiff.trace import Array, ReferenceTrace

_HEED = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "GlobalAveragePooling1D"})
"""Layers that leave out the steps where the mask of what they take is false."""
_STEP_BY_STEP = IDENTITIES | {"Dense", "Activation", "ReLU", "LeakyReLU", "BatchNormalization"}
"""Layers whose every step is made of the same step alone, and whose output has the mask of their input."""


def unread(trace: ReferenceTrace) -> dict[int, Array]:
    """Mask of every value whose padding nothing reads: a port may hold anything there.

    What makes the mask is compared everywhere: the rows of an Embedding are weights, and a Masking layer does nothing
    but write zeros there.
    """
    found: dict[int, Array] = {}
    for layer in reversed(trace.layers):
        for value in layer.outputs if layer.class_name not in ("Embedding", "Masking") else ():
            takers = [other for other in trace.layers if value in other.inputs]
            left_out = all(
                taker.class_name in _HEED
                or (taker.class_name in _STEP_BY_STEP and all(output in found for output in taker.outputs))
                for taker in takers
            )
            if takers and left_out and value in trace.step_masks and value not in trace.outputs:
                found[value] = trace.step_masks[value]
    return found
