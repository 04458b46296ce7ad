"""Where the weights of recurrent layers belong: torch's modules and cells, and what is written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from pytest_kerasdiff.align.weights import fingerprint
from pytest_kerasdiff.change import Change, Edit
from pytest_kerasdiff.checks import gates
from pytest_kerasdiff.checks.gates import Cell, Quad
from pytest_kerasdiff.checks.held import Held, held
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.diagnosis.placed import Seat, held_change
from pytest_kerasdiff.trace import Array, Constant, Value

_MOST = 8
"""Constants, each with gates in one order, that are tried for one weight."""


def seats(case: Case, names: Sequence[str]) -> dict[str, list[Seat]]:
    """For each of these weights of a recurrent layer where it may belong; empty where its weights are no cells."""
    ours, theirs = gates.cells(case.subject.weights), list(gates.quads(case.subject))
    found: dict[str, list[Seat]] = {}
    for number, cell in enumerate(ours):
        fitting = [q for q in theirs if q[0].array.shape == cell.kernel.T.shape]
        fitting = [q for q in fitting if q[1].array.shape == cell.recurrent.T.shape]
        # One module for each direction or level, in order: its own is the one at its place.
        place = number if len(fitting) == len(ours) else 0
        for quad in [*fitting[place:], *fitting[:place]]:
            for seat in _in_module(case, cell, quad):
                if seat.name in names:
                    found.setdefault(seat.name, []).append(seat)
        if not theirs:
            for name in names:
                if name.startswith(cell.prefix):
                    found.setdefault(name, []).extend(_by_hand(case, name, cell, names))
    return found


def _in_module(case: Case, cell: Cell, quad: Quad) -> Iterator[Seat]:
    order = " with its blocks in the order r, z, h" if cell.gates == 3 else ""
    for short, weight, holder in (("kernel", cell.kernel, quad[0]), ("recurrent_kernel", cell.recurrent, quad[1])):
        change = held_change(case, {holder.number: gates.ordered(weight.T, cell.gates)})
        yield Seat(f"{cell.prefix}{short}", change, f'sd["{holder.where}"] = {short}.T{order}')
    name, biases = f"{cell.prefix}bias", wanted_biases(cell)
    first, second = quad[2], quad[3]
    if first is not None and second is not None:
        change = held_change(case, {first.number: biases[0], second.number: biases[1]})
        own = "bias" if cell.bias is not None and cell.bias.ndim == 1 else "bias[0]"
        other = "zeros" if own == "bias" else "bias[1]"
        if cell.bias is None:
            own = "zeros"
        yield Seat(name, change, f'sd["{first.where}"] = {own}{order}; sd["{second.where}"] = {other}{order}')
    elif cell.bias is not None:
        change = _new_biases(case, quad, biases)
        yield Seat(name, change, f"create the module of {quad[0].where} with bias=True and load Keras's bias")


def wanted_biases(cell: Cell) -> tuple[Array, Array]:
    """Torch's two biases for Keras's one, or its two of a GRU."""
    zero = np.zeros(cell.recurrent.shape[1], np.float32)
    bias = zero if cell.bias is None else cell.bias
    both = (bias[0], bias[1]) if bias.ndim == 2 else (bias, zero)
    first, second = (gates.ordered(np.asarray(b), cell.gates) for b in both)
    return first, second


def _new_biases(case: Case, quad: Quad, biases: tuple[Array, Array]) -> Change:
    edits = {}
    for operation in case.subject.steps:
        if "w_ih" in operation.arguments and getattr(operation.arguments["w_ih"], "index", -1) == quad[0].number:
            edits[case.place(operation)] = Edit(arguments={"b_ih": biases[0], "b_hh": biases[1]})
        params = operation.arguments.get("params")
        if isinstance(params, list | tuple) and Constant(quad[0].number) in params:
            several: list[Constant | Value | Array] = []
            for one in params:
                several.append(one)
                if one == Constant(quad[1].number):
                    several += biases
            if len(several) == 2 * len(params):  # a module of one level and direction
                edits[case.place(operation)] = Edit(arguments={"params": several, "has_biases": True})
    return Change(edits=edits)


def _by_hand(case: Case, name: str, cell: Cell, names: Sequence[str]) -> Iterator[Seat]:
    """Constants of its size, with the gates as Keras, as torch, and in any other order."""
    short = name.removeprefix(cell.prefix)
    weight = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent, "bias": cell.bias}.get(short)
    if weight is None:
        return
    sound = {fingerprint(a) for n, a in case.subject.weights.items() if n not in names} - {None}
    holders = [c for c in held(case.subject) if c.array.size == weight.size and fingerprint(c.array) not in sound]
    ways = [(holder, form) for holder in holders for form in _shaped(weight, holder, cell.gates)]
    for holder, form in itertools.islice(ways, _MOST):
        yield Seat(name, held_change(case, {holder.number: form}), f'sd["{holder.where}"] = {short}')


def _shaped(weight: Array, holder: Held, number: int) -> Iterator[Array]:
    rows = weight.T if weight.ndim == 2 and weight.shape[0] != 2 else weight
    several = [rows] if rows.ndim == 2 and rows.shape[0] == 2 else [rows, gates.ordered(rows, number)]
    for ordered in several:
        for form in (ordered.T, ordered) if holder.takes_rows is False else (ordered, ordered.T):
            if form.shape == holder.array.shape:
                yield form
                break
    if holder.array.ndim == 1 and weight.ndim == 1 and not several:
        yield weight
