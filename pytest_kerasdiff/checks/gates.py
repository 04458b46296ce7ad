"""Weights of recurrent layers: kernels whose rows are blocks of gates, and Keras's one bias for torch's two."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from pytest_kerasdiff.align.weights import canonical
from pytest_kerasdiff.checks import explain, strangers
from pytest_kerasdiff.checks.held import COMPUTED, Found, Held, constants_of, held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import blocks_in_order, distance, rounded, same
from pytest_kerasdiff.trace import Array

_GATES = {4: "ifco", 3: "zrh", 1: "h"}
"""Keras's gates in its order, by how many there are.

Source: keras/src/layers/rnn/lstm.py and gru.py.
"""
_TORCH = {4: (0, 1, 2, 3), 3: (1, 0, 2), 1: (0,)}
"""Which of Keras's gates stands where in torch.

Source: torch.nn.LSTM (i, f, g, o) and torch.nn.GRU (r, z, n).
"""
_CAUSES = {4: "lstm-gate-order", 3: "gru-gate-order", 1: "weights-differ"}
_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_MODULES = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """The weights of one Keras cell.

    Attributes:
        prefix: What stands before the names of its weights.
        kernel: (in, gates · units).
        recurrent: (units, gates · units).
        bias: (gates · units), (2, gates · units) of a GRU that resets after the product, or None.
    """

    prefix: str
    kernel: Array
    recurrent: Array
    bias: Array | None

    @property
    def gates(self) -> int:
        """How many gates it has."""
        return int(self.recurrent.shape[1] // self.recurrent.shape[0])


def cells(weights: Mapping[str, Array]) -> list[Cell]:
    """The cells of a recurrent layer, in Keras's order."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in weights.items():
        prefix, _, short = name.rpartition("/")
        found.setdefault(prefix, {})[short] = array
    made = []
    for prefix, own in found.items():
        kernel, recurrent = own.get("kernel"), own.get("recurrent_kernel")
        if kernel is not None and recurrent is not None and kernel.ndim == recurrent.ndim == 2:
            cell = Cell(f"{prefix}/" if prefix else "", kernel, recurrent, own.get("bias"))
            if cell.gates in _GATES:
                made.append(cell)
    return made


Quad = tuple[Held, Held, Held | None, Held | None]
"""weight_ih, weight_hh, bias_ih, bias_hh."""


def compare(subject: Subject, constants: Sequence[Held]) -> Iterator[Found]:
    """Compare cell by cell with torch's modules, or with what a port written by hand holds."""
    theirs, ours = list(quads(subject)), cells(subject.weights)
    if not ours:
        return
    for number, cell in enumerate(ours):
        fitting = [q for q in theirs if q[0].array.shape == cell.kernel.T.shape]
        fitting = [q for q in fitting if q[1].array.shape == cell.recurrent.T.shape]
        if fitting:
            found = [list(_cell(cell, quad, subject)) for quad in fitting]
            at = min(range(len(found)), key=lambda i: (sum(bool(f.cause) for f in found[i]), abs(i - number)))
            if len(ours) == len(fitting) == 2 and at != number and not any(f.cause for f in found[at]):
                yield from _exchanged(cell, fitting[at], subject)
            other = ours[1 - number] if len(ours) == 2 and all(f.cause for f in found[at]) else cell
            alike = other.kernel.shape == cell.kernel.shape and other.gates == cell.gates
            if other is not cell and alike and not any(f.cause for f in _cell(other, fitting[at], subject)):
                found[at] = [_of_the_other(f, holder) for f, holder in zip(found[at], fitting[at], strict=False)]
            yield from found[at]
        elif theirs:
            yield Found(
                "weights-differ", f"{cell.prefix}kernel: no recurrent module of the layer has weights of its shape"
            )
        else:
            yield from _by_hand(cell, constants)


def _exchanged(cell: Cell, quad: Quad, subject: Subject) -> Iterator[Found]:
    if subject.layer.class_name != "Bidirectional":
        yield Found("", f"{cell.prefix}kernel held by another module")
        return
    for short, holder in (("kernel", quad[0]), ("recurrent_kernel", quad[1]), ("bias", quad[2])):
        if holder is not None:
            words = f"{cell.prefix}{short}: {holder.where} holds the other direction's; exchange forward and backward"
            yield Found("bidirectional-order", words, name=f"{cell.prefix}{short}")


def _of_the_other(found: Found, holder: Held | None) -> Found:
    """What was found of a weight where the port holds the other direction's, twice."""
    where = holder.where if holder is not None else "the port"
    words = f"{found.name}: {where} holds that of the other direction; {found.words.partition('; ')[2]}"
    return found._replace(cause="weights-of-other-layer", words=words)


def quads(subject: Subject) -> Iterator[Quad]:
    """What each of torch's recurrent operations of a layer holds, for every direction and level of it."""
    by_name = {c.where: c for c in held(subject)}
    numbers = {n: ", ".join(data.origins) or "a constant" for n, data in subject.constants.items()}
    seen = set()
    for step in subject.steps:
        if step.op in _CELLS:
            names = ("w_ih", "w_hh", "b_ih", "b_hh")
            taken = [constants_of(step.arguments.get(n)) for n in names]
            groups = [[own[0] for own in taken if own]]
        elif step.op in _MODULES:
            own = constants_of(step.arguments.get("params"))
            size = 4 if step.arguments.get("has_biases", True) else 2
            groups = [own[i : i + size] for i in range(0, len(own), size)]
        else:
            continue
        for group in groups:
            quad = [by_name.get(numbers.get(n, "")) for n in group]
            quad += [None, None] * (len(quad) == 2)
            if len(quad) == 4 and quad[0] and quad[1] and tuple(group) not in seen:
                seen.add(tuple(group))
                yield quad[0], quad[1], quad[2], quad[3]


def _cell(cell: Cell, quad: Quad, subject: Subject) -> Iterator[Found]:
    for name, weight, holder in (("kernel", cell.kernel, quad[0]), ("recurrent_kernel", cell.recurrent, quad[1])):
        full = f"{cell.prefix}{name}"
        yield _kernel(full, weight, holder, cell.gates, subject)._replace(name=full)
    if cell.bias is not None or quad[2] is not None:
        yield _biases(cell, quad, subject)._replace(name=f"{cell.prefix}bias")


def ordered(array: Array, gates: int) -> Array:
    """Blocks of gates along the first axis in torch's order."""
    blocks = np.split(array, gates)
    return np.concatenate([blocks[i] for i in _TORCH[gates]])


def _kernel(name: str, weight: Array, holder: Held, gates: int, subject: Subject) -> Found:
    port, wanted = holder.array, ordered(weight.T, gates)
    remedy = f"use {name.rpartition('/')[2]}.T" + ("" if gates != 3 else " with its blocks in the order r, z, h")
    if same(port, wanted):
        return Found("", f"{name} equal")
    if not holder.direct and distance(port, wanted).max() <= COMPUTED * np.abs(wanted).max():
        return Found("", f"{name} equal to rounding, computed from {holder.where}")
    order = blocks_in_order(weight.T, port, gates)
    if order is not None:
        return Found(_CAUSES[gates], f"{name}: {_order_in_words(holder.where, order, gates)}; {remedy}", "unproven")
    turned = (
        np.concatenate([block.T for block in np.split(port, gates)]) if port.shape[1] * gates == len(port) else None
    )
    how = ""
    if turned is not None and blocks_in_order(weight.T, turned, gates) is not None:
        how = "not transposed" + (" within its gates" if gates > 1 else "")
    elif same(port, weight):
        how = "reshaped instead of transposed"
    if how:
        return Found("dense-transposed", f"{name}: {holder.where} is {how}; {remedy}", "unproven")
    plain = explain.explain(name, weight, None, subject, [holder], [(holder, wanted)], ())
    return plain._replace(words=f"{plain.words}; {remedy}")


def _letters(order: Iterable[int], gates: int) -> str:
    return ", ".join(_GATES[gates][i] for i in order)


def _order_in_words(where: str, order: Sequence[int], gates: int) -> str:
    return f"the gates in {where} stand as {_letters(order, gates)}, torch's as {_letters(_TORCH[gates], gates)}"


def of_images(name: str, weight: Array, constants: Sequence[Held]) -> Found | None:
    """What a port by hand holds of a weight of a ConvLSTM, as it is or with its gates apart; None where it does not."""
    found = _anywhere(name, weight, True, 4, constants)
    return found if found.cause in ("", _CAUSES[4]) else None


def _biases(cell: Cell, quad: Quad, subject: Subject) -> Found:
    """Keras's bias against the sum of torch's two, and where a GRU resets after the product each of them."""
    name, gates = f"{cell.prefix}bias", cell.gates
    ours = [np.zeros(len(cell.recurrent.T), np.float32) if h is None else h.array for h in quad[2:]]
    bias = np.zeros_like(ours[0]) if cell.bias is None else cell.bias
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    if both.shape[1:] != ours[0].shape:
        return Found("weights-differ", f"{name}: {both.shape[1]} elements in Keras, {ours[0].size} in the port")
    wanted = [ordered(np.asarray(b), gates) for b in both]
    where = " and ".join(h.where for h in quad[2:] if h is not None) or "the module"
    split = bias.ndim == 2  # the last gate's biases are not added to each other
    if _alike(sum(ours), sum(wanted)) and (not split or _alike(_last(ours[1], gates), _last(wanted[1], gates))):
        return Found("", f"{name} equal")
    if not any(np.any(b) for b in ours):
        return Found("bias-missing", f"{name}: {where} are zero; load Keras's bias", "unproven")
    if not split and _alike(ours[0], wanted[0]) and _alike(ours[1], wanted[0]):
        cause = "lstm-bias-doubled"
        return Found(cause, f"{name}: both {where} hold it, torch adds the two; fill the second with zeros", "unproven")
    if split and _alike(ours[0], wanted[1]) and _alike(ours[1], wanted[0]):
        return Found("weights-swapped", f"{name}: {where} hold each other's; bias[0] is the input's", "unproven")
    if split and _alike(sum(ours), sum(wanted)):
        words = f"{name}: {where} have the right sum, but torch multiplies the second's last gate by r; keep both apart"
        return Found("weights-differ", words, "unproven")
    once, total = np.asarray(sum(both)), np.asarray(sum(ours))
    if not split and blocks_in_order(2 * once, total, gates) is not None:
        words = f"{name}: both {where} hold it, its gates in another order, and torch adds the two"
        return Found("lstm-bias-doubled", f"{words}; load it once, and fill the second with zeros")
    order = blocks_in_order(once, total, gates)
    if order is not None:
        return Found(_CAUSES[gates], f"{name}: {_order_in_words(where, order, gates)}")
    for holder in (quad[2], quad[3]):
        theirs = None if holder is None else strangers.of_another_layer(name, np.asarray(bias), subject, holder)
        if theirs is not None:
            return theirs
    total, right = np.asarray(total, np.float32), np.asarray(sum(wanted), np.float32)
    if kind := rounded(right, total):
        return Found("weights-rounded", f"{name}: {where} are Keras's after rounding to {kind}; load Keras's bias")
    cause = "weights-not-loaded" if strangers.is_unlike(total, right) else "weights-differ"
    return Found(cause, f"{name}: the sum of {where} is not Keras's; load Keras's bias")


def _last(array: Array, gates: int) -> Array:
    return np.split(array, gates)[-1]


def _alike(port: Array | int, keras: Array | int) -> bool:
    first, second = np.asarray(port), np.asarray(keras)
    limit = COMPUTED * float(np.abs(second).max(initial=0))
    return first.shape == second.shape and bool(distance(first, second).max(initial=0) <= limit)


def _by_hand(cell: Cell, constants: Sequence[Held]) -> Iterator[Found]:
    """A port of its own making may hold gates in any order and in pieces: it says what it takes them for."""
    ordered_otherwise = False
    for name, weight in (("kernel", cell.kernel), ("recurrent_kernel", cell.recurrent)):
        full = f"{cell.prefix}{name}"
        found = _anywhere(full, weight, True, cell.gates, constants)
        ordered_otherwise = ordered_otherwise or found.cause == _CAUSES[cell.gates]
        yield found._replace(name=full)
    if cell.bias is not None and np.any(cell.bias):
        full = f"{cell.prefix}bias"
        found = _bias_anywhere(full, cell.bias, cell.gates, constants)
        if ordered_otherwise and cell.bias.ndim == 1 and not found.cause:
            found = _anywhere(full, cell.bias, True, cell.gates, constants)
        yield found._replace(name=full)


def _bias_anywhere(name: str, bias: Array, gates: int, constants: Sequence[Held]) -> Found:
    """A bias, or a GRU's two as one constant or apart."""
    found = _anywhere(name, bias, False, gates, constants)
    if not found.cause:
        return found
    if bias.ndim == 1:
        twice = next((c for c in constants if c.array.size == bias.size and _alike(c.array.ravel(), 2 * bias)), None)
        if twice is not None:
            return Found("lstm-bias-doubled", f"{name}: {twice.where} is twice Keras's; use it as it is")
        return found._replace(cause="bias-missing")
    rows = [_anywhere(f"{name}[{i}]", row, False, gates, constants) for i, row in enumerate(bias) if np.any(row)]
    lost = next((row for row in rows if row.cause), None)
    return Found("", f"{name} equal") if lost is None else lost._replace(cause="bias-missing")


def _anywhere(name: str, weight: Array, matrix: bool, gates: int, constants: Sequence[Held]) -> Found:
    rows = canonical("conv", "", weight) if weight.ndim > 1 and matrix else weight
    for holder in constants:
        for port in _views(holder.array, rows):
            if port.shape != rows.shape:
                continue
            if same(port, rows):
                return Found("", f"{name} equal")
            order = blocks_in_order(rows, port, gates) if matrix else None
            if order is not None:
                words = f"{name}: the gates in {holder.where} stand as {_letters(order, gates)}"
                if order in (_TORCH[gates], tuple(range(gates))):
                    return Found("", words)
                return Found(_CAUSES[gates], f"{words}, Keras's as {_letters(range(gates), gates)}")
    blocks = np.split(rows, gates, axis=0 if matrix else -1)
    if all(any(_within(block, holder.array) for holder in constants) for block in blocks):
        return Found("", f"{name} equal, gate by gate")
    return Found("weights-differ", f"{name}: no constant of the port holds these values")


def _within(block: Array, array: Array) -> bool:
    block = np.asarray(block)
    if block.ndim == 1 and array.ndim > 1:
        return any(_within(block, row) for row in array) if array.ndim == 2 and len(array) <= 2 else False
    return any(
        same(way, block) if way.size == block.size else explain.place_of(block, way) is not None
        for way in _views(array, block)
        if way.ndim == block.ndim
    )


def _views(array: Array, wanted: Array) -> Iterator[Array]:
    """A kernel, a matrix also transposed, and both ends of one for more channels: [input, state] in one product."""
    ways = (array, array.T) if array.ndim == 2 else (array,)
    yield from ways
    for kernel in ways if array.ndim == wanted.ndim > 1 else ():
        if kernel.shape[1] > wanted.shape[1]:
            yield kernel[:, : wanted.shape[1]]
            yield kernel[:, -wanted.shape[1] :]
