"""Windows as Keras moves them: poolings that leave out what is padded, transposed convolutions that are cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_POOLS: Mapping[str, Sequence[Callable[..., Tensor]]] = {
    "max": (F.max_pool1d, F.max_pool2d, F.max_pool3d),
    "avg": (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
}
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def flat(pads: Sequence[Sequence[int]]) -> list[int]:
    """(before, after) of each axis in the order of ``F.pad``, the last axis first."""
    return [n for pair in list(pads)[::-1] for n in pair]


def pool(self: Tensor, kind: str, size: Sequence[int], stride: Sequence[int], pads: Sequence[Sequence[int]]) -> Tensor:
    """Pool (N, C, …): a maximum beside -inf, a mean over what is in the image."""
    function = _POOLS[kind][len(size) - 1]
    fill = -torch.inf if kind == "max" else 0.0
    found = function(F.pad(self, flat(pads), value=fill), list(size), list(stride))
    if kind == "avg" and any(n for pair in pads for n in pair):
        there = F.pad(torch.ones_like(self[:1, :1]), flat(pads))
        found = found / function(there, list(size), list(stride))
    return found


def transposed(
    self: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    cut: Sequence[Sequence[int]],
) -> Tensor:
    """Transposed convolution of (N, C, …): the full one, cut (or continued by zeros) as Keras does, then the bias."""
    function = _TRANSPOSED[self.dim() - 3]
    full = function(self, weight, None, list(stride), 0, 0, groups, list(dilation))
    found = F.pad(full, [-n for n in flat(cut)])
    return found if bias is None else found + bias.reshape(1, -1, *[1] * (found.dim() - 2))


def convolution(
    self: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pads: Sequence[Sequence[int]],
) -> Tensor:
    """Convolution of (N, C, …) beside zeros."""
    function = (F.conv1d, F.conv2d, F.conv3d)[self.dim() - 3]
    found: Tensor = function(F.pad(self, flat(pads)), weight, bias, list(stride), 0, list(dilation), groups)
    return found


FORMULAS: Mapping[str, Callable[..., Any]] = {"pool": pool, "transposed": transposed, "convolution": convolution}
"""Name behind "keras." in a step → function of tensors."""
