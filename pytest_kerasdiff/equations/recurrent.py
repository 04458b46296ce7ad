"""Recurrent layers by Keras's equations, with all that a port may do otherwise as a field.

Source: keras/src/layers/rnn/lstm.py, gru.py, simple_rnn.py, bidirectional.py and stacked_rnn_cells.py; for masks
``rnn`` of keras/src/backend/tensorflow/rnn.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.equations.activations import FUNCTIONS

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Product = Callable[[Floats], Floats]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One cell.

    Attributes:
        kind: What it is.
        inward: The product of an input with the kernel: (N, …) → (N, …, gates · units).
        again: The product of the state with the recurrent kernel.
        units: Shape of a state without the batch, its units last.
        bias: (gates · units), (2, gates · units) of a GRU that resets after the product, or None.
        activation: Name of the function of what is new.
        gate: Name of the function of the gates.
        reset_after: A GRU resets after the product.
        order: Which of Keras's gates the port takes for the first, the second, ….
        ordered: Whether it does so with what the input gives, and with what the state gives.
        inverted: A GRU keeps with 1 - z what Keras keeps with z.
        output: Name of the function of an LSTM's cell state, where it is another one than that of what is new.
    """

    kind: Literal["lstm", "gru", "simple"]
    inward: Product
    again: Product
    units: tuple[int, ...]
    bias: Floats | None
    activation: str = "tanh"
    gate: str = "sigmoid"
    reset_after: bool = True
    order: tuple[int, ...] = ()
    ordered: tuple[bool, bool] = (True, True)
    inverted: bool = False
    output: str = ""

    @property
    def states(self) -> int:
        """How many states it has."""
        return 2 if self.kind == "lstm" else 1

    def _gates(self, array: Floats, of_state: bool) -> list[Floats]:
        number = {"lstm": 4, "gru": 3, "simple": 1}[self.kind]
        parts = np.split(array, number, axis=-1)
        return [parts[i] for i in self.order] if self.order and self.ordered[of_state] else parts

    def step(self, taken: Floats, states: Sequence[Floats]) -> tuple[Floats, ...]:
        """The next states, the output first; ``taken`` is the input's product."""
        act, gate, h = FUNCTIONS[self.activation], FUNCTIONS[self.gate], states[0]
        both = self.bias is not None and self.bias.ndim == 2
        first = 0.0 if self.bias is None else self.bias[0] if both else self.bias
        second = self.bias[1] if both and self.bias is not None else np.zeros(1)
        own = taken + first
        if self.kind == "simple":
            return (act(own + self.again(h) + second),)
        if self.kind == "lstm":
            both_of = zip(self._gates(own, False), self._gates(self.again(h), True), strict=True)
            i, f, c, o = (a + b for a, b in both_of)
            cell = gate(f) * states[1] + gate(i) * act(c)
            return gate(o) * FUNCTIONS[self.output or self.activation](cell), cell
        xz, xr, xh = self._gates(own, False)
        hz, hr, hh = self._gates(self.again(h) + second, True)
        z, r = gate(xz + hz), gate(xr + hr)
        kept = r * hh if self.reset_after else self._gates(self.again(r * h) + second, True)[2]
        new = act(xh + kept)
        return ((1 - z) * h + z * new if self.inverted else z * h + (1 - z) * new,)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """A layer: one direction or two, each of cells one over the other.

    Attributes:
        directions: The cells of each.
        backwards: Whether each direction reads from the last step to the first.
        sequences: Every step is given, not the last one alone.
        merge: How two directions become one output; None leaves them apart.
        bidirectional: The second direction's steps are turned back before they are merged.
        masked: Steps that are padding are left out.
        zeros: Steps that are padding give zeros, where Keras else repeats the one before.
        turned: The order of all steps that are given is turned.
        last: "own": each direction's last; "-1", "0", "-2": this step of all; "word", "before": the last that is no
            padding, and the one before it, of what read the padding too; "max", "mean": over all steps.
        exchanged: The halves of the two directions stand in each other's place.
        cell_state: The cell's state is given for the output.
        over_batch: The samples are taken for steps, and the steps for samples.
        initial: The initial states are those given, are "zeros", or are "exchanged".
        states: Which of Keras's states the port gives as its first, second, …; empty where these are the same.
    """

    directions: tuple[tuple[Cell, ...], ...]
    backwards: tuple[bool, ...]
    sequences: bool
    merge: str | None = None
    bidirectional: bool = False
    masked: bool = True
    zeros: bool = False
    turned: bool = False
    last: str = "own"
    exchanged: bool = False
    cell_state: bool = False
    over_batch: bool = False
    initial: str = "given"
    states: tuple[int, ...] = ()

    def __call__(self, x: Floats, *states: Floats, mask: Mask | None = None) -> list[Floats]:
        """All that the layer may give: its output, or those of both directions, and its states."""
        if self.over_batch:
            x, mask = x.swapaxes(0, 1), None
        given = [] if self.initial == "zeros" else [*states][:: -1 if self.initial == "exchanged" else 1]
        share = len(given) // len(self.directions)
        outputs, ends, every = [], [], []
        for number, (cells, back) in enumerate(zip(self.directions, self.backwards, strict=True)):
            own = given[number * share : (number + 1) * share]
            steps, end = self._run(cells, back, x, own, mask if self.masked else None)
            if self.bidirectional and number == 1:
                steps = steps[::-1]
            outputs.append(steps)
            ends.append(end)
            every += end
        made = [self._given(steps, end, mask) for steps, end in zip(outputs, ends, strict=True)]
        if self.over_batch and self.sequences:
            made = [m.swapaxes(0, 1) for m in made]
        if len(made) == 2:
            made = made[::-1] if self.exchanged else made
            made = _merged(made, self.merge)
        return [*made, *([every[i] for i in self.states] if self.states else every)]

    def _given(self, steps: Floats, end: Sequence[Floats], mask: Mask | None) -> Floats:
        if self.sequences:
            return np.moveaxis(steps[::-1] if self.turned else steps, 0, 1)
        if self.over_batch:
            return steps[:, -1]
        if self.cell_state:
            return end[-1]
        if self.last == "own":
            return end[0] if len(end) < 3 else end[-1]
        if self.last == "word":  # the last step that is no padding, of what read the padding too
            at = np.full(steps.shape[1], len(steps) - 1) if mask is None else _last_word(mask)
            result: Floats = steps[at, np.arange(steps.shape[1])]
            return result
        if self.last in ("max", "mean"):
            over: Floats = steps.max(axis=0) if self.last == "max" else steps.mean(axis=0)
            return over
        if self.last == "before":
            at = np.full(steps.shape[1], len(steps) - 2) if mask is None else _last_word(mask) - 1
            earlier: Floats = steps[at, np.arange(steps.shape[1])]
            return earlier
        one: Floats = steps[int(self.last)]
        return one

    def _run(
        self, cells: Sequence[Cell], back: bool, x: Floats, states: Sequence[Floats], mask: Mask | None
    ) -> tuple[Floats, list[Floats]]:
        """(steps, N, …) in the order in which they are computed, and the last states."""
        sequence = np.moveaxis(x, 1, 0)
        keep = None if mask is None else mask.T
        if back:
            sequence, keep = sequence[::-1], None if keep is None else keep[::-1]
        sizes = [cell.states for cell in cells]
        start = [np.zeros((len(x), *cell.units)) for cell in cells for _ in range(cell.states)]
        current = [np.asarray(s, np.float64) for s in states] if len(states) == sum(sizes) else start
        output = np.zeros_like(current[0] if len(cells) == 1 else start[-1])
        ready = cells[0].inward(sequence.reshape(-1, *sequence.shape[2:]))
        ready = ready.reshape(*sequence.shape[:2], *ready.shape[1:])
        found = []
        for number in range(len(sequence)):
            taken, new, at = ready[number], list[Floats](), 0
            for level, cell in enumerate(cells):
                taken = taken if level == 0 else cell.inward(new[at - sizes[level - 1]])
                new += cell.step(taken, current[at : at + sizes[level]])
                at += sizes[level]
            given = new[-sizes[-1]]
            if keep is not None:
                here = keep[number].reshape(-1, *[1] * (given.ndim - 1))
                new = [np.where(here, n, c) for n, c in zip(new, current, strict=True)]
                given = np.where(here, given, 0 if self.zeros else output)
                output = given if not self.zeros else output
            else:
                output = given
            current = new
            found.append(new[-1] if self.cell_state and self.sequences else given)
        if len(cells) > 1:
            return np.stack(found), [*current, found[-1]]
        if keep is not None and self.zeros:
            return np.stack(found), current
        return np.stack(found), [found[-1] if keep is not None else current[0], *current[1:]]


def _last_word(mask: Mask) -> npt.NDArray[np.intp]:
    at: npt.NDArray[np.intp] = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    return at


def _merged(both: Sequence[Floats], merge: str | None) -> list[Floats]:
    first, second = both
    if merge == "concat":
        return [np.concatenate([first, second], axis=-1)]
    joined = {"sum": first + second, "ave": (first + second) / 2, "mul": first * second}
    return [joined[merge]] if merge in joined else [first, second]
