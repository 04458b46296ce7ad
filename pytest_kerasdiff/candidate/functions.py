"""Activation functions and normalisations of Keras that torch has no operation for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_kerasdiff.candidate import windowed


def relu(self: Tensor, max_value: float | None, negative_slope: float, threshold: float) -> Tensor:
    """Keras's ReLU with all its numbers."""
    above = self if max_value is None else self.clamp(max=max_value)
    return torch.where(self >= threshold, above, negative_slope * (self - threshold))


def prelu(self: Tensor, alpha: Tensor) -> Tensor:
    """A slope for every element under 0."""
    return torch.where(self > 0, self, alpha * self)


def softplus(self: Tensor) -> Tensor:
    """Keras's softplus, which is nowhere replaced by a line."""
    return torch.logaddexp(self, torch.zeros_like(self))


def softsign(self: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return self / (1 + self.abs())


def squareplus(self: Tensor, b: float) -> Tensor:
    """(x + sqrt(x² + b)) / 2."""
    return (self + torch.sqrt(self * self + b)) / 2


def sparse_plus(self: Tensor) -> Tensor:
    """0, a parabola from -1 to 1, x."""
    parabola = 0.25 * (self + 1) ** 2
    return torch.where(self <= -1, torch.zeros_like(self), torch.where(self < 1, parabola, self))


def sparse_sigmoid(self: Tensor) -> Tensor:
    """A line from (-1, 0) to (1, 1), cut off."""
    return (0.5 * (self + 1)).clamp(0, 1)


def hard_sigmoid_2(self: Tensor) -> Tensor:
    """The hard sigmoid of Keras 2, whose slope is 0.2."""
    return (0.2 * self + 0.5).clamp(0, 1)


def tanh_shrink(self: Tensor) -> Tensor:
    """The value less its tanh."""
    return self - torch.tanh(self)


def sparsemax(self: Tensor, dim: int) -> Tensor:
    """Keras's sparsemax, whose threshold sums the sums up to each element of the support.

    Source: keras/src/activations/activations.py.
    """
    ordered = self.sort(dim, descending=True).values
    total = ordered.cumsum(dim)
    shape = [-1 if d == dim % self.ndim else 1 for d in range(self.ndim)]
    rank = torch.arange(1, self.shape[dim] + 1, dtype=self.dtype, device=self.device).view(shape)
    inside = ordered - (total - 1) / rank > 0
    tau = ((total * inside).sum(dim, keepdim=True) - 1) / inside.sum(dim, keepdim=True)
    return (self - tau).clamp(min=0)


def softmax_of(self: Tensor, dims: Sequence[int], log: bool = False) -> Tensor:
    """Softmax over several axes at once."""
    result = self - self.logsumexp(list(dims), keepdim=True)
    return result if log else result.exp()


def normalize(self: Tensor, dims: Sequence[int], eps: float, center: bool = True) -> Tensor:
    """What a layer normalisation does before gamma and beta; without centring, that of a root mean square."""
    if center:
        self = self - self.mean(list(dims), keepdim=True)
    return self * torch.rsqrt((self * self).mean(list(dims), keepdim=True) + eps)


def normalize_groups(self: Tensor, dim: int, groups: int, eps: float) -> Tensor:
    """What a group normalisation does before gamma and beta."""
    moved = self.movedim(dim, 1)
    parts = moved.reshape(moved.shape[0], groups, -1)
    parts = parts - parts.mean(-1, keepdim=True)
    parts = parts * torch.rsqrt((parts * parts).mean(-1, keepdim=True) + eps)
    return parts.reshape(moved.shape).movedim(1, dim)


def unit(self: Tensor, dims: Sequence[int]) -> Tensor:
    """Vectors over their length, as Keras does it."""
    return self * torch.rsqrt((self * self).sum(list(dims), keepdim=True).clamp(min=1e-12))


def pool_along(
    self: Tensor, maximum: bool, size: Sequence[int], strides: Sequence[int], same: bool, dims: Sequence[int]
) -> Tensor:
    """A pooling along some axes, with Keras's padding."""
    moved = self.movedim(list(dims), list(range(-len(dims), 0)))
    lead = moved.shape[: -len(dims)]
    x = moved.reshape(-1, 1, *moved.shape[-len(dims) :])
    pads = []
    for length, window, stride in zip(x.shape[2:], size, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + window - length, 0) if same else 0
        pads.append((total // 2, total - total // 2))
    found = windowed.pool(x, "max" if maximum else "avg", size, strides, pads)
    return found.reshape(*lead, *found.shape[2:]).movedim(list(range(-len(dims), 0)), list(dims))


_ALL: tuple[Callable[..., Any], ...] = (
    *(relu, prelu, softplus, softsign, squareplus, sparse_plus, sparse_sigmoid, hard_sigmoid_2, tanh_shrink, sparsemax),
    *(softmax_of, normalize, normalize_groups, unit, pool_along),
)
FORMULAS: Mapping[str, Callable[..., Any]] = {function.__name__: function for function in _ALL}
"""Name behind "keras." in a step → function of tensors."""
