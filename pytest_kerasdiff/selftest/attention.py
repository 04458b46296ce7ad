"""Seeds: attention whose scores are scaled once more, whose softmax has another axis, and whose masks are lost."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_kerasdiff.align.kinds import PROJECTED
from pytest_kerasdiff.change import Edit, Here, Step, removed
from pytest_kerasdiff.diagnosis import attention_layers
from pytest_kerasdiff.diagnosis.attention_layers import ID, PLAIN
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.selftest.seed import Seed, edited, named


def attention(case: Case) -> Iterator[Seed]:
    """The scale, the softmax's axis, and the masks."""
    if case.layer.class_name not in PROJECTED | PLAIN:
        return
    yield from _fused(case)
    for operation in named(case, "softmax", "_softmax", "softmax_"):
        rank = len(case.trace.shapes[operation.outputs[0]])
        if "self" not in operation.arguments or operation.arguments.get("dim") not in (-1, rank - 1):
            continue
        scale = _scale(case)
        once_more = Edit(before={"self": (Step("mul", {"self": Here(), "other": scale}),)})
        yield Seed(ID, f"scores once more times {scale:.3g}", edited(case, operation, once_more))
        yield Seed(ID, "the softmax along the queries", edited(case, operation, Edit(arguments={"dim": rank - 2})))
    for operation in named(case, "masked_fill", "masked_fill_"):
        yield Seed(ID, "no mask", edited(case, operation, removed("self")))


def _fused(case: Case) -> Iterator[Seed]:
    for operation in named(case, "scaled_dot_product_attention"):
        own = operation.arguments.get("scale")
        elements = case.trace.shapes[operation.inputs[0]][-1]
        number = float(own) if isinstance(own, int | float) else 1 / math.sqrt(elements)
        change = edited(case, operation, Edit(arguments={"scale": number * _scale(case)}))
        yield Seed(ID, f"scores once more times {_scale(case):.3g}", change)
        causal = bool(operation.arguments.get("is_causal"))
        if operation.arguments.get("attn_mask") is not None:
            yield Seed(ID, "no mask", edited(case, operation, Edit(arguments={"attn_mask": None})))
        else:
            words = "no causal mask" if causal else "a causal mask"
            yield Seed(ID, words, edited(case, operation, Edit(arguments={"is_causal": not causal})))


def _scale(case: Case) -> float:
    """What a port may multiply the scores with once more."""
    own = next((layer for layer, _ in attention_layers.layers(case)), None)
    if own is not None and own.query is not None:
        return own.scale
    return 1 / math.sqrt(case.reference.shapes[case.layer.inputs[0]][-1])
