"""The forms in which torch holds a Keras weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pytest_kerasdiff.checks.held import Held
from pytest_kerasdiff.checks.transformations import spatial_names
from pytest_kerasdiff.trace import Array


class Kernel(NamedTuple):
    """How a Keras kernel becomes torch's.

    Attributes:
        axes: Names of its axes in Keras.
        right: Their order in torch.
        merged: Torch has the first two of these as one axis, and another one of one element after it.

    Source: keras/src/layers/convolutional/base_conv.py, base_conv_transpose.py and base_depthwise_conv.py;
    torch.nn.functional.conv2d, conv_transpose2d and linear.
    """

    axes: tuple[str, ...]
    right: tuple[int, ...]
    merged: bool = False

    def as_torch(self, kernel: Array) -> Array:
        """A Keras kernel in torch's layout."""
        moved = kernel.transpose(self.right)
        return moved.reshape(-1, 1, *moved.shape[2:]) if self.merged else moved

    def remedy(self, name: str, kernel: Array) -> str:
        """What makes torch's of Keras's, as code."""
        if self.axes == ("in", "out"):
            return f"use {name}.T"
        window = ", ".join(map(str, kernel.shape[:-2]))
        return f"use {name}.transpose{self.right}" + (f".reshape(-1, 1, {window})" if self.merged else "")


def kernel_of(name: str, weight: Array, class_name: str) -> Kernel | None:
    """What a weight is as a kernel; None for what is none (a bias, a scale, a table)."""
    short = name.rpartition("/")[2]
    if "kernel" not in short or weight.ndim < 2 or class_name == "EinsumDense":
        return None
    if weight.ndim == 2:
        return Kernel(("in", "out"), (1, 0))
    last, window = weight.ndim - 1, tuple(range(weight.ndim - 2))
    names = spatial_names(len(window))
    if "depthwise" in short or class_name.startswith("Depthwise"):
        return Kernel((*names, "in", "multiplier"), (last - 1, last, *window), True)
    ends = ("out", "in") if class_name.endswith("Transpose") else ("in", "out")
    return Kernel((*names, *ends), (last, last - 1, *window))


def right_forms(holder: Held, kernel: Kernel, weight: Array, flattened: Sequence[int]) -> Iterator[Array]:
    """Keras's kernel in every form in which the operation that takes a constant may take it.

    Args:
        holder: The constant.
        kernel: What the weight is.
        weight: Keras's.
        flattened: Shape of what a Flatten before the layer takes, without the batch; empty where there is none.
    """
    torch = kernel.as_torch(weight)
    if math.prod(torch.shape[2:]) == 1:
        matrix = torch.reshape(torch.shape[:2])
        if holder.takes_rows is not False:
            yield matrix
        if not holder.takes_rows:
            yield matrix.T
        if kernel.axes == ("in", "out") and math.prod(flattened) == len(weight) and len(flattened) > 1:
            yield np.moveaxis(matrix.reshape(-1, *flattened), -1, 1)  # a convolution over all there is
        return
    yield torch
    if holder.takes_rows is None:
        yield weight


def of_einsum(name: str, weight: Array) -> list[Array]:
    """Forms of the weights of an EinsumDense: a linear has all that goes in, and all that comes out, as one axis."""
    if "bias" in name:
        return [weight.reshape(1, -1), weight]
    return [weight.reshape(weight.shape[0], -1).T, weight.reshape(-1, weight.shape[-1]).T, weight]


def of_vector(name: str, weight: Array, class_name: str, config: Mapping[str, Any]) -> dict[str, Array]:
    """What torch may hold of a weight that is no kernel, by what it is called."""
    found = {"": weight}
    if weight.ndim > 1:  # slopes of a PReLU, scales over several axes: with the channels first
        found["channels first"] = np.moveaxis(weight, -1, 0)
    if class_name == "Normalization" and "variance" in name:
        root = np.sqrt(np.maximum(weight.astype(np.float64), 0))
        deviation = np.maximum(root, 1e-7)  # Keras divides by no less than its epsilon
        found |= {"the deviation": deviation, "one over the deviation": 1 / deviation}
    return found
