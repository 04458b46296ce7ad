"""The walk: pair what lies between anchors, from consumer to producer, by edit distance between the two graphs.

At each point three things can be done: pair the two nodes, skip the torch one, skip the Keras one. Pairs that are
committed are walls; a state is a Keras value and a torch value that are claimed to be the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence

from pytest_kerasdiff.align import stated
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.align.operations import ELEMENTWISE

State = tuple[int, int]

_NEVER = 1e9
_SKIP_TORCH = {
    "move": 0.02,
    "identity": 0.02,
    "affine": 0.6,
    "pad": 0.5,
    "act": 1.0,
    "opaque": 0.8,
    "norm": 1.5,
    "pool": 1.5,
    "upsample": 1.0,
}
_SKIP_KERAS = {
    "identity": 0.02,
    "move": 0.1,
    "pad": 0.4,
    "crop": 0.5,
    "affine": 0.5,
    "act": 1.0,
    "opaque": 1.0,
    "norm": 1.5,
    "pool": 1.5,
    "upsample": 1.0,
}
_HEAVY = frozenset({"conv", "linear", "matmul", "rnn", "attention", "embedding"})
_MERGES = frozenset({"add", "sub", "mul", "div", "average", "maximum", "minimum", "concat", "matmul"})
_ORDERED = frozenset({"sub", "div", "concat", "matmul", "attention"})

# What a Keras primitive may be written as, at which price, when the kinds differ.
_CROSS = {
    ("linear", "conv"): 0.3,
    ("conv", "linear"): 0.3,
    ("linear", "matmul"): 0.5,
    ("crop", "move"): 0.05,
    ("pool", "move"): 0.6,
    ("upsample", "move"): 0.5,
    ("norm", "affine"): 0.6,
    ("affine", "norm"): 0.3,
    ("act", "affine"): 0.6,
    ("average", "add"): 0.5,
    ("embedding", "move"): 0.3,
    ("embedding", "opaque"): 0.3,
    ("pad", "concat"): 0.5,
    ("pad", "opaque"): 0.3,
    ("move", "opaque"): 0.3,
    ("crop", "opaque"): 0.3,
    ("identity", "move"): 0.3,
    ("act", "maximum"): 0.4,
    ("act", "minimum"): 0.4,
}
_LOST = 2.0
"""Price of an operand that turns out to be something else on the other side."""
_SURE = 0.1
"""Price up to which two values are taken for the same: moved, or passed on, and no more."""
_OTHER_WEIGHTS = dict.fromkeys(("conv", "linear", "rnn", "attention", "embedding"), _LOST)
"""Price of pairing a layer with an operation although another one has its weights: as likely as a wrong operand."""
_STATED = 0.02
"""Price of each number that both sides state and that differs (a stride): it only decides between equals."""
_MAX_PERMUTED = 5
"""Operands up to which every order is priced."""
_VARIANT = {"affine": 0.2, "act": 0.5, "pool": 0.6, "conv": 0.3, "move": 0.05}
_COMPOSITE = frozenset({"act", "norm", "pool", "upsample", "affine", "attention", "opaque", "rnn", "pad", "crop"})


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
        self.methods: dict[int, str] = {}
        self.aliases: dict[int, int] = {}
        """Keras values without an operation → the Keras value they pass on."""
        self.ties: list[Tie] = []
        """What the graphs leave open, in the order found."""
        self._chosen = dict(chosen or {})
        self.seats: dict[int, frozenset[int]] = {}
        """Keras value → torch values that may be it; the first that a consumer of it takes is."""
        self.inside: set[int] = set()
        """Torch values inside the operations of a layer, which no other layer can be."""
        self._dominators = _dominators(torch)
        self._keras_dominators = _dominators(keras)
        self._memo: dict[State, tuple[float, tuple[object, ...]]] = {}
        self._busy: set[State] = set()

    def commit(self, keras_value: int, torch_value: int, method: str) -> None:
        """Make a pair a wall."""
        self.pairs[keras_value] = torch_value
        self.taken.setdefault(torch_value, keras_value)
        self.methods[keras_value] = method

    def leave_open(self, keras_value: int, torch_value: int, core: frozenset[int], seats: frozenset[int]) -> None:
        """Say what a layer's outputs may be, of which ``torch_value`` is the likeliest, without making a wall."""
        node = self.keras.node(keras_value)
        self.seats.update(dict.fromkeys(node.outputs if node is not None else [keras_value], seats))
        self.inside |= core
        self.taken.setdefault(torch_value, keras_value)

    def align(self, keras_values: Sequence[int], torch_values: Sequence[int], *, ordered: bool = True) -> None:
        """Pair everything between these values and the walls above them, and commit it."""
        self._memo.clear()
        depth = len(self.keras.nodes) + len(self.torch.nodes)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * depth + 1000))
        _, states = self._match(tuple(keras_values), tuple(torch_values), ordered)
        found: dict[int, int] = {}
        seated: dict[int, int] = {}
        pending, seen = list(states), set()
        if not ordered:
            self._note_tie(states)
        while pending:
            state = pending.pop()
            if state in seen:
                continue
            seen.add(state)
            _, (action, *following) = self._cost(*state)
            if action == "pair" and state[0] not in found and state[1] not in found.values():
                found[state[0]] = state[1]
                node = self.keras.node(state[0])
                if node is not None and node.kind in _MERGES - _ORDERED:
                    self._note_tie(following)  # type: ignore[arg-type]
            elif action == "seat":
                seated.setdefault(*state)
            elif action == "skip keras" and state[0] not in self.aliases:
                self.aliases[state[0]] = following[0][0]  # type: ignore[index]
            pending += following  # type: ignore[arg-type]
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
                    now = self._cost(u, v)[0], self._cost(other, theirs)[0]
                    exchanged = self._cost(u, theirs)[0], self._cost(other, v)[0]
                    if max(exchanged) < _LOST and sum(exchanged) <= sum(now) + 1e-9:
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
            and not {first, second} & {*self.pairs, *self.seats}
        )

    # -- prices ------------------------------------------------------------------------------------------------------

    def _cost(self, u: int, v: int) -> tuple[float, tuple[object, ...]]:
        state = (u, v)
        if state not in self._memo:
            self._memo[state] = self._best(u, v)
        return self._memo[state]

    def _best(self, u: int, v: int) -> tuple[float, tuple[object, ...]]:
        if self.pairs.get(u) == v:
            return 0.0, ("wall",)
        if self._chosen.get(u, v) != v and v in self._chosen.values():
            return _LOST, ("lost",)
        if u not in self.pairs and v in self.seats.get(u, ()):
            return 0.0, ("seat",)
        best: tuple[float, tuple[object, ...]] = (_NEVER, ("lost",))
        u_free = u not in self.pairs and u not in self.seats
        v_free = v not in self.taken and v not in self.inside
        keras_node, torch_node = self.keras.node(u), self.torch.node(v)
        if u_free and v_free and keras_node is not None and torch_node is not None:
            best = min(best, self._pair(keras_node, torch_node), key=_price)
            best = min(best, self._composite(u, v, keras_node, torch_node), key=_price)
        if v_free and torch_node is not None and best[0] > 0:
            price = _SKIP_TORCH.get(torch_node.kind, 3.0 if torch_node.kind in _HEAVY else 1.0)
            for operand in dict.fromkeys(torch_node.operands):
                if price + 1e-9 < best[0]:
                    cost = price + self._lost(torch_node, operand) + self._cost(u, operand)[0]
                    best = min(best, (cost, ("skip torch", (u, operand))), key=_price)
        if u_free and keras_node is not None and best[0] > 0:
            price = _SKIP_KERAS.get(keras_node.kind, 3.0 if keras_node.kind in _HEAVY else 1.0)
            for operand in dict.fromkeys(keras_node.operands):
                if price + 1e-9 < best[0]:
                    cost = price + 0.5 * (len(set(keras_node.operands)) - 1) + self._cost(operand, v)[0]
                    best = min(best, (cost, ("skip keras", (operand, v))), key=_price)
        if not (u_free and v_free) or keras_node is None or torch_node is None:
            best = min(best, (_LOST, ("lost",)), key=_price)
        return best

    def _pair(self, keras_node: Node, torch_node: Node) -> tuple[float, tuple[object, ...]]:
        price = pair_price(keras_node, torch_node)
        if price >= _NEVER:
            return _NEVER, ("lost",)
        price += _STATED * stated.differences(keras_node.stated, torch_node.stated)
        if keras_node.outputs[0] in self.hints and torch_node.outputs[0] != self.hints[keras_node.outputs[0]]:
            price += _OTHER_WEIGHTS.get(keras_node.kind, 0.1)
        cost, states = self._match(*self._operands(keras_node, torch_node), keras_node.kind in _ORDERED)
        return price + cost, ("pair", *states)

    def _operands(self, keras_node: Node, torch_node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Operands of both, chains of the same operation opened on the side that takes fewer at once."""
        if keras_node.kind == torch_node.kind == "attention":
            return _query_key_value(keras_node.operands), torch_node.operands[:3]
        mine, theirs = list(keras_node.operands), list(torch_node.operands)
        _open(mine, len(theirs), self.keras, keras_node.kind)
        _open(theirs, len(mine), self.torch, torch_node.kind)
        return tuple(mine), tuple(theirs)

    def _composite(self, u: int, v: int, keras_node: Node, torch_node: Node) -> tuple[float, tuple[object, ...]]:
        """One Keras primitive as several operations: ``x * sigmoid(x)``, ``(a + b) / 2``, a hand-written softmax."""
        best: tuple[float, tuple[object, ...]] = (_NEVER, ("lost",))
        if keras_node.kind == "attention" and torch_node.kind == "matmul":
            return self._attention(keras_node, torch_node)
        if keras_node.kind == "matmul" and torch_node.kind == "pool":  # a dot product as (a * b).sum()
            product = self.torch.node(torch_node.operands[0])
            if product is not None and product.kind == "mul" and product.outputs[0] not in self.taken:
                cost, states = self._match(keras_node.operands, product.operands, True)
                return 0.3 + cost, ("pair", *states)
        if keras_node.kind in ("average", "maximum", "minimum", "add", "mul") and torch_node.kind == "pool":
            stacked = self.torch.node(torch_node.operands[0])  # values joined by reducing their stack
            if stacked is not None and stacked.kind == "concat" and stacked.outputs[0] not in self.taken:
                cost, states = self._match(keras_node.operands, stacked.operands, False)
                if cost < best[0]:
                    return 0.3 + cost, ("pair", *states)
        averaged = (keras_node.kind, keras_node.variant) == ("pool", "avg")
        if averaged and torch_node.kind == "affine":  # a window's sum divided by how much it covers
            inner, steps = torch_node, 0
            while inner is not None and inner.kind in ("affine", "move") and steps < 4:
                steps += 1
                value = inner.operands[0]
                if value in self.taken:
                    return best
                inner_node = self.torch.node(value)
                if inner_node is None:
                    return best
                inner = inner_node
            if pair_price(keras_node, inner) < _NEVER:
                cost, states = self._match(keras_node.operands, inner.operands, keras_node.kind in _ORDERED)
                return 0.3 * steps + pair_price(keras_node, inner) + cost, ("pair", *states)
        if keras_node.kind == "concat" and torch_node.kind == "move":  # values woven into each other
            stacked = self.torch.node(torch_node.operands[0])
            if stacked is not None and stacked.variant == "stack" and stacked.outputs[0] not in self.taken:
                cost, states = self._match(keras_node.operands, stacked.operands, True)
                return cost, ("pair", *states)
        if keras_node.kind in _MERGES and keras_node.kind != "concat" and torch_node.kind != "move":
            best = min(best, self._joined_by_hand(keras_node, v), key=_price)
        if keras_node.kind in _MERGES and torch_node.kind == "act" and len(set(torch_node.operands)) == 1:
            best = min(best, self._one_for_several(u, torch_node), key=_price)
        if keras_node.kind not in _COMPOSITE or len(set(keras_node.operands)) != 1 or torch_node.kind == "move":
            return best
        hidden_allowed = keras_node.kind in ("attention", "opaque", "rnn")
        source: int | None = v
        for _ in range(24 if hidden_allowed else 8):  # nn.MultiheadAttention is 13 operations deep
            source = self._dominators.get(source) if source is not None else None
            if source is None:
                break
            inside = self.torch.between([source], v)
            nodes = [n for n in (self.torch.node(x) for x in inside) if n is not None]
            if any(x in self.taken or x in self.inside for x in inside) or (
                not hidden_allowed and not all(map(_is_light, nodes))
            ):
                break
            if keras_node.variant and any((n.kind, n.variant) == (keras_node.kind, keras_node.variant) for n in nodes):
                break  # one of them is the operation itself, the others are extra
            steps = sum(n.kind not in ("move", "identity") for n in nodes)
            if steps < 2 and keras_node.kind != "opaque":
                continue
            cost = 0.4 + 0.15 * steps + self._cost(keras_node.operands[0], source)[0]
            best = min(best, (cost, ("pair", (keras_node.operands[0], source))), key=_price)
        return best

    def _attention(self, keras_node: Node, torch_node: Node) -> tuple[float, tuple[object, ...]]:
        """Attention written out: values times what light operations (a softmax) make of the scores.

        Scores are the nearest product of queries and keys before that, or else the nearest join (their sum).
        """
        best: tuple[float, tuple[object, ...]] = (_NEVER, ("lost",))
        for weights, values in itertools.permutations(torch_node.operands, 2):
            scores = self._scores(weights)
            if scores is not None:
                cost, states = self._match(_query_key_value(keras_node.operands), (*scores.operands, values), True)
                best = min(best, (0.4 + cost, ("pair", *states)), key=_price)
        return best

    def _scores(self, value: int) -> Node | None:
        """The node that first brings queries and keys together, looked for through light operations only."""
        joins: list[Node] = []
        pending, seen = [value], set()
        while pending:
            value = pending.pop(0)
            node = self.torch.node(value)
            if value in seen or value in self.taken or node is None:
                continue
            seen.add(value)
            if node.kind == "matmul":
                return node
            if len(set(node.operands)) > 1 and node.kind in _MERGES:
                joins.append(node)
            if _is_light(node):
                pending += node.operands
        return joins[0] if joins else None

    def _one_for_several(self, u: int, torch_node: Node) -> tuple[float, tuple[object, ...]]:
        """Several Keras layers as one operation: a value times its sigmoid as ``silu``."""
        best: tuple[float, tuple[object, ...]] = (_NEVER, ("lost",))
        source = self._keras_dominators.get(u)
        for _ in range(4):
            if source is None:
                break
            inside = self.keras.between([source], u)
            nodes = [n for n in (self.keras.node(x) for x in inside) if n is not None]
            if any(x in self.pairs for x in inside) or not all(n.kind in ELEMENTWISE for n in nodes):
                break
            cost = 0.4 + 0.15 * len(nodes) + self._cost(source, torch_node.operands[0])[0]
            best = min(best, (cost, ("pair", (source, torch_node.operands[0]))), key=_price)
            source = self._keras_dominators.get(source)
        return best

    def _joined_by_hand(self, keras_node: Node, v: int) -> tuple[float, tuple[object, ...]]:
        """A join as several operations: ``(a + b) / 2``, ``where(a > b, a, b)``, ``(a + b) * scale``."""
        best: tuple[float, tuple[object, ...]] = (_NEVER, ("lost",))
        top = self.torch.node(v)
        operands = tuple(dict.fromkeys(keras_node.operands))
        if len(operands) < 2 or top is None or (top.kind == "act" and len(set(top.operands)) == 1):
            return best  # an activation after the join is another layer's, or one too many
        reached, steps = [v], 0
        for _ in range(8):
            value = max(reached, key=self.torch.order)  # nothing else that was reached is computed from it
            node = self.torch.node(value)
            if node is None or value in self.taken or not (_is_light(node) or node.kind == keras_node.kind):
                break
            at = reached.index(value)
            reached = list(dict.fromkeys([*reached[:at], *node.operands, *reached[at + 1 :]]))
            steps += node.kind not in ("move", "identity")
            if len(reached) == len(operands) and steps > 1:
                cost, states = self._match(operands, tuple(reached), keras_node.kind in _ORDERED)
                best = min(best, (0.15 + 0.15 * steps + cost, ("pair", *states)), key=_price)
        return best

    def _match(
        self, keras_values: tuple[int, ...], torch_values: tuple[int, ...], ordered: bool
    ) -> tuple[float, list[State]]:
        """Cheapest assignment of operands. The price is that of the dearest operand: what they share counts once."""
        if len(set(keras_values)) == 1 and len(torch_values) != len(keras_values):
            keras_values = keras_values[:1]
        if len(keras_values) == 1 and len(torch_values) > 1:
            # Several operations take the one Keras input, or come from it by a common way.
            common = self._common_source(torch_values)
            if common is not None:
                torch_values = (self._main_operand(keras_values[0], common, torch_values),)
        if not keras_values or not torch_values:
            return (0.0, []) if not keras_values else (1.0, [])
        missing = 2.0 * abs(len(keras_values) - len(torch_values))
        best_cost: float = _NEVER * 2
        best_states: list[State] = []
        for number, states in enumerate(self._assignments(keras_values, torch_values, ordered)):
            costs = sorted((self._cost(*state)[0] for state in states), reverse=True)
            sure = len(costs) > 1 and costs[-1] <= _SURE  # a join of which one operand is known is that join
            cost = costs[0] * (0.5 if sure else 1.0) + 0.01 * sum(costs[1:])
            cost += (0.1 if ordered and number else 0.0) + missing
            if cost < best_cost:
                best_cost, best_states = cost, states
            if cost <= missing:
                break
        return best_cost, best_states

    def _assignments(
        self, keras_values: tuple[int, ...], torch_values: tuple[int, ...], ordered: bool
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

    def _cheapest_first(self, keras_values: tuple[int, ...], torch_values: tuple[int, ...]) -> list[State]:
        pairs = itertools.product(range(len(keras_values)), range(len(torch_values)))
        prices = sorted((self._cost(keras_values[i], torch_values[j])[0], abs(i - j), i, j) for i, j in pairs)
        found: dict[int, int] = {}
        for _, _, i, j in prices:
            if i not in found and j not in found.values():
                found[i] = j
        return [(keras_values[i], torch_values[j]) for i, j in found.items()]

    def _main_operand(self, keras_value: int, common: int, values: Sequence[int]) -> int:
        """What the one Keras input is: the common source, or one of the values, the others being lengths or a mask."""
        prices = {common: self._cost(keras_value, common)[0]}
        for value in values:
            prices.setdefault(value, 0.3 * (len(values) - 1) + self._cost(keras_value, value)[0])
        return min(prices, key=prices.__getitem__)

    def _common_source(self, values: Sequence[int]) -> int | None:
        chains = []
        for value in values:
            chain, at = [value], self._dominators.get(value)
            while at is not None:
                chain.append(at)
                at = self._dominators.get(at)
            chains.append(chain)
        shared = set(chains[0]).intersection(*chains[1:])
        return next((value for value in chains[0] if value in shared), None)

    def _lost(self, node: Node, kept: int) -> float:
        """Anchors that are given up when a join is skipped along one operand."""
        others = [value for value in set(node.operands) if value != kept]
        if not others:
            return 0.0
        keep = self.torch.ancestors(kept) | {kept}
        lost = sum(
            1 for value in others for a in self.torch.ancestors(value) | {value} if a in self.taken and a not in keep
        )
        return min(5.0, 0.5 * lost)


def pair_price(keras_node: Node, torch_node: Node) -> float:
    """Price of pairing two nodes; 1e9 where that is never meant."""
    if keras_node.kind == torch_node.kind:
        if keras_node.variant == torch_node.variant:
            return 0.0
        if {keras_node.variant, torch_node.variant} == {"avg", "avg_global"} or {
            keras_node.variant,
            torch_node.variant,
        } == {"max", "max_global"}:
            return 0.1
        return _VARIANT.get(keras_node.kind, 0.0)
    if keras_node.kind in _MERGES and torch_node.kind in _MERGES and "concat" not in (keras_node.kind, torch_node.kind):
        return _CROSS.get((keras_node.kind, torch_node.kind), 1.2)
    if keras_node.kind == "opaque":
        return 0.6
    return _CROSS.get((keras_node.kind, torch_node.kind), _NEVER)


def _is_light(node: Node) -> bool:
    """Whether an operation may be a part of a hand-written activation or normalisation; a reduction may."""
    return node.kind in ELEMENTWISE | {"move"} or (node.kind == "pool" and node.variant.endswith("_global"))


def _query_key_value(operands: Sequence[int]) -> tuple[int, int, int]:
    """Operands of a Keras attention layer, which are query and value, and the key where it is another tensor."""
    query, value, *key = (*operands, *operands)[: max(2, len(operands))]
    return query, key[0] if key else value, value


def _open(operands: list[int], count: int, graph: Graph, kind: str) -> None:
    """Replace operands of the same kind by theirs, in place, until there are ``count``: (a + b) + c is a + b + c."""
    position = 0
    while position < len(operands) and len(operands) < count and kind in _MERGES:
        inner = graph.node(operands[position])
        if inner is not None and inner.kind == kind and len(operands) - 1 + len(inner.operands) <= count:
            operands[position : position + 1] = inner.operands
        else:
            position += 1


def _price(option: tuple[float, tuple[object, ...]]) -> float:
    return option[0]


def _dominators(graph: Graph) -> dict[int, int | None]:
    """Immediate dominator of every value: the last value that all ways from the inputs go through.

    Source: in an acyclic graph it is the lowest common ancestor of the operands in the dominator tree (Cooper, Harvey,
    Kennedy 2001).
    """
    parent: dict[int, int | None] = dict.fromkeys(graph.inputs)
    depth: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
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
