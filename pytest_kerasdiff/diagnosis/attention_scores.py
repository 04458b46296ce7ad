"""The scores of attention: their scale, their formula, and the softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pytest_kerasdiff.diagnosis.attention_layers import ID
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.diagnosis.reproduction import Otherwise, fields
from pytest_kerasdiff.equations.attention import Attention
from pytest_kerasdiff.trace import Constant

_SCALING = frozenset({"mul", "mul_", "div", "div_", "true_divide", "scaled_dot_product_attention"})
_FUNCTIONS = ("linear", "relu", "sigmoid", "gelu", "silu", "leaky_relu")
"""Functions that ports take the sum of, where Keras takes that of tanh."""


def scales(case: Case, own: Attention, shapes: list[tuple[int, ...]]) -> Iterator[Otherwise]:
    """Other scales: of other sizes, and those that the port's operations state.

    Args:
        case: The layer.
        own: Its equations.
        shapes: Of query and value.
    """
    elements = own.query.kernel.shape[1] // own.heads if own.query is not None else shapes[0][-1]
    field, keras = ("scale", own.scale) if own.score == "dot" else ("weight", own.weight)
    said = f"{keras:.4g}" if own.query is None else f"1/sqrt({elements}) = {keras:.4g} (key_dim {elements})"
    patch = f"F.scaled_dot_product_attention(q, k, v, scale={keras:.6g})"
    if own.score != "dot":
        patch = f"{keras:.6g} * torch.tanh(q + k).sum(-1) for the scores"
    sizes = {
        elements: "elements of a head",
        shapes[0][-1]: "elements of the query",
        own.heads: "heads",
        own.heads * elements: "elements of all heads",
        shapes[1][-2]: "keys",
        shapes[0][-2]: "queries",
    }
    several = {
        1.0: ("none", ""),
        elements**-0.5: (f"1/sqrt({elements})", ""),
        keras**2: (f"{keras:.4g}²", " (scaled twice)"),
    }
    for size, of in sizes.items():
        for scale, how in ((size**-0.5, f"1/sqrt({size})"), (1 / size, f"1/{size}"), (size**0.5, f"sqrt({size})")):
            several.setdefault(scale, (how, f" ({of})"))
    for number in _stated(case):
        several.setdefault(number, ("", ""))
    for scale, (how, of) in several.items():
        if not math.isclose(scale, keras, rel_tol=1e-9):
            port = how if how == "none" else f"{how} = {scale:.4g}{of}" if how else f"{scale:.4g}"
            yield Otherwise(ID, f"scale: Keras {said}, port {port}", patch, fields({field: scale}))
    if own.score != "dot" and own.scale != 1:
        text = f"scale: Keras multiplies the sums with {own.scale:.4g} before tanh, the port does not"
        yield Otherwise(ID, text, f"torch.tanh({own.scale:.6g} * (q + k)) in the scores", fields({"scale": 1.0}))


def _stated(case: Case) -> Iterator[float]:
    """Numbers that the port's operations multiply with or divide by, and the product of all."""
    product = 1.0
    for step in case.steps:
        operation = case.trace.operations[step]
        for name in ("other", "scale"):
            argument = operation.arguments.get(name)
            if isinstance(argument, Constant) and case.trace.constants[argument.index].array.size == 1:
                argument = float(case.trace.constants[argument.index].array.astype(np.float64).item())
            if isinstance(argument, int | float) and argument and operation.op in _SCALING:
                number = 1 / argument if operation.op.startswith("div") else float(argument)
                product *= number
                yield number
    yield product


def softmaxes(own: Attention) -> Iterator[Otherwise]:
    """Another axis, none, two, or a sigmoid."""
    patch = "scores.softmax(-1): of (…, queries, keys) along the keys"
    does = {
        "queries": "along the queries",
        "heads": "along the heads",
        "no": "there is none",
        "twice": "there are two",
        "sigmoid": "there is a sigmoid instead",
    }
    for kind, words in does.items():
        if kind != "heads" or own.query is not None:
            text = f"softmax: in Keras along the keys, in the port {words}"
            yield Otherwise(ID, text, patch, fields({"softmax": kind}))


def formulas(own: Attention) -> Iterator[Otherwise]:
    """Other formulas of the scores, where query and key are not projected."""
    if own.elements is not None:
        text = "use_scale=True: Keras multiplies each element of the sum with its weight, the port does not"
        yield Otherwise(ID, text, "(scale * torch.tanh(q + k)).sum(-1)", fields({"weighted": False}))
    several = {"dot": "q @ k.mT", "tanh": "torch.tanh(q.unsqueeze(2) + k.unsqueeze(1)).sum(-1)"}
    for score in dict.fromkeys(["dot", "tanh", *(_FUNCTIONS if own.score != "dot" else ())]):
        if score != own.score:
            port = several.get(score, f"sums of {score}(q + k)")
            text = f"scores: Keras {several[own.score]}, port {port}"
            yield Otherwise(ID, text, several[own.score], fields({"score": score}), alone=True)
