"""Both sides as graphs of the same kind of node, so that they can be walked together.

A node is one primitive: a convolution, an activation, an addition. A Keras layer becomes one or several of them
(``Conv2D(activation="relu")``: convolution, activation), a torch operation one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One primitive.

    Attributes:
        kind: What it does: "conv", "linear", "norm", "act", "pool", "add", "move", …
        variant: Which of its kind: "relu", "max", "depthwise"; "" where the kind has none.
        operands: Values it takes that depend on the model's input, in order.
        owner: Position of the Keras layer, or of the torch operation, it belongs to.
        outputs: Values it gives; the first is its result.
        stated: What it states of itself in numbers; see ``stated``.
    """

    kind: str
    variant: str
    operands: tuple[int, ...]
    owner: int
    outputs: tuple[int, ...]
    stated: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)


class Graph:
    """Nodes in execution order, with the relations that alignment asks for. Values are numbers."""

    def __init__(self, nodes: Sequence[Node], inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Index the nodes by the values they give."""
        self.nodes = list(nodes)
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.producer = {value: i for i, node in enumerate(self.nodes) for value in node.outputs}
        self.consumers: dict[int, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for value in node.operands:
                self.consumers.setdefault(value, []).append(i)
        self._order = dict.fromkeys(self.inputs, -1)
        self._order.update({value: i for i, node in enumerate(self.nodes) for value in node.outputs})
        self.of_owner: dict[int, list[Node]] = {}
        for node in self.nodes:
            self.of_owner.setdefault(node.owner, []).append(node)
        # One bit for every value: a set of ancestors is an integer, and "is an ancestor of" a shift.
        self._ancestors: dict[int, int] = dict.fromkeys(self.inputs, 0)
        for node in self.nodes:
            mask = 0
            for value in node.operands:
                mask |= self._ancestors.get(value, 0) | (1 << value)
            for value in node.outputs:
                self._ancestors[value] = mask

    def node(self, value: int) -> Node | None:
        """The node that gives a value; None for an input."""
        index = self.producer.get(value)
        return None if index is None else self.nodes[index]

    def order(self, value: int) -> int:
        """Position in execution order; -1 for inputs."""
        return self._order[value]

    def is_ancestor(self, earlier: int, later: int) -> bool:
        """Whether ``later`` is computed from ``earlier``."""
        return bool(self._ancestors[later] >> earlier & 1)

    def leads_to(self, earlier: int, later: int) -> bool:
        """Whether ``later`` is computed from ``earlier``, or from what else its node gives (a state, an index)."""
        node = self.node(earlier)
        return any(self.is_ancestor(value, later) for value in (node.outputs if node is not None else (earlier,)))

    def ancestors(self, value: int) -> set[int]:
        """All values that ``value`` is computed from."""
        mask, found = self._ancestors[value], set()
        while mask:
            low = mask & -mask
            found.add(low.bit_length() - 1)
            mask ^= low
        return found

    def reached_from(self, marks: Mapping[int, int]) -> dict[int, int]:
        """For every value the marks, or-ed, of all values that it is computed from; a mark is an integer of bits."""
        found = dict.fromkeys(self.inputs, 0)
        for node in self.nodes:
            reached = 0
            for value in node.operands:
                reached |= found.get(value, 0) | marks.get(value, 0)
            found.update(dict.fromkeys(node.outputs, reached))
        return found

    def are_ancestors(self, values: Iterable[int]) -> Callable[[int], bool]:
        """Asks of a value whether it is computed from any of these."""
        mask = 0
        for value in values:
            mask |= 1 << value
        return lambda later: bool(self._ancestors[later] & mask)

    def lineage(self, value: int) -> int:
        """The value and all that it is computed from, one bit each."""
        return self._ancestors[value] | 1 << value

    def between(self, sources: Container[int], target: int) -> set[int]:
        """Values on the way from ``target`` back to ``sources``, those excluded, ``target`` included."""
        found: set[int] = set()
        pending = [target]
        while pending:
            value = pending.pop()
            if value in found or (value != target and value in sources):
                continue
            found.add(value)
            node = self.node(value)
            if node is not None:
                pending += node.operands
        return found

    @functools.cached_property
    def dominators(self) -> dict[int, int | None]:
        """Immediate dominator of every value: the last value that all ways from the inputs go through.

        Source: in an acyclic graph it is the lowest common ancestor of the operands in the dominator tree (Cooper,
        Harvey, Kennedy 2001).
        """
        parent: dict[int, int | None] = dict.fromkeys(self.inputs)
        depth: dict[int, int] = dict.fromkeys(self.inputs, 0)
        for node in self.nodes:
            common: int | None = None
            for i, operand in enumerate(node.operands):
                if i == 0:
                    common = operand
                    continue
                other: int | None = operand
                while common != other and common is not None and other is not None:
                    if depth[common] >= depth[other]:
                        common = parent[common]
                    else:
                        other = parent[other]
                if other is None:
                    common = None
            for value in node.outputs:
                parent[value] = common
                depth[value] = 0 if common is None else depth[common] + 1
        return parent

    def common_source(self, values: Sequence[int]) -> int | None:
        """The last value that all ways to all of these values go through."""
        chains = []
        for value in values:
            chain, at = [value], self.dominators.get(value)
            while at is not None:
                chain.append(at)
                at = self.dominators.get(at)
            chains.append(chain)
        shared = set(chains[0]).intersection(*chains[1:])
        return next((value for value in chains[0] if value in shared), None)
