"""Prices of the walk: what it costs to take two nodes for the same, and to leave one out.

They only order what the graphs allow; every pair is judged by its values afterwards.
"""

from __future__ import annotations

from pytest_kerasdiff.align import kinds, stated
from pytest_kerasdiff.align.graph import Node

Price = float
NEVER: Price = 1e9
"""Of what is never meant."""
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
_PACKING = frozenset({"_pack_padded_sequence", "_pad_packed_sequence"})
"""Operations around a recurrent layer, which no layer of Keras is."""
HEAVY = frozenset({"conv", "linear", "matmul", "rnn", "attention", "embedding"})
MERGES = kinds.MERGES | {"div"}
ORDERED = frozenset({"sub", "div", "concat", "matmul", "attention"})

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
LOST = 2.0
"""Price of an operand that turns out to be something else on the other side."""
SURE = 0.1
"""Price up to which two values are taken for the same: moved, or passed on, and no more."""
_OTHER_WEIGHTS = {"rnn": 0.3, **dict.fromkeys(("conv", "linear", "attention", "embedding"), LOST)}
"""As likely as a wrong operand; less for layers of a recurrent module, which end in operations that both share."""
_STATED = 0.02
"""Price of each number that both sides state and that differs (a stride): it only decides between equals."""
_VARIANT = {"affine": 0.2, "act": 0.5, "pool": 0.6, "conv": 0.3, "move": 0.05}


def pair(keras_node: Node, torch_node: Node) -> Price:
    """Price of pairing two nodes by their kinds; ``NEVER`` where that is never meant."""
    if keras_node.kind == torch_node.kind:
        if keras_node.variant == torch_node.variant:
            return 0.0
        if {keras_node.variant, torch_node.variant} == {"avg", "avg_global"} or {
            keras_node.variant,
            torch_node.variant,
        } == {"max", "max_global"}:
            return 0.1
        return _VARIANT.get(keras_node.kind, 0.0)
    if keras_node.kind in MERGES and torch_node.kind in MERGES and "concat" not in (keras_node.kind, torch_node.kind):
        return _CROSS.get((keras_node.kind, torch_node.kind), 1.2)
    if keras_node.kind == "opaque":
        return 0.6
    return _CROSS.get((keras_node.kind, torch_node.kind), NEVER)


def stated_apart(keras_node: Node, torch_node: Node) -> Price:
    """Price of what both nodes state and that differs."""
    return _STATED * stated.differences(keras_node.stated, torch_node.stated)


def other_weights(keras_node: Node) -> Price:
    """Price of pairing a layer with an operation although another one has its weights."""
    return _OTHER_WEIGHTS.get(keras_node.kind, 0.1)


def skip_torch(node: Node) -> Price:
    """Price of a torch operation that belongs to no layer of its own."""
    if node.variant in _PACKING:
        return _SKIP_TORCH["move"]
    return _SKIP_TORCH.get(node.kind, 3.0 if node.kind in HEAVY else 1.0)


def skip_keras(node: Node) -> Price:
    """Price of a Keras primitive without a torch operation."""
    return _SKIP_KERAS.get(node.kind, 3.0 if node.kind in HEAVY else 1.0)
