"""What a primitive states of itself, in the same words for both sides: window, stride, dilation, channels, slope.

The walk uses it where neither weights nor places tell two branches apart (two poolings that are added); it never keeps
a layer from the operation that stands in its place, which may state something else because the port is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_kerasdiff.trace import CandidateTrace, Constant, Layer, Operation

Stated = Mapping[str, tuple[float, ...]]
"""Words and numbers; windows are sorted and without ones, so that a convolution reads alike in 1-D and in 2-D."""


def of_layer(layer: Layer, kind: str) -> Stated:
    """What a Keras layer states of its primitive of this kind; of other kinds than those here it states nothing."""
    config = layer.config
    found: dict[str, tuple[float, ...]] = {}
    channels = config.get("filters", config.get("units"))
    if kind in ("conv", "linear") and isinstance(channels, int):
        found["channels"] = (channels,)
    if kind == "conv":
        found |= {"window": _window(config.get("kernel_size")), "stride": _window(config.get("strides"))}
        found["dilation"] = _window(config.get("dilation_rate"))
    if kind == "pool" and "pool_size" in config:
        found["window"] = _window(config["pool_size"])
        found["stride"] = _window(config.get("strides") or config["pool_size"])
    if kind == "norm" and "epsilon" in config:
        found["epsilon"] = _rounded(config["epsilon"])
    slope = config.get("negative_slope", config.get("alpha"))
    if kind == "act" and layer.class_name in ("LeakyReLU", "ELU") and slope is not None:
        found["slope"] = _rounded(slope)
    return found


def of_operation(operation: Operation, kind: str, variant: str, trace: CandidateTrace) -> Stated:
    """What a torch operation states of itself; ``kind`` and ``variant`` are those of its node."""
    arguments = operation.arguments
    found: dict[str, tuple[float, ...]] = {}
    kernel = arguments.get("weight")
    if kind in ("conv", "linear") and isinstance(kernel, Constant):
        shape = trace.constants[kernel.index].array.shape
        if variant != "depthwise":
            found["channels"] = (shape[1] if variant == "transpose" else shape[0],)
        if kind == "conv":
            found |= {"window": _window(shape[2:]), "stride": _window(arguments.get("stride"))}
            found["dilation"] = _window(arguments.get("dilation"))
    if kind == "pool" and arguments.get("kernel_size"):
        found["window"] = _window(arguments["kernel_size"])
        found["stride"] = _window(arguments.get("stride") or arguments["kernel_size"])
    if kind == "norm" and arguments.get("eps") is not None:
        found["epsilon"] = _rounded(arguments["eps"])
    slope = arguments.get("negative_slope", arguments.get("alpha"))
    if operation.op in ("leaky_relu", "elu") and slope is not None:
        found["slope"] = _rounded(slope)
    return found


def differences(first: Stated, second: Stated) -> int:
    """How many words both sides state with other numbers."""
    return sum(first[word] != second[word] for word in first.keys() & second.keys())


def _window(sizes: Any) -> tuple[float, ...]:
    several = sizes if isinstance(sizes, list | tuple) else [sizes or 1]
    return tuple(sorted(size for size in several if size != 1))


def _rounded(number: Any) -> tuple[float, ...]:
    """Six digits: Keras may have stored the number after a trip through float32."""
    return (float(f"{number:.6g}"),) if isinstance(number, int | float) else ()
