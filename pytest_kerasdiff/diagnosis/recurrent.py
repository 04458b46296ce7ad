"""Recurrent layers: direction, steps, states, masks, gates, and what torch's modules cannot express."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.diagnosis import recurrent_layers, weights
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.diagnosis.recurrent_layers import Layer
from pytest_kerasdiff.diagnosis.reproduction import Equations, Otherwise, Port, explained, of_weights
from pytest_kerasdiff.equations.activations import FUNCTIONS
from pytest_kerasdiff.equations.recurrent import Cell, Recurrent

_GATES = {"lstm": "ifco", "gru": "zrh"}
_USUAL = ("sigmoid", "hard_sigmoid", "hard_sigmoid of Keras 2", "tanh", "relu", "linear")
"""Functions that ports take for those of the gates."""
_OVER_STEPS = {"max": "the greatest of all steps", "mean": "the mean of all steps"}
_SECONDS = 2.0
"""How long equations are tried for one layer."""
_STATES = 4
"""States of a layer up to which every order of them is tried."""


def concerns(case: Case) -> bool:
    """Whether it is a recurrent layer whose own activations are wrong."""
    recurrent = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "CuDNNLSTM", "CuDNNGRU")
    return case.layer.class_name in (*recurrent, *recurrent_layers.OF_IMAGES) and case.subject.is_wrong


def suspect(case: Case) -> Iterator[Suspicion]:
    """What the port does otherwise, where that gives what it gives."""
    undone, beside = of_weights(case)
    for layer in recurrent_layers.layers(case):
        for known in (undone, Change()) if undone else (undone,):
            port = Port(case, layer, recurrent_layers.taken(case), known)
            if port.is_known and port.reproduces(layer):  # weights are all that is wrong: these are tried first
                yield from weights.suspect(case)
                return
            found = list(explained(port, list(_others(layer.recurrent, layer.mask is not None)), _SECONDS))
            if found:
                yield from found
                yield from beside if known else ()  # the port does the one and the other
                return


def _with(**fields: object) -> Callable[[Equations], Equations | None]:
    """Other fields of the layer; None where it has them."""

    def made(equations: Equations) -> Equations | None:
        assert isinstance(equations, Layer)
        own = equations.recurrent
        if all(getattr(own, name) == value for name, value in fields.items()):
            return None
        return dataclasses.replace(equations, recurrent=dataclasses.replace(own, **fields))  # type: ignore[arg-type]

    return made


def _of_cells(change: Callable[[Cell], Cell | None]) -> Callable[[Equations], Equations | None]:
    """Every cell changed; None where a change does not concern one of them."""

    def made(equations: Equations) -> Equations | None:
        assert isinstance(equations, Layer)
        own = equations.recurrent
        changed = [tuple(change(cell) or cell for cell in direction) for direction in own.directions]
        if all(a is b for new, old in zip(changed, own.directions, strict=True) for a, b in zip(new, old, strict=True)):
            return None
        return dataclasses.replace(equations, recurrent=dataclasses.replace(own, directions=tuple(changed)))

    return made


def _others(own: Recurrent, has_mask: bool) -> Iterator[Otherwise]:
    if has_mask:
        yield from _of_masks(own)
    yield from _of_steps(own)
    if own.bidirectional:
        yield from _of_two(own)
    cells = [cell for direction in own.directions for cell in direction]
    yield from _of_functions(cells[0])
    yield from _of_states(own)
    yield from _of_weights(cells)


def _of_masks(own: Recurrent) -> Iterator[Otherwise]:
    text = "Keras leaves out the steps that are padding, the port"
    patch = "pack_padded_sequence with the lengths, or keep the state where a step is padding"
    yield Otherwise("masking", f"{text} takes them as any other", patch, _with(masked=False))
    if own.sequences:
        how = "gives zeros there" if not own.zeros else "repeats the last output there"
        want = "zeros" if own.zeros else "the last output"
        yield Otherwise("masking", f"Keras gives {want} where a step is padding, the port {how}", f"give {want} there",
                        _with(zeros=not own.zeros))  # fmt: skip
    else:
        words = "Keras gives the last step that is no padding, the port the one before it"
        yield Otherwise("rnn-return", words, "take the step at length - 1", _with(masked=False, last="before"))


def _of_steps(own: Recurrent) -> Iterator[Otherwise]:
    back = own.backwards[0]
    if not own.bidirectional:
        ways = [f"from the {'last step to the first' if b else 'first step to the last'}" for b in (back, not back)]
        text = f"go_backwards={back}: Keras reads {ways[0]}, the port {ways[1]}"
        patch = "x.flip(1) before the layer" if back else "do not flip the steps before the layer"
        yield Otherwise("rnn-direction", text, patch, _with(backwards=(not back,)))
        if own.sequences:
            turned = "Keras gives the steps in the order in which it reads them, the port turns them back"
            if not back:
                turned = "Keras gives the steps in their order, the port turns it"
            yield Otherwise("rnn-direction", turned, "do not flip the output's steps", _with(turned=True))
            both = f"{text}, and turns its output"
            yield Otherwise("rnn-direction", both, patch, _with(turned=True, backwards=(not back,)))
    if not own.sequences:
        take = "take h_n, or out[:, -1]"
        for last, words in (("0", "first"), ("-2", "last but one"), ("1", "second")):
            text = f"return_sequences=False: Keras gives the last step, the port the {words}"
            if not own.bidirectional:
                yield Otherwise("rnn-return", text, take, _with(last=last))
                if last == "0":
                    yield Otherwise("rnn-return", text, take, _with(last=last, masked=False))
        for last, words in _OVER_STEPS.items():
            text = f"return_sequences=False: Keras gives the last step, the port {words}"
            yield Otherwise("rnn-return", text, take, _with(last=last, zeros=True))
        if any(cell.kind == "lstm" for cell in own.directions[0]):
            text = "Keras gives the output of the last step, the port the cell's state"
            yield Otherwise("rnn-return", text, "take h_n, the first of the two states", _with(cell_state=True))
    if own.initial == "given":
        text = "Keras takes axis 1 for the steps, the port axis 0, which are the samples"
        yield Otherwise("permute", text, "create the module with batch_first=True", _with(over_batch=True))


def _of_two(own: Recurrent) -> Iterator[Otherwise]:
    if not own.sequences:
        words = "Keras gives the last step that each direction computes, the port"
        take = "torch.cat([h_n[-2], h_n[-1]], 1)"
        last = "the last step of the sequence for both, which is the backward direction's first"
        for at, fill in (("-1", False), ("-1", True), ("word", False)):
            otherwise = _with(last=at, bidirectional=True, zeros=fill)
            yield Otherwise("bidirectional-order", f"{words} {last}", take, otherwise)
        yield Otherwise(
            "bidirectional-order", f"{words} the first step of the sequence for both", take, _with(last="0")
        )
        yield Otherwise(
            "bidirectional-order",
            f"{words} the first one that each computes",
            take,
            _with(last="0", bidirectional=False),
        )
    words = "Keras gives the forward direction's half first, the port the backward one's"
    if own.merge in ("concat", None):
        yield Otherwise("bidirectional-order", words, "exchange the halves", _with(exchanged=True))
    text = "each direction has the other one's weights in the port"
    yield Otherwise("bidirectional-order", text, "exchange the weights of forward and backward",
                    _with(directions=own.directions[::-1]))  # fmt: skip
    if own.sequences:
        text = "Keras turns the backward direction's steps back before it joins the two, the port does not"
        yield Otherwise(
            "bidirectional-order", text, "back.flip(1) before the two are joined", _with(bidirectional=False)
        )
    text = "Keras's second direction reads from the last step to the first, the port's as the first one does"
    one_way = _with(backwards=(own.backwards[0],) * 2, bidirectional=False)
    yield Otherwise("rnn-direction", text, "flip the input's steps for the backward direction", one_way)
    for merge in ("concat", "sum", "ave", "mul"):
        if own.merge is not None:
            words = f"merge_mode: Keras {own.merge}, port {merge}"
            yield Otherwise("merge-mode", words, f"join the two directions by {own.merge!r}", _with(merge=merge))


def _of_functions(first: Cell) -> Iterator[Otherwise]:
    if first.kind != "simple":
        for name in _USUAL:
            text = f"recurrent_activation: Keras {first.gate}, port {name}"
            yield Otherwise("recurrent-activation", text, f"use {first.gate} for the gates", _of_cells(_gate(name)))
    for name in FUNCTIONS:
        text = f"activation: Keras {first.activation}, port {name}"
        yield Otherwise("activation-kind", text, f"use {first.activation} in the cell", _of_cells(_function(name)))
    if first.kind == "lstm":
        yield from _functions_of_cell(first)
    if first.kind == "gru":
        text = "update gate: Keras keeps z of the state and takes 1 - z of what is new, the port the other way round"
        yield Otherwise("gru-gate-order", text, "z * h + (1 - z) * new", _of_cells(_inverted))
        after = first.reset_after
        text = f"reset_after: Keras {after}, port {not after}"
        patch = "a cell of one's own: torch's GRU resets after the product and knows no other way"
        if after:
            patch = "reset after the product with the recurrent kernel: r * (h @ U + b)"
        yield Otherwise("gru-reset-after", text, patch, _of_cells(_reset))


def _functions_of_cell(first: Cell) -> Iterator[Otherwise]:
    """Of an LSTM that is written by hand: one of its two functions alone."""
    for which, whose in (("candidate", "what is new"), ("output", "the cell's state, for the output")):
        for name in ("linear", "relu", "sigmoid"):
            text = f"activation of {whose}: Keras {first.activation}, port {name}"
            patch = f"{first.activation} of {whose}"
            yield Otherwise("activation-kind", text, patch, _of_cells(_one_function(which, name)))


def _one_function(which: str, name: str) -> Callable[[Cell], Cell | None]:
    def made(cell: Cell) -> Cell | None:
        if cell.kind != "lstm" or cell.activation == name:
            return None
        own = cell.output or cell.activation
        if which == "output":
            return dataclasses.replace(cell, output=name)
        return dataclasses.replace(cell, activation=name, output=own)

    return made


def _gate(name: str) -> Callable[[Cell], Cell | None]:
    return lambda cell: None if cell.gate == name or cell.kind == "simple" else dataclasses.replace(cell, gate=name)


def _function(name: str) -> Callable[[Cell], Cell | None]:
    return lambda cell: None if cell.activation == name else dataclasses.replace(cell, activation=name)


def _inverted(cell: Cell) -> Cell | None:
    return dataclasses.replace(cell, inverted=not cell.inverted) if cell.kind == "gru" else None


def _reset(cell: Cell) -> Cell | None:
    return dataclasses.replace(cell, reset_after=not cell.reset_after) if cell.kind == "gru" else None


def _of_states(own: Recurrent) -> Iterator[Otherwise]:
    text = "the initial state: Keras is given one, the port begins with zeros"
    yield Otherwise("rnn-return", text, "hand the state over", _with(initial="zeros"))
    text = "the initial states: the port has h and c in each other's place"
    yield Otherwise("rnn-return", text, "exchange the two states", _with(initial="exchanged"))
    number = sum(cell.states for direction in own.directions for cell in direction)
    names = [name for cells in own.directions for cell in cells for name in ("h", "c")[: cell.states]]
    for order in itertools.permutations(range(number)) if 1 < number <= _STATES else ():
        said = ", ".join(names[i] for i in order)
        cause = "bidirectional-order" if own.bidirectional and said == ", ".join(names) else "rnn-return"
        text = f"return_state: Keras gives the states {', '.join(names)}, the port {said}"
        if cause == "bidirectional-order":
            text = "return_state: the port takes states of the backward direction for those of the forward one"
        patch = "give the states in Keras's order"
        yield Otherwise(cause, text, patch, _with(states=order), alone=number > 2)


def _of_weights(cells: list[Cell]) -> Iterator[Otherwise]:
    """Of cells that are written by hand: what they take for what."""
    kind = next((cell.kind for cell in cells if cell.kind != "simple"), "simple")
    for factor, cause, words in ((0.0, "bias-missing", "has none"), (2.0, "lstm-bias-doubled", "adds it twice")):
        text, patch = f"bias: Keras has one, the port {words}", "add Keras's bias once"
        yield Otherwise(cause, text, patch, _of_cells(_bias(factor, factor)))
        if kind == "gru" and factor == 0:
            for one, other, whose in ((1.0, 0.0, "recurrent kernel"), (0.0, 1.0, "input's kernel")):
                text = f"bias: Keras adds two, the port lacks the one of the {whose}"
                yield Otherwise(cause, text, f"add the bias of the {whose}", _of_cells(_bias(one, other)))
    if kind in _GATES:
        number = len(_GATES[kind])
        for order in itertools.permutations(range(number)):
            said, want = ", ".join(_GATES[kind][i] for i in order), ", ".join(_GATES[kind])
            text = f"gates: Keras's stand in the order {want}, the port takes them for {said}"
            patch = f"split the kernels into {want}"
            for of, whose in (((True, True), ""), ((True, False), " of the input"), ((False, True), " of the state")):
                yield Otherwise(f"{kind}-gate-order", f"{text}{whose}", patch, _of_cells(_order(order, of)), alone=True)


def _bias(first: float, second: float) -> Callable[[Cell], Cell | None]:
    def made(cell: Cell) -> Cell | None:
        if cell.bias is None:
            return None
        factors = np.array([[first], [second]]) if cell.bias.ndim == 2 else np.array([first])
        return None if np.all(factors == 1) else dataclasses.replace(cell, bias=cell.bias * factors)

    return made


def _order(order: tuple[int, ...], of: tuple[bool, bool]) -> Callable[[Cell], Cell | None]:
    number = {"lstm": 4, "gru": 3}

    def made(cell: Cell) -> Cell | None:
        if order == tuple(range(len(order))) or number.get(cell.kind) != len(order):
            return None
        return dataclasses.replace(cell, order=order, ordered=of)

    return made
