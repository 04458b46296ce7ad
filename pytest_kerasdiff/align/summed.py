"""Parallel convolutions, with or without BatchNorm, and their sum as one torch kernel: RepVGG as deployed.

Source: structural re-parameterisation, Ding et al., "RepVGG: Making VGG-style ConvNets Great Again" (2021), section
3.3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.anchors import Anchor, Sides
from pytest_kerasdiff.align.graph import Node
from pytest_kerasdiff.trace import Array

_FOLD_ROUNDING = 2.0**-20
"""Relative difference allowed to a kernel that was folded: sixteen float32 roundings."""

Kernel = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class _Branch:
    """One way of a sum: a convolution, a BatchNorm, one after the other, or neither."""

    convolution: Node | None
    norm: Node | None

    @property
    def primitives(self) -> tuple[int, ...]:
        return tuple(node.outputs[0] for node in (self.convolution, self.norm) if node is not None)


def find(sides: Sides, known: set[int]) -> list[Anchor]:
    """Anchors of sums whose branches are one kernel.

    Args:
        sides: Both sides.
        known: Keras values that have an anchor; a branch that has one is a convolution of its own.
    """
    keras, torch = sides.keras, sides.torch
    anchors = []
    for join in keras.nodes:
        if join.kind != "add":
            continue
        for source in sorted({start for value in join.operands for start in _starts(sides, value)}):
            branches = [_branch(sides, value, source) for value in join.operands]
            ways = [branch for branch in branches if branch is not None]
            inside = sorted({v for branch in ways for v in branch.primitives}, key=keras.order)
            if len(ways) < len(branches) or known.intersection(inside) or not any(b.convolution for b in ways):
                continue
            together = _added([_kernel(sides, branch, source) for branch in ways])
            holders = [
                torch.nodes[i]
                for i, operation in enumerate(sides.candidate.operations)
                if torch.nodes[i].kind == "conv"
                and any(_is_close(sides.candidate.constants[c].array, together) for c in operation.constants)
            ]
            if len(holders) == 1:
                value, taken = holders[0].outputs[0], holders[0].operands
                anchors.append(Anchor(inside[0], join.outputs[0], value, taken, "weights", tuple(inside), True))
    return anchors


def _starts(sides: Sides, value: int) -> Iterator[int]:
    """Values from which a way of a sum may start: its end itself, or what its last BatchNorm and convolution take."""
    yield value
    node = sides.keras.node(value)
    for kind in ("norm", "conv"):
        if node is not None and node.kind == kind:
            yield node.operands[0]
            node = sides.keras.node(node.operands[0])


def _branch(sides: Sides, value: int, source: int) -> _Branch | None:
    """The way from a value to what the branches start from, where it is of the kind that can be added to others."""
    norm = convolution = None
    node = sides.keras.node(value)
    if value != source and node is not None and node.kind == "norm":
        layer = sides.reference.layers[node.owner]
        if layer.class_name != "BatchNormalization" or not any("variance" in name for name in layer.weights):
            return None
        norm, value = node, node.operands[0]
        node = sides.keras.node(value)
    if value == source:
        return _Branch(None, norm)
    if node is None or (node.kind, node.variant) != ("conv", "") or node.operands[0] != source:
        return None
    convolution = node
    config = sides.reference.layers[node.owner].config
    ones = (config.get("strides"), config.get("dilation_rate"), config.get("groups"))
    odd = all(size % 2 for size in _numbers(config.get("kernel_size")))
    plain = config.get("padding") == "same" and all(set(_numbers(n)) == {1} for n in ones)
    return _Branch(convolution, norm) if odd and plain else None


def _kernel(sides: Sides, branch: _Branch, source: int) -> Kernel:
    """(out, in, k…): the convolution's kernel, or that of passing on, times the BatchNorm's factor for each channel."""
    reference = sides.reference
    shape = next(reference.shapes[v] for v in (source, *branch.primitives) if v in reference.shapes)
    if branch.convolution is not None:
        owner = reference.layers[branch.convolution.owner].weight_owner
        name = sides.weights[branch.convolution.outputs[0]][0]
        kernel: Kernel = by_content.canonical("conv", "", reference.weights[owner, name]).astype(np.float64)
    else:
        kernel = np.eye(shape[-1]).reshape(shape[-1], shape[-1], *[1] * (len(shape) - 2))
    if branch.norm is not None:
        layer = reference.layers[branch.norm.owner]
        held = {n.rpartition("/")[2]: array for n, array in reference.weights_of(layer).items()}
        factor = held.get("gamma", np.ones(1)).astype(np.float64) / np.sqrt(
            held["moving_variance"].astype(np.float64) + float(layer.config["epsilon"])
        )
        kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    return kernel


def _added(kernels: Sequence[Kernel]) -> Kernel:
    """Their sum, each in the middle of the largest window; empty where they do not fit."""
    if len({(kernel.ndim, *kernel.shape[:2]) for kernel in kernels}) != 1:
        return np.zeros(0)
    window = [max(sizes) for sizes in zip(*(kernel.shape[2:] for kernel in kernels), strict=True)]
    total = np.zeros((*kernels[0].shape[:2], *window))
    for kernel in kernels:
        around = [(size - own) // 2 for size, own in zip(window, kernel.shape[2:], strict=True)]
        total += np.pad(kernel, [(0, 0), (0, 0), *((n, n) for n in around)])
    return total


def _numbers(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value or 1)]


def _is_close(array: Array, kernel: Kernel) -> bool:
    return array.shape == kernel.shape and bool(
        np.abs(array.astype(np.float64) - kernel).max() <= _FOLD_ROUNDING * np.abs(kernel).max()
    )
