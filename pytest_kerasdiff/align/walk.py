"""The walk: pair what lies between anchors, from consumer to producer, by edit distance between the two graphs.

At each point three things can be done: pair the two nodes, skip the torch one, skip the Keras one. Pairs that are
committed are walls; a state is a Keras value and a torch value that are claimed to be the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence

from pytest_kerasdiff.align import forms, prices
from pytest_kerasdiff.align.forms import Option, State, query_key_value
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.align.prices import LOST, MERGES, NEVER, ORDERED, Price

Step = tuple[Price, str, tuple[State, ...]]
"""What is cheapest at a state: its price, what is done, and the states that remain."""
_SAME = 1e-9
"""Difference of prices that is rounding: what was looked at first, the pair that is nearest to its consumer, stays."""
_MAX_PERMUTED = 5
"""Operands up to which every order is priced."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tie:
    """Operands of a commutative join that fit each other's place equally well.

    Attributes:
        keras: Keras values.
        torch: Torch values, in the order in which they were paired with them.
    """

    keras: tuple[int, ...]
    torch: tuple[int, ...]


class Walk:
    """Pairs found so far, and the search for more between them."""

    def __init__(self, keras: Graph, torch: Graph, chosen: Mapping[int, int] | None = None) -> None:
        """Start with nothing paired.

        Args:
            keras: The Keras side.
            torch: The torch side.
            chosen: Keras value → torch value, where a tie was settled.
        """
        self.keras, self.torch = keras, torch
        self.hints: dict[int, int] = {}
        """Keras value → torch value that has its weights, where that alone does not make an anchor."""
        self.pairs: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self._taken_mask = 0
        """One bit for each torch value that is taken."""
        self.methods: dict[int, str] = {}
        self.aliases: dict[int, int] = {}
        """Keras values without an operation → the Keras value they pass on."""
        self.ties: list[Tie] = []
        """What the graphs leave open, in the order found."""
        self._chosen = dict(chosen or {})
        self.seats: dict[int, frozenset[int]] = {}
        """Keras value → torch values that may be it; the first that a consumer of it takes is."""
        self._cores: list[tuple[tuple[int, ...], frozenset[int]]] = []
        """(Keras values, torch values certainly inside) of each layer whose outputs are open."""
        self.inside: set[int] = set()
        """Torch values inside the operations of a layer, which no other layer can be."""
        self._memo: dict[State, Step] = {}

    def commit(self, keras_value: int, torch_value: int, method: str) -> None:
        """Make a pair a wall."""
        self.pairs[keras_value] = torch_value
        self._take(torch_value, keras_value)
        self.methods[keras_value] = method

    def leave_open(self, keras_value: int, torch_value: int, core: frozenset[int], seats: frozenset[int]) -> None:
        """Say what a layer's outputs may be, of which ``torch_value`` is the likeliest, without making a wall."""
        node = self.keras.node(keras_value)
        given = node.outputs if node is not None else (keras_value,)
        self.seats.update(dict.fromkeys(given, seats))
        self.inside |= core
        self._cores.append((given, core))
        self._take(torch_value, keras_value)

    def _take(self, torch_value: int, keras_value: int) -> None:
        self.taken.setdefault(torch_value, keras_value)
        self._taken_mask |= 1 << torch_value

    def align(self, keras_values: Sequence[int], torch_values: Sequence[int], *, ordered: bool = True) -> None:
        """Pair everything between these values and the walls above them, and commit it."""
        self._memo.clear()
        depth = len(self.keras.nodes) + len(self.torch.nodes)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * depth + 1000))
        _, states = self.match(tuple(keras_values), tuple(torch_values), ordered)
        found: dict[int, int] = {}
        used: set[int] = set()
        seated: dict[int, int] = {}
        pending, seen = list(states), set()
        if not ordered:
            self._note_tie(states)
        while pending:
            state = pending.pop()
            if state in seen:
                continue
            seen.add(state)
            _, action, following = self._cheapest(*state)
            if action == "pair" and state[0] not in found and state[1] not in used:
                found[state[0]] = state[1]
                used.add(state[1])
                node = self.keras.node(state[0])
                if node is not None and node.kind in MERGES - ORDERED:
                    self._note_tie(following)
            elif action == "seat":
                seated.setdefault(*state)
            elif action == "skip keras" and state[0] not in self.aliases:
                self.aliases[state[0]] = following[0][0]
            pending += following
        for keras_value, torch_value in found.items():
            self.commit(keras_value, torch_value, "graph")
            self.aliases.pop(keras_value, None)
        for keras_value, torch_value in seated.items():
            self.commit(keras_value, torch_value, "weights")

    def _note_tie(self, states: Sequence[State]) -> None:
        """Note which of these operands would fit each other's place equally well."""
        for i, (u, v) in enumerate(states):
            group = [(u, v)]
            for other, theirs in states[i + 1 :]:
                if u != other and v != theirs and self._alike(u, other) and not {v, theirs} & self.taken.keys():
                    now = self.cost(u, v), self.cost(other, theirs)
                    exchanged = self.cost(u, theirs), self.cost(other, v)
                    if max(exchanged) < LOST and sum(exchanged) <= sum(now) + _SAME:
                        group.append((other, theirs))
            tie = Tie(tuple(k for k, _ in group), tuple(t for _, t in group))
            if len(group) > 1 and not any(set(tie.keras) <= set(known.keras) for known in self.ties):
                self.ties.append(tie)

    def _alike(self, first: int, second: int) -> bool:
        one, other = self.keras.node(first), self.keras.node(second)
        return (
            one is not None
            and other is not None
            and (one.kind, one.variant) == (other.kind, other.variant)
            and not any(value in self.pairs or value in self.seats for value in (first, second))
        )

    # -- prices ------------------------------------------------------------------------------------------------------

    def is_wall(self, torch_value: int) -> bool:
        """Whether a torch value is known to be something, or to be inside something."""
        return torch_value in self.taken or torch_value in self.inside

    def cost(self, u: int, v: int) -> Price:
        """Price of taking a Keras and a torch value for the same."""
        return self._cheapest(u, v)[0]

    def _cheapest(self, u: int, v: int) -> Step:
        state = (u, v)
        if state not in self._memo:
            self._memo[state] = self._best(u, v)
        return self._memo[state]

    def _best(self, u: int, v: int) -> Step:
        if self.pairs.get(u) == v:
            return 0.0, "wall", ()
        if self._chosen.get(u, v) != v and v in self._chosen.values():
            return LOST, "lost", ()
        if u not in self.pairs and v in self.seats.get(u, ()):
            return 0.0, "seat", ()
        best: Step = (NEVER, "lost", ())
        u_free, v_free = u not in self.pairs and u not in self.seats, not self.is_wall(v)
        keras_node, torch_node = self.keras.node(u), self.torch.node(v)
        free = u_free and v_free
        if free and keras_node is not None and torch_node is not None and not self._ends(keras_node, torch_node):
            option = self._pair(keras_node, torch_node)
            if option is None or option[0] > 0:  # nothing is cheaper than what costs nothing
                options = [o for o in (option, forms.cheapest(self, keras_node, v, torch_node)) if o is not None]
            else:
                options = [option]
            for price, states in options:
                best = _cheaper(best, (price, "pair", states))
        if v_free and torch_node is not None and best[0] > 0:
            price = prices.skip_torch(torch_node)
            for operand in dict.fromkeys(torch_node.operands):
                if price + _SAME < best[0]:
                    cost = price + self._lost(torch_node, operand) + self.cost(u, operand)
                    best = _cheaper(best, (cost, "skip torch", ((u, operand),)))
        if u_free and keras_node is not None and best[0] > 0:
            price = prices.skip_keras(keras_node)
            for operand in dict.fromkeys(keras_node.operands):
                if price + _SAME < best[0]:
                    cost = price + 0.5 * (len(set(keras_node.operands)) - 1) + self.cost(operand, v)
                    best = _cheaper(best, (cost, "skip keras", ((operand, v),)))
        if not free or keras_node is None or torch_node is None:
            best = _cheaper(best, (LOST, "lost", ()))
        return best

    def _ends(self, keras_node: Node, torch_node: Node) -> bool:
        """Whether a torch node joins what one layer computes, and the Keras node joins that layer with others.

        The last sum of a cell written by hand is not the addition that the port lacks behind it.
        """
        if keras_node.kind not in MERGES or len(set(keras_node.operands)) < 2:
            return False
        for given, core in self._cores:
            behind = [u in given or any(self.keras.is_ancestor(g, u) for g in given) for u in keras_node.operands]
            if any(behind) and not all(behind):
                reached = (v in core or any(self.torch.is_ancestor(c, v) for c in core) for v in torch_node.operands)
                if all(reached):
                    return True
        return False

    def _pair(self, keras_node: Node, torch_node: Node) -> Option | None:
        price = prices.pair(keras_node, torch_node)
        if price >= NEVER:
            return None
        price += prices.stated_apart(keras_node, torch_node)
        if keras_node.outputs[0] in self.hints and torch_node.outputs[0] != self.hints[keras_node.outputs[0]]:
            price += prices.other_weights(keras_node)
        cost, states = self.match(*self._operands(keras_node, torch_node), keras_node.kind in ORDERED)
        return price + cost, states

    def _operands(self, keras_node: Node, torch_node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Operands of both, chains of the same operation opened on the side that takes fewer at once."""
        if keras_node.kind == torch_node.kind == "attention":
            return query_key_value(keras_node.operands), torch_node.operands[:3]
        mine, theirs = list(keras_node.operands), list(torch_node.operands)
        _open(mine, len(theirs), self.keras, keras_node.kind)
        _open(theirs, len(mine), self.torch, torch_node.kind)
        return tuple(mine), tuple(theirs)

    def match(self, keras_values: Sequence[int], torch_values: Sequence[int], ordered: bool) -> Option:
        """Cheapest assignment of operands. The price is that of the dearest operand: what they share counts once."""
        if len(set(keras_values)) == 1 and len(torch_values) != len(keras_values):
            keras_values = keras_values[:1]
        if len(keras_values) == 1 and len(torch_values) > 1:
            # Several operations take the one Keras input, or come from it by a common way.
            common = self.torch.common_source(torch_values)
            if common is not None:
                torch_values = (self._main_operand(keras_values[0], common, torch_values),)
        if not keras_values or not torch_values:
            return (0.0, ()) if not keras_values else (1.0, ())
        missing = 2.0 * abs(len(keras_values) - len(torch_values))
        best: Option = (2 * NEVER, ())
        for number, states in enumerate(self._assignments(keras_values, torch_values, ordered)):
            costs = sorted((self.cost(*state) for state in states), reverse=True)
            sure = len(costs) > 1 and costs[-1] <= prices.SURE  # a join of which one operand is known is that join
            cost = costs[0] * (0.5 if sure else 1.0) + 0.01 * sum(costs[1:])
            cost += (0.1 if ordered and number else 0.0) + missing
            if cost < best[0]:
                best = (cost, tuple(states))
            if cost <= missing:
                break
        return best

    def _assignments(
        self, keras_values: Sequence[int], torch_values: Sequence[int], ordered: bool
    ) -> Iterator[list[State]]:
        """Ways to pair operands, the given order first: all of them, or the cheapest of many one after the other."""
        longest = max(len(keras_values), len(torch_values))
        if longest > _MAX_PERMUTED:
            yield list(zip(keras_values, torch_values, strict=False))
            if not ordered:
                yield self._cheapest_first(keras_values, torch_values)
        elif len(torch_values) >= len(keras_values):
            for some in itertools.permutations(torch_values, len(keras_values)):
                yield list(zip(keras_values, some, strict=True))
        else:
            for some in itertools.permutations(keras_values, len(torch_values)):
                yield list(zip(some, torch_values, strict=True))

    def _cheapest_first(self, keras_values: Sequence[int], torch_values: Sequence[int]) -> list[State]:
        pairs = itertools.product(range(len(keras_values)), range(len(torch_values)))
        prices = sorted((self.cost(keras_values[i], torch_values[j]), abs(i - j), i, j) for i, j in pairs)
        found: dict[int, int] = {}
        for _, _, i, j in prices:
            if i not in found and j not in found.values():
                found[i] = j
        return [(keras_values[i], torch_values[j]) for i, j in found.items()]

    def _main_operand(self, keras_value: int, common: int, values: Sequence[int]) -> int:
        """What the one Keras input is: the common source, or one of the values, the others being lengths or a mask."""
        prices = {common: self.cost(keras_value, common)}
        for value in values:
            prices.setdefault(value, 0.3 * (len(values) - 1) + self.cost(keras_value, value))
        return min(prices, key=prices.__getitem__)

    def _lost(self, node: Node, kept: int) -> float:
        """Anchors that are given up when a join is skipped along one operand."""
        others = [value for value in set(node.operands) if value != kept]
        if not others:
            return 0.0
        gone = self._taken_mask & ~self.torch.lineage(kept)
        lost = sum((self.torch.lineage(value) & gone).bit_count() for value in others)
        return min(5.0, 0.5 * lost)


def _open(operands: list[int], count: int, graph: Graph, kind: str) -> None:
    """Replace operands of the same kind by theirs, in place, until there are ``count``: (a + b) + c is a + b + c."""
    position = 0
    while position < len(operands) and len(operands) < count and kind in MERGES:
        inner = graph.node(operands[position])
        if inner is not None and inner.kind == kind and len(operands) - 1 + len(inner.operands) <= count:
            operands[position : position + 1] = inner.operands
        else:
            position += 1


def _cheaper(best: Step, other: Step) -> Step:
    """The first, unless the other costs less by more than rounding."""
    return other if other[0] + _SAME < best[0] else best
