"""Keras's activation functions as steps of torch, with the numbers that a layer states."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pytest_kerasdiff.align.kinds import activation_of
from pytest_kerasdiff.change import Chain, Here, Step
from pytest_kerasdiff.trace import CURVE_AT, Array, Layer

OF_AN_AXIS = frozenset({"softmax", "log_softmax", "sparsemax", "glu", "prelu"})
"""Activations that are no function of one element."""
_SAME_IN_BOTH = "exp expm1 log log1p sqrt rsqrt square abs erf sign sin cos sinh cosh tan"
_PLAIN = {
    "relu6": ("relu6", "F.relu6(x)"),
    "selu": ("selu", "F.selu(x)"),
    "silu": ("silu", "F.silu(x)"),
    "hard_silu": ("hardswish", "F.hardswish(x)"),
    "mish": ("mish", "F.mish(x)"),
    "sigmoid": ("sigmoid", "torch.sigmoid(x)"),
    "log_sigmoid": ("log_sigmoid", "F.logsigmoid(x)"),
    "sparse_sigmoid": ("keras.sparse_sigmoid", "((x + 1) / 2).clamp(0, 1)"),
    "tanh": ("tanh", "torch.tanh(x)"),
    "hard_tanh": ("hardtanh", "F.hardtanh(x)"),
    "tanh_shrink": ("keras.tanh_shrink", "F.tanhshrink(x)"),
    "softplus": ("keras.softplus", "F.softplus(x)"),
    "sparse_plus": (
        "keras.sparse_plus",
        "torch.where(x <= -1, 0, torch.where(x < 1, (x + 1) ** 2 / 4, x))",
    ),
    "softsign": ("keras.softsign", "F.softsign(x)"),
    **{name: (name, f"torch.{name}(x)") for name in _SAME_IN_BOTH.split()},
}
"""Functions without numbers: name → (operation, code)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """A function of one element.

    Attributes:
        name: As Keras calls it, with the numbers that it states.
        chain: Its steps.
        code: A line of torch that computes it of x.
    """

    name: str
    chain: Chain
    code: str


def keras_function(layer: Layer, curve: Array | None) -> Function | None:
    """The activation function that a layer ends with; None where it ends with none, or with one that is not known.

    Args:
        layer: The layer.
        curve: What Keras's function makes of ``CURVE_AT``, which tells versions of Keras apart.
    """
    name = activation_of(layer.class_name, layer.config)
    stated = layer.config.get("activation")
    inner = stated.get("config") if isinstance(stated, Mapping) else None
    config = inner if isinstance(inner, Mapping) else layer.config
    return None if name is None else named(name, layer.class_name, config, curve)


def named(name: str, class_name: str, config: Mapping[str, Any], curve: Array | None = None) -> Function | None:
    """A function by its name, with the numbers of a config."""
    call = config.get("call")
    kwargs = call.get("kwargs") if isinstance(call, Mapping) else None
    stated = {**config, **(kwargs if isinstance(kwargs, Mapping) else {})}

    def number(key: str, default: float) -> float:
        value = stated.get(key, default)
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")
        return float(value) if isinstance(value, int | float) else default

    if name in _PLAIN:
        op, code = _PLAIN[name]
        return Function(name, (Step(op, {"self": Here()}),), code)
    if name == "relu":
        return _relu(class_name, stated, number, curve)
    if name == "leaky_relu":
        # The layer's default is 0.3; the function's is 0.2. A file of Keras 2 calls it alpha.
        default = 0.3 if class_name == "LeakyReLU" else 0.2
        slope = number("negative_slope", number("alpha", default if curve is None else -_at(curve, -1.0)))
        return _numbered("leaky_relu", "leaky_relu", "F.leaky_relu(x, {negative_slope})", negative_slope=slope)
    if name in ("elu", "celu"):
        return _numbered(name, name, f"F.{name}(x, {{alpha}})", alpha=number("alpha", 1.0))
    if name in ("soft_shrink", "hard_shrink"):
        op = name.replace("_", "")
        return _numbered(name, op, f"F.{op}(x, {{lambd}})", lambd=number("threshold", 0.5))
    if name == "threshold":
        theta = number("theta", number("threshold", 1.0))
        value = number("default_value", number("value", 0.0))
        return _numbered(name, name, "F.threshold(x, {threshold}, {value})", threshold=theta, value=value)
    if name == "squareplus":
        return _numbered(name, "keras.squareplus", "(x + torch.sqrt(x * x + {b})) / 2", b=number("b", 4.0))
    if name == "gelu":
        approximate = stated.get("approximate", curve is not None and _tanh_form(curve)) is True
        how = "tanh" if approximate else "none"
        step = Step("gelu", {"self": Here(), "approximate": how})
        return Function(f"gelu(approximate={approximate})", (step,), f"F.gelu(x, approximate={how!r})")
    if name == "hard_sigmoid":
        if curve is not None and _at(curve, 2.7) > 0.99:
            return Function(
                "hard_sigmoid of Keras 2",
                (Step("keras.hard_sigmoid_2", {"self": Here()}),),
                "(0.2 * x + 0.5).clamp(0, 1)",
            )
        return Function("hard_sigmoid", (Step("hardsigmoid", {"self": Here()}),), "F.hardsigmoid(x)")
    return None


def _relu(class_name: str, stated: Mapping[str, Any], number: Any, curve: Array | None) -> Function | None:
    """A rectifier, or a clipping by numbers, which is one primitive with it."""
    plain = class_name.split(".")[-1].replace("_", "").lower()
    function = str(stated.get("function", "")).split(".")[-1].replace("_", "").lower()
    if plain == "clip" or function in ("clip", "clipbyvalue"):
        low, high = (
            number("x_min", number("clip_value_min", math.nan)),
            number("x_max", number("clip_value_max", math.nan)),
        )
        if math.isnan(low) or math.isnan(high):
            return None
        step = Step("clamp", {"self": Here(), "min": low, "max": high})
        return Function(f"clip({low:g}, {high:g})", (step,), f"x.clamp({low:g}, {high:g})")
    greatest = stated.get("max_value")
    numbers = {
        "max_value": None if greatest is None else number("max_value", math.inf),
        "negative_slope": number("negative_slope", 0.0),
        "threshold": number("threshold", 0.0),
    }
    said = {key: value for key, value in numbers.items() if value not in (None, 0.0)}
    if not said:
        return Function("relu", (Step("relu", {"self": Here()}),), "F.relu(x)")
    words = f"relu({', '.join(f'{key}={value:g}' for key, value in said.items())})"
    if set(said) == {"max_value"}:
        high = number("max_value", math.inf)
        step = Step("clamp", {"self": Here(), "min": 0.0, "max": high})
        return Function(words, (step,), "F.relu6(x)" if high == 6 else f"x.clamp(0, {high:g})")
    threshold, slope = numbers["threshold"] or 0.0, numbers["negative_slope"] or 0.0
    above = "x" if numbers["max_value"] is None else f"x.clamp(max={numbers['max_value']:g})"
    code = f"torch.where(x >= {threshold:g}, {above}, {slope:g} * (x - {threshold:g}))"
    return Function(words, (Step("keras.relu", {"self": Here(), **numbers}),), code)


def _numbered(name: str, op: str, code: str, **numbers: float) -> Function:
    words = ", ".join(f"{key}={value:g}" for key, value in numbers.items())
    written = code.format(**{key: f"{value:g}" for key, value in numbers.items()})
    return Function(f"{name}({words})", (Step(op, {"self": Here(), **numbers}),), written)


def _at(curve: Array, x: float) -> float:
    """What a function makes of the value of ``CURVE_AT`` next to x, brought to x along a line through 0 below 0."""
    near = int(abs(CURVE_AT - x).argmin())
    return float(curve[near]) * (x / CURVE_AT[near] if x < 0 else 1.0)


def _tanh_form(curve: Array) -> bool:
    """Whether a table of GELU is that of its tanh form."""
    near = int(abs(CURVE_AT - 2.0).argmin())
    x = float(CURVE_AT[near])
    exact = 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
    return abs(float(curve[near]) - exact) > 1e-5
