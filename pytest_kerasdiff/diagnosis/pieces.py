"""What a Keras layer computes, as steps on a torch value in the port's layout, to be put where the port lacks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import activation_of, parts
from pytest_kerasdiff.change import Chain, Here, Step
from pytest_kerasdiff.diagnosis import functions, kernels
from pytest_kerasdiff.diagnosis.arranged import in_keras, order, taken
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.diagnosis.layout import along, dims, spread
from pytest_kerasdiff.trace import Layer, Value

_MERGES = {"Add": "add", "Subtract": "sub", "Multiply": "mul", "Maximum": "maximum", "Minimum": "minimum"}


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What a layer, or the end of one, computes.

    Attributes:
        kind: "act", "norm", "affine", "pool", "kernel" or "join".
        name: What it is, in a reader's words.
        chain: Its steps on the layer's input.
        code: A line of torch that computes it of x.
    """

    kind: str
    name: str
    chain: Chain
    code: str


def activation(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Piece | None:
    """The activation function that a layer ends with, on a torch value that is the Keras value before it."""
    name = activation_of(layer.class_name, layer.config)
    if name in ("softmax", "log_softmax", "sparsemax"):
        return _softmax(case, layer, name, keras_value, torch_value)
    if name == "prelu":
        alpha = case.reference.weights[layer.weight_owner, layer.weights[0]]
        slopes = spread(case, alpha, keras_value, torch_value)
        chain = (Step("keras.prelu", {"self": Here(), "alpha": slopes}),)
        return None if slopes is None else Piece("act", "PReLU", chain, "F.prelu(x, alpha)")
    own = functions.keras_function(layer, case.reference.curves.get(layer.name))
    return None if own is None else Piece("act", own.name, own.chain, own.code)


def _softmax(case: Case, layer: Layer, name: str, keras_value: int, torch_value: int) -> Piece | None:
    stated = layer.config.get("axis", -1) if layer.class_name in ("Softmax", "LogSoftmax", "Sparsemax") else -1
    axes = stated if isinstance(stated, list | tuple) else [stated]
    where = dims(case, axes, keras_value, torch_value)
    if not where:
        return None
    words = f"{name} over dim {', '.join(map(str, where))}"
    if len(where) > 1 and name != "sparsemax":
        step = Step("keras.softmax_of", {"self": Here(), "dims": where, "log": name == "log_softmax"})
        return Piece("act", words, (step,), f"{name} over {tuple(where)}")
    op = f"keras.{name}" if name == "sparsemax" else f"{name}.int"
    return Piece("act", words, (Step(op, {"self": Here(), "dim": where[0]}),), f"torch.{name}(x, dim={where[0]})")


def whole_layer(case: Case, position: int, torch_value: int) -> Piece | None:
    """All that a layer computes of its first input, which the torch value is; None where that is not known here."""
    layer = case.reference.layers[position]
    source = layer.inputs[0]
    if activation_of(layer.class_name, layer.config) is not None and layer.class_name not in _WITH_KERNEL:
        return activation(case, layer, source, torch_value)
    if layer.class_name in kernels.CLASSES:
        own = kernels.chain(case, layer, source, torch_value)
        return None if own is None else Piece("kernel", layer.class_name, own, f"the {layer.class_name}'s module")
    if layer.class_name == "Rescaling":
        return rescaling(case, layer, source, torch_value)
    if layer.class_name == "Normalization":
        return input_normalization(case, layer, source, torch_value)
    if layer.class_name.endswith("Normalization"):
        return normalization(case, layer, source, torch_value)
    if "Pooling" in layer.class_name and "Global" not in layer.class_name:
        return pooling(case, layer, source, torch_value)
    if layer.class_name in _MERGES or layer.class_name in ("Average", "Concatenate"):
        return join(case, position, torch_value)
    return None


_WITH_KERNEL = frozenset(
    {
        *("Dense", "EinsumDense", "SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D"),
        *(f"Conv{d}D{kind}" for d in (1, 2, 3) for kind in ("", "Transpose")),
        *("TimeDistributed", "SpectralNormalization"),
    }
)


def _affine(
    case: Case, factor: npt.ArrayLike, offset: npt.ArrayLike, keras_value: int, torch_value: int
) -> Chain | None:
    factors, offsets = (spread(case, part, keras_value, torch_value) for part in (factor, offset))
    if factors is None or offsets is None:
        return None
    return Step("mul", {"self": Here(), "other": factors}), Step("add", {"self": Here(), "other": offsets})


def rescaling(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Piece | None:
    """A Rescaling."""
    scale, offset = layer.config.get("scale", 1.0), layer.config.get("offset", 0.0)
    try:
        chain = _affine(case, scale, offset, keras_value, torch_value)
    except (TypeError, ValueError):
        return None
    said = f"x * {_said(scale)}" + (f" + {_said(offset)}" if np.any(offset) else "")
    return None if chain is None else Piece("affine", f"Rescaling ({said})", chain, said)


def _said(numbers: Any) -> str:
    several = np.asarray(numbers, np.float64)
    return f"{float(several):.6g}" if several.ndim == 0 else "[" + ", ".join(f"{n:.6g}" for n in several.ravel()) + "]"


def input_normalization(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Piece | None:
    """A Normalization by mean and variance, which the file or the config holds."""
    config, own = layer.config, {n.rpartition("/")[2]: n for n in layer.weights}

    def of(name: str) -> Any:
        stated = config.get(name)
        return case.reference.weights[layer.weight_owner, own[name]] if stated is None and name in own else stated

    mean, variance = of("mean"), of("variance")
    if mean is None or variance is None:
        return None
    shape = case.reference.shapes[keras_value]
    stated = config.get("axis", -1)
    axes = [stated] if isinstance(stated, int) else list(stated or [])
    try:
        center, spread_ = (
            along(part, axes, shape) if np.size(part) > 1 else np.asarray(part, np.float64) for part in (mean, variance)
        )
        deviation = np.maximum(np.sqrt(spread_), 1e-7)
        if config.get("invert"):
            chain = _affine(case, deviation, center, keras_value, torch_value)
        else:
            chain = _affine(case, 1 / deviation, -center / deviation, keras_value, torch_value)
    except (TypeError, ValueError):
        return None
    words = "x * sqrt(variance) + mean" if config.get("invert") else "(x - mean) / sqrt(variance)"
    return None if chain is None else Piece("affine", f"Normalization ({words})", chain, words)


def normalization(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Piece | None:
    """A normalisation with the file's weights."""
    config, shape = layer.config, case.reference.shapes[keras_value]
    weights = {n.rpartition("/")[2]: array for n, array in case.reference.weights_of(layer).items()}
    stated, eps = config.get("axis", -1), float(config.get("epsilon", 1e-3))
    axes = [int(a) for a in (stated if isinstance(stated, list | tuple) else [stated])]
    gamma, beta = weights.get("gamma", weights.get("scale", 1.0)), weights.get("beta", 0.0)
    try:
        factor, offset = (along(part, axes, shape) if np.size(part) > 1 else part for part in (gamma, beta))
        if layer.class_name.endswith("BatchNormalization"):
            mean, variance = (along(weights[f"moving_{name}"], axes, shape) for name in ("mean", "variance"))
            factor = factor / np.sqrt(variance + eps)
            chain = _affine(case, factor, offset - mean * factor, keras_value, torch_value)
            return None if chain is None else Piece("norm", layer.class_name, chain, f"the {layer.class_name}'s module")
        where, chain = (
            dims(case, axes, keras_value, torch_value),
            _affine(case, factor, offset, keras_value, torch_value),
        )
    except (KeyError, ValueError):
        return None
    if not where or chain is None:
        return None
    first: Step
    if layer.class_name == "GroupNormalization":
        groups = int(config.get("groups", 32))
        channels = shape[axes[0]]
        first = Step(
            "keras.normalize_groups",
            {"self": Here(), "dim": where[0], "groups": channels if groups == -1 else groups, "eps": eps},
        )
    elif layer.class_name == "UnitNormalization":
        first, chain = Step("keras.unit", {"self": Here(), "dims": where}), ()
    else:
        center = layer.class_name == "LayerNormalization" and not config.get("rms_scaling")
        first = Step("keras.normalize", {"self": Here(), "dims": where, "eps": eps, "center": center})
    return Piece("norm", layer.class_name, (first, *chain), f"the {layer.class_name}'s module")


def pooling(case: Case, layer: Layer, keras_value: int, torch_value: int) -> Piece | None:
    """A pooling of windows."""
    config, rank = layer.config, len(case.reference.shapes[keras_value])
    first = 2 if config.get("data_format") == "channels_first" else 1
    where = dims(case, range(first, first + rank - 2), keras_value, torch_value)
    if not where or len(where) != rank - 2 or not layer.class_name.startswith(("Max", "Average")):
        return None
    size = _each(config.get("pool_size", 2), rank - 2)
    strides = _each(config.get("strides") or size, rank - 2)
    arguments = {
        "self": Here(),
        "maximum": layer.class_name.startswith("Max"),
        **{"size": size, "strides": strides, "same": config.get("padding") == "same", "dims": where},
    }
    kind = "max" if arguments["maximum"] else "avg"
    code = f"F.{kind}_pool{rank - 2}d(x, {tuple(size)}, {tuple(strides)})"
    return Piece("pool", f"{layer.class_name} {tuple(size)}", (Step("keras.pool_along", arguments),), code)


def _each(number: Any, dimensions: int) -> list[int]:
    return [int(n) for n in number] if isinstance(number, Sequence) else [int(number)] * dimensions


def join(case: Case, position: int, torch_value: int) -> Piece | None:
    """A join of a layer's inputs, one of which the torch value is; the others are taken where the port has them."""
    layer = case.reference.layers[position]
    values = [case.alignment.torch_value(v) for v in layer.inputs]
    if torch_value not in values or len(values) < 2 or None in values:
        return None
    own = values.index(torch_value)
    names = [case.reference.layers[case.position_of(v)].name for v in layer.inputs]
    operands: list[Any] = [Here() if i == own else Value(v) for i, v in enumerate(values) if v is not None]
    code = f"{layer.class_name} of {', '.join('x' if i == own else name for i, name in enumerate(names))}"
    if layer.class_name == "Concatenate":
        where = dims(case, [int(layer.config.get("axis", -1))], layer.inputs[own], torch_value)
        if not where:
            return None
        return Piece("join", code, (Step("cat", {"tensors": operands, "dim": where[0]}),), code)
    if chain := _arranged(case, layer, own):
        return Piece("join", code, chain, code)
    op = _MERGES.get(layer.class_name, "add")
    steps = [Step(op, {"self": operands[0], "other": operands[1]})]
    if op in ("sub",) or not isinstance(operands[0], Here | Value):
        steps = steps[:1]
    steps += [Step(op, {"self": Here(), "other": other}) for other in operands[2:]]
    if len(operands) > 2 and own > 1:  # Here is one of the later ones: begin with it, for these joins commute
        rest = [operand for i, operand in enumerate(operands) if i != own]
        steps = [Step(op, {"self": Here(), "other": other}) for other in rest]
    if layer.class_name == "Average":
        steps.append(Step("div", {"self": Here(), "other": float(len(operands))}))
    return Piece("join", code, tuple(steps), code)


def _arranged(case: Case, layer: Layer, own: int) -> Chain:
    """A join of values that the port holds in different layouts; empty where these are equal, or the shapes are not."""
    sources = [in_keras(case, v) for v in layer.inputs]
    value, result = case.alignment.torch_value(layer.inputs[own]), layer.outputs[0]
    back = order(case, result, value) if value is not None else None
    if back is None or None in sources or len({case.reference.shapes[v] for v in (*layer.inputs, result)}) > 1:
        return ()
    known = [source for source in sources if source is not None]
    if all(np.array_equal(p, known[0][1]) for _, p in known):
        return ()
    values = [Here() if i == own else v for i, (v, _) in enumerate(known)]
    arguments = {"values": values, "orders": [p for _, p in known], "kind": parts(layer)[0][0]}
    return Step("keras.merged", arguments), *taken(back)
