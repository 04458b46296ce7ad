"""Attention: masks, what is taken for query, key and value, heads, and the scores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pytest_kerasdiff.align.kinds import PROJECTED
from pytest_kerasdiff.change import Change
from pytest_kerasdiff.diagnosis import attention_layers
from pytest_kerasdiff.diagnosis import attention_scores as scores
from pytest_kerasdiff.diagnosis.attention_layers import ID, PLAIN
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.diagnosis.reproduction import Otherwise, Port, explained, fields, of_weights
from pytest_kerasdiff.equations.attention import Attention

_SECONDS = 3.0
"""How long equations are tried for one layer: a product of real size takes its time."""
_ROLES = ("query", "key", "value")
_CAUSAL = {
    "no": "at all keys",
    "past": "at its own step and those before it",
    "future": "at its own step and those after it",
    "ahead": "one step further than its own",
    "before": "at the steps before its own, not at its own",
    "end": "at its own step and those before it, counted from the last one",
}
_FILLS = {
    "even": "weighs all keys alike",
    "zero": "gives zeros",
    "added": "weighs them as if none were masked",
    "nan": "gives NaN",
}


def concerns(case: Case) -> bool:
    """Whether it is an attention layer whose own activations are wrong."""
    return case.layer.class_name in PROJECTED | PLAIN and case.subject.is_wrong


def suspect(case: Case) -> Iterator[Suspicion]:
    """What the port does otherwise, where that gives what it gives."""
    undone, beside = of_weights(case)
    for known in (undone, Change()) if undone else (undone,):
        for layer, taken in attention_layers.layers(case):
            port = Port(case, layer, taken, known)
            if not port.is_known:
                continue
            if port.reproduces(layer):
                return
            others = _others(case, layer, [port.arrays[i].shape for i in range(2)])
            found = list(explained(port, list(others), _SECONDS))
            if found:
                yield from found
                yield from beside if known else ()  # the port does the one and the other
                return
            break


def _others(case: Case, own: Attention, shapes: list[tuple[int, ...]]) -> Iterator[Otherwise]:
    yield from _of_causality(own, shapes)
    yield from _of_masks(own)
    yield from scores.scales(case, own, shapes)
    yield from _of_exchanges(own)
    yield from scores.softmaxes(own)
    if own.query is not None:
        yield from _of_heads(own)
    else:
        yield from scores.formulas(own)
    yield from _of_the_rest(own, shapes)


def _of_causality(own: Attention, shapes: list[tuple[int, ...]]) -> Iterator[Otherwise]:
    queries, keys = (shape[1] for shape in shapes)
    blocked = f"torch.ones({queries}, {keys}, dtype=torch.bool).triu(1)"
    patch = f"F.scaled_dot_product_attention(q, k, v, is_causal=True), or blocked scores: {blocked}"
    if own.causal == "no":
        patch = "F.scaled_dot_product_attention(q, k, v, is_causal=False), and no causal mask"
    for causal in _CAUSAL if own.causal != "no" else ("past",):
        looks = f"each query looks {_CAUSAL[own.causal]}, in the port {_CAUSAL[causal]}"
        text = f"use_causal_mask={own.causal != 'no'}: in Keras {looks}"
        for fill in _fills(own, causal in ("before", "future")):
            yield Otherwise(ID, text, patch, fields({"causal": causal, "fill": fill}))
    if own.window is not None:
        text = f"sliding_window: in Keras keys are less than {own.window} steps away, in the port anywhere"
        patch = f"(i - j).abs() < {own.window} as the mask"
        yield Otherwise(ID, text, patch, fields({"window": None}))


def _fills(own: Attention, leaves_none: bool = True) -> list[str]:
    """What the port may do with a query without keys: first what Keras does."""
    return [own.fill, *(fill for fill in _FILLS if fill != own.fill)] if leaves_none else [own.fill]


def _of_masks(own: Attention) -> Iterator[Otherwise]:
    allowed = "attn_mask=mask.bool() for scaled_dot_product_attention, attn_mask=~mask.bool() for nn.MultiheadAttention"
    if own.masks.pairs is not None:
        does = {"ignored": "ignores it", "inverted": "leaves out where it is true", "transposed": "has it transposed"}
        for kind, words in does.items():
            text = f"attention_mask: Keras looks where it is true, the port {words}"
            for fill in _fills(own, kind != "ignored"):
                yield Otherwise(ID, text, allowed, fields({"pairs_mask": kind, "fill": fill}))
    if own.masks.keys is not None:
        patch = "key_padding_mask=padding for nn.MultiheadAttention, true where a key is padding"
        if own.query is None:
            patch = "scores.masked_fill(padding.unsqueeze(1), -torch.inf) before the softmax"
        text = "mask: Keras leaves out the keys that are padding, the port"
        several = {"ignored": "takes them as any other", "inverted": "leaves out all others"}
        for kind, words in several.items():
            for queries in dict.fromkeys((own.queries_mask, "ignored")):
                for fill in _fills(own, kind == "inverted"):
                    made = fields({"keys_mask": kind, "queries_mask": queries, "fill": fill})
                    yield Otherwise(ID, f"{text} {words}", patch, made)
    if own.masks.queries is not None:
        does_so = "gives zeros" if own.queries_mask == "zeros" else _FILLS[own.fill]
        text = f"mask: Keras {does_so} where the query is padding, the port takes it as any other"
        patch = "torch.where(real.unsqueeze(-1), out, 0)"
        if own.queries_mask == "rows":
            patch = "real.unsqueeze(-1) & real.unsqueeze(-2) as the mask of queries and keys"
        yield Otherwise(ID, text, patch, fields({"queries_mask": "ignored"}))
    for fill in _fills(own)[1:]:
        text = f"a query whose keys are all masked: Keras {_FILLS[own.fill]}, the port {_FILLS[fill]}"
        patch = "torch.finfo(scores.dtype).min for the scores that are masked, not -torch.inf"
        yield Otherwise(ID, text, patch, fields({"fill": fill}))


def _of_exchanges(own: Attention) -> Iterator[Otherwise]:
    for kind, whose in (("roles", "the {}"), ("kernels", "the {}'s projection"), ("sources", "the {} input")):
        for order in itertools.product(range(3), repeat=3):
            if order == (0, 1, 2) or (kind == "kernels" and own.query is None) or (own.query and len({*order}) < 3):
                continue
            wrong = [(whose.format(_ROLES[i]), whose.format(_ROLES[j])) for i, j in enumerate(order) if i != j]
            text = f"the port takes {', and '.join(f'{port} for {keras}' for keras, port in wrong)}"
            patch = f"take {', and '.join(f'{keras} for {keras}' for keras, _ in wrong)}"
            if kind == "roles":
                patch = f"exchange {' and '.join(keras for keras, _ in wrong)}"
            if own.query is None:
                patch = "Keras's list is [query, value, key]: softmax(query @ key.mT) @ value"
            cause = ID if kind == "sources" or own.query is None or len({*order}) < 3 else "weights-swapped"
            yield Otherwise(cause, text, patch, fields({kind: order}), alone=len({*order}) < 3)


def _of_heads(own: Attention) -> Iterator[Otherwise]:
    assert own.query is not None
    assert own.value is not None
    width, values = own.query.kernel.shape[1], own.value.kernel.shape[1]
    elements = width // own.heads
    split = f"q.unflatten(-1, ({own.heads}, {elements})).transpose(1, 2)"
    if own.groups > 1:
        text = f"heads: in Keras each head of keys serves {own.groups} query heads that stand side by side, in the port"
        patch = f"k.repeat_interleave({own.groups}, dim=1), or enable_gqa=True"
        yield Otherwise(ID, f"{text} the heads of keys are repeated as a whole", patch, fields({"tiled": True}))
    for heads in range(1, width + 1):
        if heads != own.heads and width % heads == 0 and values % heads == 0 and heads % own.groups == 0:
            text = f"heads: Keras {own.heads} of {elements} elements, port {heads} of {width // heads}"
            for scale in ((heads / width) ** 0.5, own.scale):
                made = fields({"heads": heads, "scale": scale})
                yield Otherwise(ID, text, f"num_heads={own.heads}: {split}", made, alone=True)
    does = {"elements": "(elements, heads)", "steps": "(heads, steps, elements), without a transposition",
            "packed": "(heads, query or key or value, elements)"}  # fmt: skip
    for kind, words in does.items():
        text = f"heads: Keras splits what is projected into (heads, elements), the port into {words}"
        yield Otherwise(ID, text, split, fields({"split": kind}))
    does = {"unmoved": "(heads, steps, elements), without a transposition", "elements": "(elements, heads)"}
    for kind, words in does.items():
        text = f"heads: Keras joins them as (steps, heads, elements), the port as {words}"
        yield Otherwise(ID, text, "out.transpose(1, 2).flatten(2) before the output projection",
                        fields({"joined": kind}))  # fmt: skip


def _of_the_rest(own: Attention, shapes: list[tuple[int, ...]]) -> Iterator[Otherwise]:
    rank = len(shapes[0])
    for number in range(1, rank - 1):
        for axes in itertools.combinations(range(rank - 1), number):
            keras, port = _listed(own.axes), _listed(axes)
            text = f"attention_axes (0 is the batch): Keras attends along {keras}, the port along {port}"
            patch = "batch_first=True" if axes == (0,) else f"make one axis of {keras} first"
            yield Otherwise(ID, text, patch, fields({"axes": axes}))
    if own.query is None:
        return
    if own.gate is not None:
        text = "use_gate=True: Keras multiplies each head's result with a gate, the port does not"
        yield Otherwise(ID, text, "out * torch.sigmoid(gate(query))", fields({"gated": False}))
    text = "Keras projects what all heads give, the port gives it as it is"
    yield Otherwise(ID, text, "out_proj(out)", fields({"projected": False}))
    text = "scores: Keras gives those of every head, the port their mean over the heads"
    yield Otherwise(ID, text, "average_attn_weights=False", fields({"averaged": True}))


def _listed(axes: tuple[int, ...]) -> str:
    return ", ".join(map(str, axes))
