"""Carry the reference's named axes through the torch program, so that arrays are exchanged by meaning, not by size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.align import kinds, operations
from pytest_kerasdiff.align.axes import (
    Axes,
    AxesError,
    Dimension,
    Part,
    decode,
    is_unit,
    names,
    rearrange,
    resized,
    whole,
    without_units,
)
from pytest_kerasdiff.align.keras_axes import keras_axes
from pytest_kerasdiff.trace import Array, Candidate, Operation, ReferenceTrace, ReplayError, Value

_AS_KERAS = 1e-5
_MATRIX = 3
"""Axes of a batch of matrices."""
_CHANNELS_FIRST = frozenset({"pool", "norm", "pad", "upsample"})
"""Kinds of operations that have channels first, beside convolutions."""


class Layouts:
    """Axes of the torch values in the reference's names, and the exchange of arrays between both sides."""

    def __init__(
        self,
        reference: ReferenceTrace,
        candidate: Candidate,
        input_axes: Mapping[int, Axes],
        pairs: Mapping[int, int],
        keras: Mapping[int, Axes] | None = None,
    ) -> None:
        """Carry axes through the torch program.

        Args:
            reference: The reference trace.
            candidate: The torch side; movements are run on ``arange`` to read off what they do.
            input_axes: Axes of the torch inputs.
            pairs: Keras value → torch value that is the same.
            keras: What ``keras_axes`` says of the reference, where it is known.
        """
        self.keras = keras_axes(reference) if keras is None else keras
        self._reference, self._candidate = reference, candidate
        self._layers = {v: layer for layer in reference.layers for v in layer.outputs}
        self._operations = {v: operation for operation in candidate.trace.operations for v in operation.outputs}
        self._pairs = pairs
        self._aliases: dict[str, Dimension] = {}
        self._names = 0
        self._moves: dict[Any, Axes | None] = {}
        self._dropped: dict[int, frozenset[str]] = {}
        """Names of the axes along which one position was taken out on the way to a value."""
        self.torch: dict[int, Axes] = dict(input_axes)
        self.contradicted: set[int] = set()
        """Keras values whose axes came out of the torch program garbled and were taken from the operation's meaning."""
        partners: dict[int, list[int]] = {}
        for keras_value, torch_value in pairs.items():
            if keras_value in self.keras:
                partners.setdefault(torch_value, []).append(keras_value)
        shapes = candidate.trace.shapes
        for value in input_axes:
            for keras_value in partners.get(value, ()):
                self._meet(value, keras_value, "input")
        for operation in candidate.trace.operations:
            kind, _ = operations.kind(operation)
            dropped = frozenset().union(*(self._dropped.get(v, frozenset()) for v in operation.inputs))
            if operation.op in ("select", "unbind"):
                axes = self._resolved(self.torch[operation.inputs[0]])
                taken = axes[int(operation.arguments.get("dim", 0)) % len(axes)] if axes else ()
                dropped |= set() if is_unit(taken) else names((taken,))
            for number, value in enumerate(operation.outputs):
                self._dropped[value] = dropped
                self.torch[value] = self._rule(operation, kind, number, value, shapes)
                for keras_value in partners.get(value, ()):
                    self._meet(value, keras_value, kind)

    def to_keras(self, array: Array, torch_value: int, keras_value: int) -> Array:
        """Bring a torch array into Keras's layout.

        Raises:
            AxesError: Its axes are not those of the Keras value.
        """
        return rearrange(array, self._resolved(self.torch[torch_value]), self.keras[keras_value])

    def to_torch(self, array: Array, keras_value: int, torch_value: int) -> Array:
        """Bring a Keras array into the layout of a torch value; sizes are the Keras array's.

        Raises:
            AxesError: As ``to_keras``.
        """
        return rearrange(array, self.keras[keras_value], self._resolved(self.torch[torch_value]))

    def resolved(self, torch_value: int) -> Axes:
        """Axes of a torch value in the reference's names, as far as they are known."""
        return self._resolved(self.torch[torch_value])

    def meet(self, torch_value: int, keras_value: int) -> None:
        """Take a further pair into account."""
        operation = self._operations.get(torch_value)
        self._meet(torch_value, keras_value, operations.kind(operation)[0] if operation else "input")

    # -- naming ------------------------------------------------------------------------------------------------------

    def _fresh(self) -> str:
        self._names += 1
        return f"torch.{self._names}"

    def _resolved(self, axes: Axes) -> Axes:
        if not self._aliases:
            return axes
        return tuple(tuple(part for piece in dimension for part in self._resolve(piece)) for dimension in axes)

    def _resolve(self, part: tuple[str, int, int]) -> Dimension:
        known = self._aliases.get(part[0])
        if known is None:
            return (part,)
        if part[1] == 1 and len(known) == 1 and known[0][1] == 1:
            return self._resolve((known[0][0], 1, part[2]))
        if len(known) == 1:
            return self._resolve((known[0][0], known[0][1] * part[1], part[2]))
        return known if part[1] == 1 else (part,)

    def _meet(self, torch_value: int, keras_value: int, kind: str) -> None:
        """Bind the new names of a torch value to the axes of its Keras partner."""
        have, want = self._resolved(self.torch[torch_value]), self.keras[keras_value]
        mine = [d for d in have if not is_unit(d) and not names((d,)) & names(want)]
        theirs = [d for d in want if not is_unit(d) and not names((d,)) & names(have)]
        if len(mine) == 1 < len(theirs) and _is_new(mine[0]) and _size(mine[0]) == _size(sum(theirs, ())):
            # (heads, features) of an EinsumDense are one axis of a linear.
            self._aliases[mine[0][0][0]] = sum(theirs, ())
            have = self._resolved(have)
        elif len(mine) == len(theirs):
            for own, other in zip(mine, self._ordered(torch_value, keras_value, mine, theirs), strict=False):
                if _is_new(own):
                    self._aliases[own[0][0]] = other
                elif len(mine) == 1:  # an axis that has a name already is another one here: for this value alone
                    have = tuple(other if d == own else d for d in have)
            have = self._resolved(have)
        if _compatible(have, want):
            self.torch[torch_value] = have
            return
        by_meaning = self._by_meaning(torch_value, keras_value, kind)
        if by_meaning is not None:
            self.contradicted.add(keras_value)
            self.torch[torch_value] = by_meaning

    def _ordered(
        self, torch_value: int, keras_value: int, mine: list[Dimension], theirs: list[Dimension]
    ) -> Sequence[Dimension]:
        """``theirs`` in the order of ``mine``: as sizes say, else as values do; nothing where neither says it."""
        sizes, others = [_size(d) for d in mine], [_size(d) for d in theirs]
        if sizes != others and sorted(sizes) == sorted(others) and len(set(sizes)) == len(sizes):
            return [theirs[others.index(size)] for size in sizes]
        # As what the layer takes stands, as Keras has it, and with channels first; the first where values say nothing.
        orders = [self._order_of_inputs(keras_value, theirs), theirs]
        if self._has_channels(keras_value):
            orders.append([*theirs[-1:], *theirs[:-1]])
        orders = [o for n, o in enumerate(orders) if o not in orders[:n] and [_size(d) for d in o] == sizes]
        if len(orders) < 2:
            return orders[0] if orders else theirs
        if not all(map(_is_new, mine)):
            return ()
        have = self._resolved(self.torch[torch_value])
        bound = [dict(zip(mine, order, strict=True)) for order in orders]
        return orders[self._nearest(torch_value, keras_value, [tuple(b.get(d, d) for d in have) for b in bound])]

    def _nearest(self, torch_value: int, keras_value: int, options: Sequence[Axes]) -> int:
        """Which axes make a torch value, computed from what Keras's layer takes, Keras's; the first where none do.

        What that layer takes may have been found in another place: then it is computed from the model's inputs.
        """
        if len(options) < 2 or self._reference.sketches:
            return 0
        values = self._reference.values
        whole_model = dict(zip(self._reference.inputs, self._candidate.trace.inputs, strict=False))
        own = {v: self._pairs[v] for v in self._layers[keras_value].inputs if v in self._pairs}
        limit = _AS_KERAS * float(np.abs(np.nan_to_num(values[keras_value])).max(initial=0))
        for taken in (whole_model | own, whole_model):
            try:
                given = {t: self.to_torch(values[v], v, t) for v, t in taken.items()}
                array = self._candidate.run([torch_value], given)[torch_value]
            except (AxesError, ReplayError, KeyError, ValueError):
                continue
            for number, axes in enumerate(options):
                moved = rearrange(array, axes, self.keras[keras_value])
                if np.allclose(moved, values[keras_value], 0, limit, equal_nan=True):
                    return number
        return 0

    def _order_of_inputs(self, keras_value: int, theirs: Sequence[Dimension]) -> list[Dimension]:
        """``theirs`` in the order in which the axes of what the layer takes stand in the port, or of what is before."""
        want, pending = self.keras[keras_value], list(self._layers[keras_value].inputs)
        for value in pending:
            have, axes = self.torch.get(self._pairs.get(value, -1), ()), self.keras.get(value, ())
            if len(set(axes)) == len(axes) == len(want) and sorted(self._resolved(have)) == sorted(axes):
                order = [want[axes.index(d)] for d in self._resolved(have)]
                return [d for d in order if d in theirs]
            pending += [v for v in self._layers[value].inputs if v not in pending]
        return list(theirs)

    def _by_meaning(self, torch_value: int, keras_value: int, kind: str) -> Axes | None:
        """The layout that the operation itself has: its operands', channels first for convolutions, or Keras's."""
        want, shape = self.keras[keras_value], self._candidate.trace.shapes[torch_value]
        keras_shape = self._reference.shapes[keras_value]
        if len(shape) != len(want):
            flat = [d for d in want if not is_unit(d)]
            squeezed = [s for s in shape if s != 1]
            if [int(np.prod([p[2] for p in d])) for d in flat] == squeezed:
                rest = iter(flat)
                return tuple(next(rest) if s != 1 else () for s in shape)
            return None
        carried = self._order_of_operands(torch_value, keras_value)
        if carried is not None and kind in operations.ELEMENTWISE | {"concat"}:
            return tuple(want[i] for i in carried)
        orders = [tuple(range(len(want)))]
        convolved = len(want) > 2 and (kind == "conv" or self._is_convolved(torch_value))
        if len(want) > 2:
            orders.append((0, len(want) - 1, *range(1, len(want) - 1)))
            if convolved or kind in _CHANNELS_FIRST:
                orders.reverse()
        fitting = [o for o in orders if tuple(keras_shape[i] for i in o) == tuple(shape)]
        if fitting:
            options = [tuple(want[i] for i in order) for order in fitting]
            if len(options) > 1 and not convolved and kind not in _CHANNELS_FIRST:
                carried_on = self._order_of_inputs(keras_value, want)
                options.sort(key=lambda option: list(option) != carried_on)
            return options[self._nearest(torch_value, keras_value, options) if self._has_channels(keras_value) else 0]
        # A fault may have changed the sizes; what a convolution takes or gives has channels first all the same.
        return tuple(want[i] for i in orders[0]) if convolved else None

    def _has_channels(self, keras_value: int) -> bool:
        """Whether values may say that a Keras value has channels first in the port: an image, what a layer made of one.

        A batch of matrices that is transposed is told from another layout by its place in the model alone.
        """
        layer = self._layers[keras_value]
        of_kind = {kind for kind, _, _ in kinds.parts(layer)} & (_CHANNELS_FIRST | {"conv"})
        return len(self.keras[keras_value]) > (2 if of_kind else _MATRIX)

    def _is_convolved(self, torch_value: int) -> bool:
        """Whether a convolution takes a value as it is."""
        return any(
            torch_value in operation.inputs and operations.kind(operation)[0] == "conv"
            for operation in self._candidate.trace.operations
        )

    def _order_of_operands(self, torch_value: int, keras_value: int) -> tuple[int, ...] | None:
        """In which order a join's operands hold the axes that Keras's have, where that is the same for all."""
        operation, layer = self._operations.get(torch_value), self._layers[keras_value]
        orders = {
            tuple(want.index(d) for d in have)
            for have in (self._resolved(self.torch[v]) for v in (operation.inputs if operation else ()))
            for want in (self.keras[u] for u in layer.inputs)
            if len(set(want)) == len(want) == len(self.keras[keras_value]) and sorted(have) == sorted(want)
        }
        return orders.pop() if len(orders) == 1 else None

    # -- the rules ---------------------------------------------------------------------------------------------------

    def _rule(
        self, operation: Operation, kind: str, number: int, value: int, shapes: Mapping[int, tuple[int, ...]]
    ) -> Axes:
        """Axes of an operation's output."""
        shape = shapes[value]
        ins = [self._resolved(self.torch[v]) for v in operation.inputs]
        n = len(shape)

        def new(dimension: int) -> Dimension:
            return whole(self._fresh(), shape[dimension])

        first, first_shape = ins[0], shapes[operation.inputs[0]]
        if operation.op == "overlay":
            known = [i for i, v in zip(ins, operation.inputs, strict=True) if shapes[v] == shape]
            if not known and n == len(first):  # written into a larger buffer: padding
                known = [
                    tuple(
                        d if s == b else resized(d, s, self._fresh)
                        for d, s, b in zip(first, shape, first_shape, strict=True)
                    )
                ]
            return known[-1] if known else self._unknown(ins, operation, shape, shapes)
        if operation.op == "copy":
            return self._broadcast(ins[-1:], [shapes[operation.inputs[-1]]], shape)
        if kind == "conv" and n == len(first) and n > 2:
            return (first[0], new(1), *(resized(first[d], shape[d], self._fresh) for d in range(2, n)))
        if kind in ("pool", "pad", "upsample"):
            return self._window_rule(operation, first, first_shape, shape)
        if operation.op in operations.FACTORS:  # what is added to the product, or masks it, names no axis
            factors = [operation.arguments.get(name) for name in operations.FACTORS[operation.op]]
            ins = [self._resolved(self.torch[v.index]) for v in factors if isinstance(v, Value)] or ins
            first = ins[0]
        if kind == "linear":
            return self._product_rule(operation, first, shape)
        if kind == "move":
            return self._movement(operation, number, first, first_shape, shape) or self._unknown(
                ins, operation, shape, shapes
            )
        if kind == "concat":
            return self._concat_rule(operation, ins, shape)
        if kind == "rnn" and n == len(first) and (number == 0 or n == 2):
            return (*first[:-1], new(n - 1))
        if kind == "rnn" and n == len(first) == 3:  # states: (layer and direction, batch, unit)
            return (new(0), first[0 if operation.arguments.get("batch_first") else 1], new(2))
        if kind == "embedding" and n == len(first) + 1:
            return (*first, new(n - 1))
        if kind == "attention" and n == len(first):
            return (*first[:-1], ins[-1][-1])
        if kind == "matmul":
            return self._matmul_rule(operation, ins, shape)
        if kind in operations.ELEMENTWISE or kind == "norm":
            return self._broadcast(ins, [shapes[v] for v in operation.inputs], shape)
        return self._unknown(ins, operation, shape, shapes)

    def _broadcast(self, ins: Sequence[Axes], shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> Axes:
        """Axes by position from the right, as broadcasting aligns them."""
        result = []
        for d in range(len(shape)):
            at = [
                i[d - len(shape)]
                for i, s in zip(ins, shapes, strict=True)
                if len(s) >= len(shape) - d and s[d - len(shape)] == shape[d]
            ]
            result.append(next((a for a in at if a), whole(self._fresh(), shape[d])))
        return tuple(result)

    def _unknown(
        self,
        ins: Sequence[Axes],
        operation: Operation,
        shape: tuple[int, ...],
        shapes: Mapping[int, tuple[int, ...]],
    ) -> Axes:
        """An operation without a rule: as an input of the same shape, else new axes but for the batch."""
        for axes, value in zip(ins, operation.inputs, strict=True):
            if shapes[value] == shape:
                return axes
        before = shapes[operation.inputs[0]]
        return tuple(
            ins[0][0] if d == 0 and before[:1] == shape[:1] else whole(self._fresh(), s) for d, s in enumerate(shape)
        )

    def _window_rule(self, operation: Operation, first: Axes, before: tuple[int, ...], shape: tuple[int, ...]) -> Axes:
        if len(shape) == len(first):
            return tuple(
                first[d] if shape[d] == before[d] else resized(first[d], shape[d], self._fresh)
                for d in range(len(shape))
            )
        dims = operation.arguments.get("dim")
        if dims is None:
            return tuple(whole(self._fresh(), s) for s in shape)
        gone = {int(d) % len(first) for d in (dims if isinstance(dims, list | tuple) else [dims])}
        kept = _without_inner(
            tuple(d for i, d in enumerate(first) if i not in gone), tuple(first[i] for i in gone if i < len(first))
        )
        return kept if len(kept) == len(shape) else tuple(whole(self._fresh(), s) for s in shape)

    def _product_rule(self, operation: Operation, first: Axes, shape: tuple[int, ...]) -> Axes:
        """A product with constants: a new last axis, or a new last but one where the constant stands on the left."""
        arguments = operation.arguments
        if operation.op == "einsum":
            return self._einsum_rule(operation, [first], shape)
        left = (
            "self" in arguments
            and not isinstance(arguments["self"], Value)
            and "input" not in arguments
            and operation.op in ("matmul", "mm", "bmm")
        )
        if len(shape) != len(first):
            return (*first[: len(shape) - 1], whole(self._fresh(), shape[-1])) if shape else ()
        at = len(shape) - 2 if left else len(shape) - 1
        return tuple(whole(self._fresh(), s) if d == at else first[d] for d, s in enumerate(shape))

    def _matmul_rule(self, operation: Operation, ins: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
        if operation.op == "einsum":
            return self._einsum_rule(operation, ins, shape)
        if len(ins) >= 2 and len(ins[0]) == len(shape) == len(ins[1]):
            return (*ins[0][:-1], ins[1][-1])
        return tuple(ins[0][0] if d == 0 and ins[0] else whole(self._fresh(), s) for d, s in enumerate(shape))

    def _einsum_rule(self, operation: Operation, ins: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
        equation = str(operation.arguments.get("equation", "")).replace(" ", "")
        operands = operation.arguments.get("tensors") or []
        if "->" not in equation or "." in equation:
            return tuple(whole(self._fresh(), s) for s in shape)
        left, right = equation.split("->")
        known: dict[str, Dimension] = {}
        variable = iter(ins)
        for letters, operand in zip(left.split(","), operands, strict=False):
            if isinstance(operand, Value):
                for letter, dimension in zip(letters, next(variable, ()), strict=False):
                    known.setdefault(letter, dimension)
        return tuple(known.get(letter, whole(self._fresh(), s)) for letter, s in zip(right, shape, strict=False))

    def _concat_rule(self, operation: Operation, ins: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
        stacked = operation.op == "stack"
        axis = operation.arguments.get("dim", 0)
        axis = int(axis) % len(shape) if isinstance(axis, int) else 0
        if stacked:
            ins = [(*i[:axis], (), *i[axis:]) for i in ins]
        if any(len(i) != len(shape) for i in ins):
            return tuple(whole(self._fresh(), s) for s in shape)
        here = {name for i in ins for name in names(i)}
        taken = self._dropped[operation.outputs[0]] - here if stacked else frozenset()
        # Steps taken out of one axis and stacked again are that axis.
        along = next(iter(taken)) if len(taken) == 1 else self._fresh()
        return tuple(
            whole(along, s) if d == axis else next((i[d] for i in ins if i[d]), ()) for d, s in enumerate(shape)
        )

    def _movement(
        self, operation: Operation, number: int, first: Axes, before: tuple[int, ...], after: tuple[int, ...]
    ) -> Axes | None:
        """Run a movement once on ``arange`` and read off where each axis went."""
        if len(operation.inputs) != 1 or operation.op in ("gather", "take_along_dim"):
            return None
        key = (operation.op, repr(operation.arguments), number, before, first)
        if key not in self._moves:
            positions = np.arange(int(np.prod(before)), dtype=np.int64).reshape(before)
            try:
                moved = self._candidate.run([operation.outputs[number]], {operation.inputs[0]: positions})
            except ReplayError:
                return None
            array = moved[operation.outputs[number]]
            if tuple(array.shape) != tuple(after):
                return None
            self._moves[key] = decode(np.asarray(array, dtype=np.int64), first, self._fresh)
        return self._moves[key]


def _without_inner(kept: Axes, gone: Axes) -> Axes:
    """Axes after others were reduced: what is left of an axis without its inner part (a window) is whole again."""

    def outer(part: Part) -> Part:
        name, stride, size = part
        inner = math.prod(s for d in gone for n, below, s in d if n == name and below < stride)
        return name, stride // inner if stride % inner == 0 else stride, size

    return tuple(tuple(outer(part) for part in dimension) for dimension in kept)


def _is_new(dimension: Dimension) -> bool:
    """Whether a dimension is one whole axis that torch made."""
    return len(dimension) == 1 and dimension[0][1] == 1 and dimension[0][0].startswith("torch.")


def _size(dimension: Dimension) -> int:
    return int(np.prod([part[2] for part in dimension], dtype=int))


def _compatible(have: Axes, want: Axes) -> bool:
    """Whether the two speak of the same axes, sizes aside."""
    if names(without_units(have, want)) != names(without_units(want, have)):
        return False
    try:
        shape = [int(np.prod([p[2] for p in d], dtype=int)) for d in want]
        rearrange(np.empty(shape, dtype=np.int8), want, have)
    except AxesError:
        return False
    return True
