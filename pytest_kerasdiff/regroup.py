"""Correct the alignment by running it: layers that the port computes elsewhere, or together with others.

What the graphs alone leave open is decided here. A pair found this way is a claim about the program that the values
confirm on every element; it can make no wrong port pass, because the model's output stays paired with the model's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_kerasdiff.trace import ReferenceTrace

if TYPE_CHECKING:
    from pytest_kerasdiff.judge import Judge, LayerVerdict

_MAX_TRIED = 24
_ACTIVATING = frozenset({"act", "affine", "maximum", "minimum", "opaque"})
"""Kinds of torch operations that can do an activation's work."""


class Regrouping:
    """Regroups the layers of one judgement."""

    def __init__(self, judge: Judge, reference: ReferenceTrace) -> None:
        """Work on the alignment and the verdicts of ``judge``."""
        self._judge, self._reference, self._alignment = judge, reference, judge.alignment

    def with_consumer(self, position: int) -> bool:
        """Join a layer with its consumers, if their torch operations do its work (padding inside a convolution)."""
        value = self._reference.layers[position].outputs[0]
        if value in self._reference.outputs:
            return False
        consumers = self._reference.takers.get(value, ())
        for consumer in consumers:
            torch_value = self._alignment.pairs.get(self._reference.layers[consumer].outputs[0])
            if torch_value is None or not self._passes(consumer, torch_value, frozenset({position})):
                return False
        if consumers:
            self._judge.compute_with(position, consumers[0])
        return bool(consumers)

    def with_producer(self, position: int) -> bool:
        """Join a layer with its producer, if its torch operations do its work (ReLU before a concatenation)."""
        layer = self._reference.layers[position]
        if len(layer.inputs) != 1 or layer.inputs[0] not in self._alignment.pairs:
            return False
        producer = self._judge.layer_of[layer.inputs[0]]
        torch_value = self._alignment.pairs[layer.inputs[0]]
        others = self._reference.takers[layer.inputs[0]]
        is_output = layer.inputs[0] in self._reference.outputs
        if is_output or len(others) != 1 or not self._reference.layers[producer].inputs:
            return False
        if not self._passes(position, torch_value, frozenset({producer})):
            return False
        self._judge.compute_with(producer, position)
        self._alignment.pairs[layer.outputs[0]] = torch_value
        self._alignment.passes_on.pop(layer.outputs[0], None)
        result = self._judge.verdicts[position]
        result.isolated = self._judge.alone(position, torch_value)
        result.cumulative = self._judge.one_cumulative(position)
        return True

    def _passes(self, position: int, torch_value: int, ignoring: frozenset[int]) -> bool:
        """Whether a layer passes together with others, whose work must be there to be seen, unhidden by a maximum.

        A maximum over many elements is the same with and without the ReLU before it: where the group has an activation,
        the torch operations must have one too.
        """
        if not ignoring:
            return self._judge.alone(position, torch_value).passes
        hidden = any(self._judge.picks(p) for p in (*ignoring, position))
        if hidden and any(self._judge.has_another_size(p) for p in ignoring):
            return False
        group = {self._reference.layers[p].weight_owner for p in (*ignoring, position)}
        needed, others = set(), 0
        for node in self._alignment.keras.nodes:
            owner = self._reference.layers[node.owner].weight_owner
            if owner in group and node.kind == "act":
                needed.add("relu" if node.variant == "relu" else f"{owner} {node.variant}")  # twice a ReLU is one
            elif owner in group and node.kind in ("maximum", "minimum"):
                others += 1  # its own operation is not an activation's work
        inside = [self._alignment.torch.node(v) for v in self._judge.inside(position, torch_value, ignoring)]
        if sum(node is not None and node.kind in _ACTIVATING for node in inside) < len(needed) + others * bool(needed):
            return False
        return self._judge.alone(position, torch_value, ignoring).passes

    def repair(self) -> bool:
        """Look for the values of layers at fault elsewhere in the port; True where the alignment was changed."""
        changed = False
        for position, result in enumerate(self._judge.verdicts):
            layer = self._reference.layers[position]
            if (
                result.status not in ("fault", "unpaired")
                or not layer.inputs
                or layer.outputs[0] in self._reference.outputs
            ):
                continue
            if self._repair(position, frozenset()):
                changed = True
            elif layer.outputs[0] in self._alignment.passes_on or position in self._alignment.partial:
                consumers = self._reference.takers.get(layer.outputs[0], ())
                if len(consumers) == 1 and self._repair(consumers[0], frozenset({position})):
                    self._judge.compute_with(position, consumers[0])
                    changed = True
        return changed or self._join_groups()

    def _join_groups(self) -> bool:
        """Join layers that the port computes as one.

        An encoder run once on two inputs put together, ``|a - b|`` for a maximum less a minimum. Only layers that have
        no value of their own in the port may be joined; a layer whose value is there and differs is at fault, whatever
        follows makes of it.
        """
        absent: set[int] = set()
        for position, result in enumerate(self._judge.verdicts):
            passed_on = self._alignment.passes_on.get(self._reference.layers[position].outputs[0])
            if self._is_absent(position, result) or (
                passed_on is not None and self._judge.layer_of[passed_on] in absent
            ):
                absent.add(position)
        changed = False
        for position, layer in enumerate(self._reference.layers):
            group = self._absent_before(position, absent)
            if not group or any(
                v in self._reference.outputs or not self._users(v) <= group | {position}
                for p in group
                for v in self._reference.layers[p].outputs
            ):
                continue
            ignoring = frozenset(group)
            now = self._alignment.pairs.get(layer.outputs[0])
            if (now is not None and self._passes(position, now, ignoring)) or (
                layer.outputs[0] not in self._reference.outputs and self._repair(position, ignoring)
            ):
                for p in group:
                    self._judge.compute_with(p, position)
                absent -= group | {position}
                changed = True
        return changed

    def _is_absent(self, position: int, result: LayerVerdict) -> bool:
        # A layer that inherits is absent where its value is no value of Keras's: two batches in one, a single step.
        if result.status not in ("fault", "unpaired", "inherited") or not self._reference.layers[position].inputs:
            return False
        if result.status == "inherited" and not (result.cumulative and result.cumulative.reason):
            return False
        if self._reference.layers[position].outputs[0] in self._alignment.passes_on or result.isolated is None:
            return True
        return bool(result.isolated.reason)

    def _absent_before(self, position: int, absent: set[int]) -> set[int]:
        """Absent layers that a layer is computed from without any other layer between."""
        found: set[int] = set()
        pending = [position]
        while pending:
            for value in self._reference.layers[pending.pop()].inputs:
                at = self._judge.layer_of[value]
                if at in absent and at not in found:
                    found.add(at)
                    pending.append(at)
        return found

    def _users(self, value: int) -> set[int]:
        return set(self._reference.takers.get(value, ()))

    def _repair(self, position: int, ignoring: frozenset[int]) -> bool:
        """Pair a layer with the torch value that gives Keras's output from Keras's input, if there is one."""
        value = self._reference.layers[position].outputs[0]
        before = self._alignment.pairs.get(value), self._alignment.passes_on.get(value)
        for torch_value in self._possible(position, ignoring):
            self._judge.layouts.meet(torch_value, value)
            if not self._passes(position, torch_value, ignoring):
                continue
            self._alignment.pairs[value] = torch_value
            self._alignment.passes_on.pop(value, None)
            if self._consumers_still_pass(value, ignoring):
                self._alignment.partial.discard(position)
                producer = self._alignment.torch.producer.get(torch_value)
                if producer is not None and position not in self._alignment.main:
                    self._alignment.main[position] = producer
                return True
            self._alignment.pairs.pop(value)
            for kept, old in zip((self._alignment.pairs, self._alignment.passes_on), before, strict=True):
                if old is not None:
                    kept[value] = old
        return False

    def _consumers_still_pass(self, value: int, ignoring: frozenset[int]) -> bool:
        """Whether the layers that take a value are right when it is what it was just paired with.

        A wrong operation between the new value and its consumer would only move the blame.
        """
        for position in self._reference.takers.get(value, ()):
            torch_value = self._alignment.pairs.get(self._reference.layers[position].outputs[0])
            isolated = self._judge.verdicts[position].isolated
            concerned = isolated is not None and isolated.passes and position not in ignoring
            if concerned and torch_value is not None and not self._judge.alone(position, torch_value).passes:
                return False
        return True

    def _possible(self, position: int, ignoring: frozenset[int]) -> list[int]:
        """Unpaired torch values of the right size that are computed from what the layer takes, nearest first."""
        layer, torch = self._reference.layers[position], self._alignment.torch
        inputs = [v for value in layer.inputs for v in self._sources_of(value, ignoring)]
        used = set(self._alignment.pairs.values())
        keras, pairs = self._alignment.keras, self._alignment.pairs
        comes_later = torch.are_ancestors(v for u, v in pairs.items() if keras.is_ancestor(layer.outputs[0], u))
        size = math.prod(self._reference.shapes[layer.outputs[0]])
        found = [
            v
            for v, shape in self._judge.candidate.trace.shapes.items()
            if v not in used
            and v in torch.producer
            and math.prod(shape) == size
            and inputs
            and all(torch.is_ancestor(i, v) for i in inputs)
            and not comes_later(v)
        ]
        return sorted(found, key=torch.order)[:_MAX_TRIED]

    def _sources_of(self, value: int, ignoring: frozenset[int]) -> list[int]:
        if self._judge.layer_of[value] in ignoring:
            return [
                s
                for v in self._reference.layers[self._judge.layer_of[value]].inputs
                for s in self._sources_of(v, ignoring)
            ]
        torch_value = self._alignment.torch_value(value)
        return [] if torch_value is None else [torch_value]
