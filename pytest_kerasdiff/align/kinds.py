"""The kinds of Keras layers: what each class is made of.

A layer becomes one primitive or several in order: ``Conv2D(activation="relu")`` is a convolution and an activation.
README's table of layers is made from ``TABLE``. A class that is not in it is taken as one piece, whose place in the
graph, and weights where it has some, say which torch operations it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pytest_kerasdiff.layer import Layer

Part = tuple[str, str, tuple[str, ...]]
"""(kind, variant, weights) of a primitive; kinds are those of ``operations``."""

ACTIVATION_LAYERS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
    "ThresholdedReLU": "threshold",
}
PROJECTED = frozenset({"MultiHeadAttention", "GroupedQueryAttention"})
"""Attention with kernels of its own."""
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
_MOVES = {"Flatten": "flatten", "Reshape": "reshape", "Permute": "permute", "RepeatVector": "repeat"}
_FUNCTIONS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "truedivide": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "concatenate": "concat",
    "concat": "concat",
    "matmul": "matmul",
}
"""Functions of Keras (``keras.ops``, TFOpLambda) that join values, by their name without separators."""
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
_MOVING = frozenset(["reshape", "transpose", "squeeze", "expanddims", "getitem", "slicingoplambda", "flip", "ravel"])
_SAME_FUNCTION = {"swish": "silu", "hard_swish": "hard_silu", "exponential": "exp"}


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Layers that are made of the same primitives.

    Attributes:
        classes: Names of the Keras classes, Keras 2's and Keras 3's.
        words: What they are made of, as README says it.
        parts: The primitives of a layer.
        typical: A config with all that decides which checks concern the classes.
    """

    classes: tuple[str, ...]
    words: str
    parts: Callable[[Layer], list[Part]]
    typical: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
    if name in ACTIVATION_LAYERS:
        return ACTIVATION_LAYERS[name]
    return _SAME_FUNCTION.get(name.lower(), name.lower())


def _with_activation(layer: Layer, *parts: Part) -> list[Part]:
    activation = activation_name(layer.config.get("activation"))
    return [*parts, ("act", activation, ())] if activation != "linear" else list(parts)


def _one(kind: str, variant: str = "") -> Callable[[Layer], list[Part]]:
    return lambda layer: [(kind, variant, layer.weights)]


def _of_class(kind: str, variants: Mapping[str, str]) -> Callable[[Layer], list[Part]]:
    return lambda layer: [(kind, variants[layer.class_name], layer.weights)]


def _kernel(kind: str, variant: str = "") -> Callable[[Layer], list[Part]]:
    return lambda layer: _with_activation(layer, (kind, variant, layer.weights))


def _separable(layer: Layer) -> list[Part]:
    depthwise = tuple(w for w in layer.weights if "depthwise" in w)
    pointwise = tuple(w for w in layer.weights if w not in depthwise)
    return _with_activation(layer, ("conv", "depthwise", depthwise), ("conv", "", pointwise))


def _attention(layer: Layer) -> list[Part]:
    # A scale, multiplied into the scores, tells neither where the operations begin nor where they end.
    return [("attention", "", layer.weights if layer.class_name in PROJECTED else ())]


def _rescaling(layer: Layer) -> list[Part]:
    stated = (("mul", layer.config.get("scale", 1), 1), ("add", layer.config.get("offset", 0), 0))
    return [("affine", step, ()) for step, number, none in stated if number != none] or [("identity", "", ())]


def _normalization(layer: Layer) -> list[Part]:
    mean = tuple(w for w in layer.weights if "mean" in w)
    return [("affine", "add", mean), ("affine", "mul", tuple(w for w in layer.weights if w not in mean))]


def _discretization(layer: Layer) -> list[Part]:
    counts = layer.config.get("output_mode", "int") == "int"
    return [("act", "discretize", ()) if counts else ("opaque", layer.class_name, layer.weights)]


def _inner(layer: Layer) -> list[Part]:
    inner = layer.config.get("layer", {})
    return parts(Layer(layer.name, str(inner.get("class_name")), inner.get("config", {}), (), (), layer.weights))


def _dimensions(*names: str, of: tuple[int, ...] = (1, 2, 3)) -> tuple[str, ...]:
    return tuple(name.replace("#", str(d)) for name in names for d in of)


_AUGMENTATIONS = tuple(
    f"Random{name}"
    for name in (
        *("Brightness", "ColorDegeneration", "ColorJitter", "Contrast", "ElasticTransform", "Erasing", "Flip"),
        *("GaussianBlur", "Grayscale", "Height", "Hue", "Invert", "Perspective", "Posterization", "Rotation"),
        *("Saturation", "Sharpness", "Shear", "Translation", "Width", "Zoom"),
    )
)
"""Random changes of images. RandomCrop is none of them: in inference it crops the middle."""
_FUNCTION_OF = {"activation": "tanh"}
MERGES = frozenset(_MERGES.values())
"""Kinds that join values."""
TABLE: tuple[Kind, ...] = (
    Kind(("Dense", "EinsumDense"), "product with a kernel, activation", _kernel("linear"), _FUNCTION_OF),
    Kind(_dimensions("Conv#D"), "convolution, activation", _kernel("conv"), _FUNCTION_OF),
    Kind(
        _dimensions("DepthwiseConv#D", of=(1, 2)),
        "depthwise convolution, activation",
        _kernel("conv", "depthwise"),
        _FUNCTION_OF,
    ),
    Kind(
        _dimensions("SeparableConv#D", of=(1, 2)),
        "depthwise convolution, convolution, activation",
        _separable,
        _FUNCTION_OF,
    ),
    Kind(
        _dimensions("Conv#DTranspose"),
        "transposed convolution, activation",
        _kernel("conv", "transpose"),
        _FUNCTION_OF,
    ),
    Kind(("Embedding",), "table", _one("embedding")),
    Kind(
        (
            "BatchNormalization",
            "SyncBatchNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "RMSNormalization",
            "UnitNormalization",
            "SpectralNormalization",
        ),
        "normalisation",
        _one("norm"),
        {"epsilon": 1e-3},
    ),
    Kind(("Normalization",), "offset, scale", _normalization),
    Kind(("Rescaling",), "scale, offset", _rescaling),
    Kind(("Discretization",), "activation", _discretization),
    Kind(("Activation",), "activation", lambda layer: _with_activation(layer) or [("identity", "", ())], _FUNCTION_OF),
    Kind(tuple(ACTIVATION_LAYERS), "activation", _of_class("act", ACTIVATION_LAYERS)),
    Kind(_dimensions("MaxPooling#D"), "maximum of a window", _one("pool", "max")),
    Kind(_dimensions("AveragePooling#D"), "mean of a window", _one("pool", "avg")),
    Kind(_dimensions("GlobalMaxPooling#D"), "maximum of all", _one("pool", "max_global")),
    Kind(_dimensions("GlobalAveragePooling#D"), "mean of all", _one("pool", "avg_global")),
    Kind(_dimensions("AdaptiveMaxPooling#D"), "maximum of windows that adapt", _one("pool", "max")),
    Kind(_dimensions("AdaptiveAveragePooling#D"), "mean of windows that adapt", _one("pool", "avg")),
    Kind(_dimensions("ZeroPadding#D"), "padding", _one("pad")),
    Kind((*_dimensions("Cropping#D"), "CenterCrop"), "crop", _one("crop")),
    Kind((*_dimensions("UpSampling#D"), "Resizing"), "interpolation", _one("upsample")),
    Kind(tuple(_MOVES), "movement: its order is judged where it is used", _of_class("move", _MOVES)),
    Kind(tuple(_MERGES), "join", lambda layer: [(_MERGES[layer.class_name], "", ())]),
    Kind(
        ("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", *_dimensions("ConvLSTM#D"), "CuDNNLSTM", "CuDNNGRU"),
        "all operations between its weights",
        lambda layer: [("rnn", layer.class_name, layer.weights)],
    ),
    Kind(
        ("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention"),
        "all operations between query, key, value and output",
        _attention,
    ),
    Kind(("Masking", "Lambda"), "one piece", lambda layer: [("opaque", layer.class_name, layer.weights)]),
    Kind(("TimeDistributed",), "what the layer inside is made of", _inner),
    Kind(
        (
            "Dropout",
            *_dimensions("SpatialDropout#D"),
            "AlphaDropout",
            "GaussianDropout",
            "GaussianNoise",
            "ActivityRegularization",
            "Identity",
            *_AUGMENTATIONS,
        ),
        "nothing in inference",
        _one("identity"),
    ),
)
_BY_CLASS = {name: kind for kind in TABLE for name in kind.classes}
IDENTITIES = frozenset(_BY_CLASS["Dropout"].classes)
"""Layers that give back their input in inference."""


def parts(layer: Layer) -> list[Part]:
    """The primitives of a layer, in order."""
    if layer.class_name in _BY_CLASS:
        return _BY_CLASS[layer.class_name].parts(layer)
    function = layer.config.get("function", "") if layer.class_name == "TFOpLambda" else layer.class_name
    plain = str(function).split(".")[-1].replace("_", "").lower()
    if plain in _FUNCTIONS:
        return [(_FUNCTIONS[plain] if len(layer.inputs) > 1 else "affine", "", ())]
    if plain in _OF_ONE_VALUE:
        return [("act", _OF_ONE_VALUE[plain], ())]
    return [("move", plain, ())] if plain in _MOVING else [("opaque", layer.class_name, layer.weights)]


def activation_of(class_name: str, config: Mapping[str, Any]) -> str | None:
    """Name of the activation function that a layer ends with; None where it ends with none."""
    kind, variant, _ = parts(Layer("", class_name, config, (), (), ("kernel",)))[-1]
    return variant if kind == "act" else None


def inside(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Class and config of the layer that a TimeDistributed has inside; of any other layer its own."""
    inner = config.get("layer") if class_name == "TimeDistributed" else None
    if isinstance(inner, Mapping):
        return str(inner.get("class_name")), inner.get("config", {})
    return class_name, config
