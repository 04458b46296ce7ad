"""What each Keras layer is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kerasdiff.align import stated
from pytest_kerasdiff.align.graph import Graph, Node
from pytest_kerasdiff.trace import Layer, ReferenceTrace

IDENTITIES = frozenset(
    {
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "ActivityRegularization",
        "Identity",
    }
)
"""Layers that give back their input in inference."""

_MOVES = {"Flatten": "flatten", "Reshape": "reshape", "Permute": "permute", "RepeatVector": "repeat"}
_MERGES = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Concatenate": "concat",
    "Dot": "matmul",
}
_FUNCTIONS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "truedivide": "div",
    "true_divide": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "concatenate": "concat",
    "concat": "concat",
    "matmul": "matmul",
}
"""Operations of Keras (``keras.ops``, TFOpLambda) that join values, by their name without separators."""
_ACTIVATIONS = (
    "relu relu6 leaky_relu elu celu selu gelu glu silu hard_silu mish sigmoid hard_sigmoid log_sigmoid sparse_sigmoid "
    "tanh hard_tanh tanh_shrink softplus sparse_plus squareplus softsign soft_shrink hard_shrink threshold softmax "
    "log_softmax sparsemax exp expm1 log log1p sqrt rsqrt square abs erf sign sin cos sinh cosh tan"
)
_OF_ONE_VALUE = {
    **{name.replace("_", ""): name for name in _ACTIVATIONS.split()},
    "absolute": "abs",
    "swish": "silu",
    "hardswish": "hard_silu",
    "clip": "relu",
    "clipbyvalue": "relu",
}
"""Functions of Keras that are activations, by their name without separators."""
_ACTIVATION_LAYERS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
    "ThresholdedReLU": "threshold",
}
_NORMS = frozenset(
    {
        "BatchNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "UnitNormalization",
        "SpectralNormalization",
        "RMSNormalization",
        "SyncBatchNormalization",
    }
)
_RECURRENT = frozenset(
    {
        "LSTM",
        "GRU",
        "SimpleRNN",
        "Bidirectional",
        "RNN",
        "ConvLSTM1D",
        "ConvLSTM2D",
        "ConvLSTM3D",
        "CuDNNLSTM",
        "CuDNNGRU",
    }
)
_ATTENTION = frozenset({"MultiHeadAttention", "Attention", "AdditiveAttention", "GroupQueryAttention"})


_SAME_FUNCTION = {"swish": "silu", "hard_swish": "hard_silu", "exponential": "exp"}


def activation_name(value: Any) -> str:
    """Name of an activation as configs state it: a name, or a serialised layer or function.

    Returns:
        Lower-case name with underscores ("leaky_relu"), or "linear".
    """
    if value is None:
        return "linear"
    if isinstance(value, Mapping):
        inner = value.get("config")
        if value.get("class_name") in ("function", "Activation"):
            return activation_name(inner if not isinstance(inner, Mapping) else inner.get("activation"))
        value = value.get("class_name", "custom")
    name = str(value)
    if name in _ACTIVATION_LAYERS:
        return _ACTIVATION_LAYERS[name]
    return _SAME_FUNCTION.get(name.lower(), name.lower())


def _parts(layer: Layer) -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, variant, weights) of each primitive of a layer, in order."""
    name, config, weights = layer.class_name, layer.config, layer.weights
    if name == "TimeDistributed":
        inner = config.get("layer", {})
        return _parts(Layer(layer.name, str(inner.get("class_name")), inner.get("config", {}), (), (), weights))
    activation = activation_name(config.get("activation"))
    after: list[tuple[str, str, tuple[str, ...]]] = [("act", activation, ())] if activation != "linear" else []
    if name in IDENTITIES:
        return [("identity", "", ())]
    if name in ("Dense", "EinsumDense"):
        return [("linear", "", weights), *after]
    if name.startswith("Separable") and "Conv" in name:
        depthwise = tuple(w for w in weights if "depthwise" in w)
        return [
            ("conv", "depthwise", depthwise),
            ("conv", "", tuple(w for w in weights if w not in depthwise)),
            *after,
        ]
    if name in _RECURRENT:
        return [("rnn", name, weights)]
    if "Conv" in name and weights:
        variant = "transpose" if "Transpose" in name else "depthwise" if "Depthwise" in name else ""
        return [("conv", variant, weights), *after]
    if name in _NORMS:
        return [("norm", "", weights)]
    if name in _ATTENTION:
        # A scale, multiplied into the scores, tells neither where the operations begin nor where they end.
        return [("attention", "", weights if name in ("MultiHeadAttention", "GroupQueryAttention") else ())]
    if name == "Rescaling":
        done = [
            step for step, key, none in (("mul", "scale", 1), ("add", "offset", 0)) if config.get(key, none) != none
        ]
        return [("affine", step, ()) for step in done] or [("identity", "", ())]
    if name == "Normalization":
        mean = tuple(w for w in weights if "mean" in w)
        return [("affine", "add", mean), ("affine", "mul", tuple(w for w in weights if w not in mean))]
    if name == "Activation":
        return after or [("identity", "", ())]
    if name in _ACTIVATION_LAYERS:
        return [("act", _ACTIVATION_LAYERS[name], weights)]
    if "Pool" in name:
        return [("pool", ("max" if "Max" in name else "avg") + ("_global" if "Global" in name else ""), ())]
    for prefix, kind in (
        ("ZeroPadding", "pad"),
        ("Cropping", "crop"),
        ("UpSampling", "upsample"),
        ("Resizing", "upsample"),
    ):
        if name.startswith(prefix):
            return [(kind, "", ())]
    if name in _MOVES:
        return [("move", _MOVES[name], ())]
    if name == "Embedding":
        return [("embedding", "", weights)]
    function = str(config.get("function", "")) if name == "TFOpLambda" else name
    plain = function.split(".")[-1].replace("_", "").lower()
    if name in _MERGES:
        return [(_MERGES[name], "", ())]
    if plain in _FUNCTIONS:
        return [(_FUNCTIONS[plain] if len(layer.inputs) > 1 else "affine", "", ())]
    if plain in _OF_ONE_VALUE:
        return [("act", _OF_ONE_VALUE[plain], ())]
    if plain in (
        "reshape",
        "transpose",
        "squeeze",
        "expanddims",
        "getitem",
        "slicingoplambda",
        "flip",
        "ravel",
    ):
        return [("move", plain, ())]
    return [("opaque", name, weights)]


def activation_of(class_name: str, config: Mapping[str, Any]) -> str | None:
    """Name of the activation function that a layer ends with; None where it ends with none."""
    kind, variant, _ = _parts(Layer("", class_name, config, (), (), ("kernel",)))[-1]
    return variant if kind == "act" else None


def keras_graph(trace: ReferenceTrace) -> tuple[Graph, list[list[int]], dict[int, tuple[str, ...]]]:
    """Expand every layer of a trace.

    Returns:
        The graph, whose values are the trace's values plus new numbers for results inside a layer; for each layer the
        values of its primitives in order (empty where it depends on no other layer); for each such value the weights
        of its primitive.
    """
    fresh = max(trace.values, default=-1) + 1
    nodes: list[Node] = []
    chains: list[list[int]] = []
    weights: dict[int, tuple[str, ...]] = {}
    for position, layer in enumerate(trace.layers):
        chain: list[int] = []
        if layer.inputs:
            # A mask is no operand of what it masks, but of what makes another mask or numbers of it.
            operands = tuple(v for v in layer.inputs if v not in trace.masks) or layer.inputs
            parts = _parts(layer)
            for i, (kind, variant, names) in enumerate(parts):
                if kind in _MERGES.values() and len(operands) < 2:
                    # The other operands are constants: clipping, or scale and offset.
                    kind, variant = ("act", "relu") if kind in ("maximum", "minimum") else ("affine", variant)
                outputs: Sequence[int] = layer.outputs
                if i + 1 < len(parts):
                    outputs, fresh = (fresh,), fresh + 1
                says = stated.of_layer(layer, kind)
                nodes.append(Node(kind, variant, tuple(operands), position, tuple(outputs), says))
                chain.append(outputs[0])
                weights[outputs[0]] = names
                operands = tuple(outputs[:1])
        chains.append(chain)
    return Graph(nodes, trace.inputs, trace.outputs), chains, weights
