"""Steps of padding: what a layer gives where no layer reads it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import IDENTITIES, PROJECTED
from pytest_kerasdiff.trace import Array, Layer, ReferenceTrace

Read = npt.NDArray[np.bool_]
"""(batch, steps): whether a step is read."""

_HEED = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "GlobalAveragePooling1D"})
"""Layers that leave out the steps where the mask of what they take is false."""
_ATTENTION = PROJECTED | {"Attention"}
"""Layers that make a step of that step of the query, and of the steps of keys and values that the mask lets through."""
_STEP_BY_STEP = IDENTITIES | {
    *("Dense", "Activation", "ReLU", "LeakyReLU", "BatchNormalization", "LayerNormalization"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
}
"""Layers whose every step is made of the same step alone."""


def unread(trace: ReferenceTrace) -> dict[int, Array]:
    """For every value of which some steps are read by nothing, which are: a port may hold anything in the others.

    What makes a mask is compared everywhere: the rows of an Embedding are weights, and a Masking layer does nothing
    but write zeros there.
    """
    found: dict[int, Read] = {}
    for layer in reversed(trace.layers):
        for value in layer.outputs if layer.class_name not in ("Embedding", "Masking") else ():
            takers = [trace.layers[position] for position in trace.takers.get(value, ())]
            reads = [read for taker in takers for read in _reads(trace, taker, value, found)]
            stated = [read for read in reads if read is not None]
            if stated and len(stated) == len(reads) and value not in trace.outputs:
                found[value] = np.logical_or.reduce(stated)
    return dict(found)


def _reads(trace: ReferenceTrace, taker: Layer, value: int, found: dict[int, Read]) -> Iterable[Read | None]:
    """Which steps of a value a layer reads, in each of the places where it takes it; None for all of them."""
    shape = trace.shapes[value][:2]
    handed_on = [found.get(output) for output in taker.outputs]
    whole = len(handed_on) == 1 and handed_on[0] is not None and handed_on[0].shape == shape
    for place, taken in enumerate(v for v in taker.inputs if v not in trace.masks):
        if taken != value:
            continue
        if taker.class_name in _HEED or (taker.class_name in _ATTENTION and place):
            yield mask_of(trace, taker, value)
        elif taker.class_name in _STEP_BY_STEP | _ATTENTION and whole:
            yield handed_on[0]
        else:
            yield None


def mask_of(trace: ReferenceTrace, taker: Layer, value: int) -> Read | None:
    """The mask of what a layer takes: beside it, as Keras 3's files have it, or handed on with it."""
    beside = [v for v in taker.inputs if v in trace.masks and trace.shapes[v] == trace.shapes[value][:2]]
    mask = trace.values[beside[0]] if len(beside) == 1 else trace.step_masks.get(value)
    return None if mask is None or mask.shape != trace.shapes[value][:2] else mask.astype(bool)
