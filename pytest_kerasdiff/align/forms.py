"""Keras primitives written out by hand: ``x * sigmoid(x)``, ``(a + b) / 2``, attention with two products, a softmax.

Each form is a function that says at which price, and by which states that remain, a Keras primitive is the operations
that end in a torch value; or that it is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from pytest_kerasdiff.align import prices
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.align.operations import ELEMENTWISE
from pytest_kerasdiff.align.prices import MERGES, ORDERED, Price

State = tuple[int, int]
"""A Keras value and a torch value that are claimed to be the same."""
Option = tuple[Price, tuple[State, ...]]
"""A price, and the states that it rests on."""

_WHOLE = frozenset({"act", "norm", "pool", "upsample", "affine", "attention", "opaque", "rnn", "pad", "crop"})
"""Kinds of one input that may be any light operations between their input and their output."""
_HIDDEN = frozenset({"attention", "opaque", "rnn"})
"""Of those, kinds that may contain products with kernels."""
_DEPTH, _HIDDEN_DEPTH = 8, 24  # nn.MultiheadAttention is 13 operations deep


class Search(Protocol):
    """The walk, as far as forms need it."""

    keras: Graph
    torch: Graph
    pairs: dict[int, int]

    def cost(self, u: int, v: int) -> Price:
        """Price of taking two values for the same."""

    def match(self, keras_values: Sequence[int], torch_values: Sequence[int], ordered: bool) -> Option:
        """Cheapest assignment of operands."""

    def is_wall(self, torch_value: int) -> bool:
        """Whether a torch value is known to be something."""


Form = Callable[[Search, Node, int, Node], Option | None]
"""(walk, Keras node, torch value, torch node) → the cheapest way, if it is of this form."""


def cheapest(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """The cheapest form in which a Keras primitive ends in a torch value; None where it has none."""
    found = [option for form in FORMS if (option := form(walk, keras_node, v, torch_node)) is not None]
    return min(found, key=_price, default=None)


def attention(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """Attention written out: values times what light operations (a softmax) make of the scores.

    Scores are the nearest product of queries and keys before that, or else the nearest join (their sum).
    """
    if keras_node.kind != "attention" or torch_node.kind != "matmul":
        return None
    found = []
    for weights, values in itertools.permutations(torch_node.operands, 2):
        scores = _scores(walk, weights)
        if scores is not None:
            operands = (*scores.operands, values)
            found.append(_plus(0.4, walk.match(query_key_value(keras_node.operands), operands, True)))
    return min(found, key=_price, default=None)


def _scores(walk: Search, value: int) -> Node | None:
    """The node that first brings queries and keys together, looked for through light operations only."""
    joins: list[Node] = []
    pending, seen = [value], set()
    while pending:
        value = pending.pop(0)
        node = walk.torch.node(value)
        if value in seen or walk.is_wall(value) or node is None:
            continue
        seen.add(value)
        if node.kind == "matmul":
            return node
        if len(set(node.operands)) > 1 and node.kind in MERGES:
            joins.append(node)
        if _is_light(node):
            pending += node.operands
    return joins[0] if joins else None


def query_key_value(operands: Sequence[int]) -> tuple[int, int, int]:
    """Operands of a Keras attention layer, which are query and value, and the key where it is another tensor."""
    query, value, *key = (*operands, *operands)[: max(2, len(operands))]
    return query, key[0] if key else value, value


def summed_product(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """A dot product as ``(a * b).sum()``."""
    product = _before(walk, torch_node)
    if keras_node.kind != "matmul" or torch_node.kind != "pool" or product is None or product.kind != "mul":
        return None
    return _plus(0.3, walk.match(keras_node.operands, product.operands, True))


def reduced_stack(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """Values joined by reducing their stack."""
    stacked = _before(walk, torch_node)
    joins = keras_node.kind in ("average", "maximum", "minimum", "add", "mul") and torch_node.kind == "pool"
    if not joins or stacked is None or stacked.kind != "concat":
        return None
    return _plus(0.3, walk.match(keras_node.operands, stacked.operands, False))


def woven(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """Values concatenated by moving their stack."""
    stacked = _before(walk, torch_node)
    moved = keras_node.kind == "concat" and torch_node.kind == "move"
    if not moved or stacked is None or stacked.variant != "stack":
        return None
    return walk.match(keras_node.operands, stacked.operands, True)


def divided_window(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """An average over windows, or over all, as a sum that is divided by how much it covers."""
    averages = keras_node.kind == "pool" and keras_node.variant in ("avg", "avg_global")
    if not averages or torch_node.kind != "affine":
        return None
    inner: Node | None = torch_node
    steps = 0
    while inner is not None and inner.kind in ("affine", "move") and steps < 4:
        steps += 1
        inner = _before(walk, inner)
    price = prices.NEVER if inner is None else prices.pair(keras_node, inner)
    if inner is None or price >= prices.NEVER:
        return None
    return _plus(0.3 * steps + price, walk.match(keras_node.operands, inner.operands, False))


def join_by_hand(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """A join as several operations: ``(a + b) / 2``, ``where(a > b, a, b)``, ``(a + b) * scale``."""
    operands = tuple(dict.fromkeys(keras_node.operands))
    if keras_node.kind not in MERGES - {"concat"} or torch_node.kind == "move" or len(operands) < 2:
        return None
    if torch_node.kind == "act" and len(set(torch_node.operands)) == 1:
        return None  # an activation after the join is another layer's, or one too many
    found = []
    reached, steps = [v], 0
    for _ in range(_DEPTH):
        value = max(reached, key=walk.torch.order)  # nothing else that was reached is computed from it
        node = walk.torch.node(value)
        if node is None or walk.is_wall(value) or not (_is_light(node) or node.kind == keras_node.kind):
            break
        at = reached.index(value)
        reached = list(dict.fromkeys([*reached[:at], *node.operands, *reached[at + 1 :]]))
        steps += node.kind not in ("move", "identity")
        if len(reached) == len(operands) and steps > 1:
            match = walk.match(operands, tuple(reached), keras_node.kind in ORDERED)
            found.append(_plus(0.15 + 0.15 * steps, match))
    return min(found, key=_price, default=None)


def one_for_several(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """Several Keras layers as one operation: a value times its sigmoid as ``silu``."""
    if keras_node.kind not in MERGES or torch_node.kind != "act" or len(set(torch_node.operands)) != 1:
        return None
    found: list[Option] = []
    u, taken = keras_node.outputs[0], torch_node.operands[0]
    source = walk.keras.dominators.get(u)
    for _ in range(4):
        if source is None:
            break
        inside = walk.keras.between([source], u)
        nodes = [n for n in map(walk.keras.node, inside) if n is not None]
        if any(x in walk.pairs for x in inside) or not all(n.kind in ELEMENTWISE for n in nodes):
            break
        found.append((0.4 + 0.15 * len(nodes) + walk.cost(source, taken), ((source, taken),)))
        source = walk.keras.dominators.get(source)
    return min(found, key=_price, default=None)


def several_for_one(walk: Search, keras_node: Node, v: int, torch_node: Node) -> Option | None:
    """A primitive of one input as all operations between two values: ``x * sigmoid(x)``, a softmax by hand."""
    if keras_node.kind not in _WHOLE or len(set(keras_node.operands)) != 1 or torch_node.kind == "move":
        return None
    found: list[Option] = []
    hidden = keras_node.kind in _HIDDEN
    source: int | None = v
    for _ in range(_HIDDEN_DEPTH if hidden else _DEPTH):
        source = walk.torch.dominators.get(source) if source is not None else None
        if source is None:
            break
        inside = walk.torch.between([source], v)
        nodes = [n for n in map(walk.torch.node, inside) if n is not None]
        if any(map(walk.is_wall, inside)) or (not hidden and not all(map(_is_light, nodes))):
            break
        working = [n for n in nodes if n.kind not in ("move", "identity")]
        own = [
            n for n in working if keras_node.variant and (n.kind, n.variant) == (keras_node.kind, keras_node.variant)
        ]
        if (own and len(own) < len(working)) or _follow_each_other(walk, working):
            break  # one of them is the operation itself, the others are extra, or another layer's
        if len(working) >= 2 or keras_node.kind == "opaque":
            price = 0.4 + 0.15 * len(working) + walk.cost(keras_node.operands[0], source)
            found.append((price, ((keras_node.operands[0], source),)))
    return min(found, key=_price, default=None)


FORMS: tuple[Form, ...] = (
    attention,
    summed_product,
    reduced_stack,
    woven,
    divided_window,
    join_by_hand,
    one_for_several,
    several_for_one,
)


def _follow_each_other(walk: Search, nodes: Sequence[Node]) -> bool:
    """Whether one recurrent module is computed from another: they are two layers."""
    whole = [n.outputs for n in nodes if n.kind == "rnn" and not n.variant.endswith("_cell")]
    return any(walk.torch.leads_to(a[0], b[0]) for a, b in itertools.permutations(whole, 2))


def _before(walk: Search, node: Node) -> Node | None:
    """The node that gives a node's first operand, if that is nothing known."""
    return None if walk.is_wall(node.operands[0]) else walk.torch.node(node.operands[0])


def _is_light(node: Node) -> bool:
    """Whether an operation may be a part of a hand-written activation or normalisation; a reduction may."""
    return node.kind in ELEMENTWISE | {"move"} or (node.kind == "pool" and node.variant.endswith("_global"))


def _plus(price: Price, option: Option) -> Option:
    return price + option[0], option[1]


def _price(option: Option) -> Price:
    return option[0]
