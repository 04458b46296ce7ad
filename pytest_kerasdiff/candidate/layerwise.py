"""Whole layers of Keras without weights, on values in Keras's layout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_kerasdiff.candidate.windowed import flat, pool


def _in_order(values: Sequence[Tensor], orders: Sequence[Tensor]) -> list[Tensor]:
    """Values of a port in Keras's layout: which of their elements stand where."""
    return [torch.take(value, order) for value, order in zip(values, orders, strict=True)]


def _with_channels_first(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of (N, C, …) as one of a value in Keras's layout."""

    def run(values: Sequence[Tensor], orders: Sequence[Tensor], channels_first: bool = False, **how: Any) -> Tensor:
        (x,) = _in_order(values, orders)
        return function(x, **how) if channels_first else function(x.movedim(-1, 1), **how).movedim(1, -1)

    return run


def _border(x: Tensor, pads: Sequence[Sequence[int]]) -> Tensor:
    return F.pad(x, flat(pads))


def _upsample(x: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Source: keras/src/layers/reshaping/up_sampling2d.py; pixels are squares, whose middles are interpolated."""
    if mode == "nearest":
        for axis, times in enumerate(size, 2):
            x = x.repeat_interleave(times, axis)
        return x
    return _resized(x, [n * times for n, times in zip(x.shape[2:], size, strict=True)], mode, False)


def _resized(x: Tensor, size: Sequence[int], mode: str, antialias: bool) -> Tensor:
    if mode == "nearest":
        return F.interpolate(x, list(size), mode="nearest-exact")
    # torch's cubic with antialiasing has Keras's coefficient of -0.5, the one without -0.75.
    smooth = antialias or mode == "bicubic"
    return F.interpolate(x, list(size), mode=mode, align_corners=False, antialias=smooth)


def _resize(x: Tensor, size: Sequence[int], mode: str, antialias: bool, cut: Sequence[Sequence[int]]) -> Tensor:
    return _resized(F.pad(x, [-n for n in flat(cut)]), size, mode, antialias)


def _everything(x: Tensor, kind: str, keepdims: bool) -> Tensor:
    axes = list(range(2, x.dim()))
    return x.amax(axes, keepdim=keepdims) if kind == "max" else x.mean(axes, keepdim=keepdims)


def _adaptive(x: Tensor, kind: str, size: Sequence[int]) -> Tensor:
    functions: Mapping[str, Sequence[Callable[..., Tensor]]] = {
        "max": (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
        "avg": (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    }
    return functions[kind][x.dim() - 3](x, list(size))


def _global(
    values: Sequence[Tensor], orders: Sequence[Tensor], kind: str, keepdims: bool, channels_first: bool
) -> Tensor:
    (x,) = _in_order(values, orders)
    found = _everything(x if channels_first else x.movedim(-1, 1), kind, keepdims)
    return found if channels_first or not keepdims else found.movedim(1, -1)


def _moved(values: Sequence[Tensor], orders: Sequence[Tensor], axes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Axes in another order, then another shape."""
    (x,) = _in_order(values, orders)
    return x.permute(list(axes)).reshape(list(shape)) if axes else x.reshape(list(shape))


def _repeated(values: Sequence[Tensor], orders: Sequence[Tensor], times: int) -> Tensor:
    (x,) = _in_order(values, orders)
    return x.unsqueeze(1).repeat_interleave(times, 1)


def _concatenated(values: Sequence[Tensor], orders: Sequence[Tensor], axis: int) -> Tensor:
    return torch.cat(_in_order(values, orders), axis)


_JOINS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "average": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


def _merged(values: Sequence[Tensor], orders: Sequence[Tensor], kind: str) -> Tensor:
    found = functools.reduce(_JOINS[kind], _in_order(values, orders))
    return found / len(values) if kind == "average" else found


def _dot(values: Sequence[Tensor], orders: Sequence[Tensor], axes: Sequence[int], normalize: bool) -> Tensor:
    """Source: keras/src/layers/merging/dot.py, batch_dot over one axis of each."""
    x, y = _in_order(values, orders)
    if normalize:
        x, y = (v / v.square().sum(a, keepdim=True).clamp_min(1e-12).sqrt() for v, a in ((x, axes[0]), (y, axes[1])))
    x, y = x.movedim(axes[0], -1), y.movedim(axes[1], 1)
    found = torch.stack([torch.tensordot(a, b, dims=([-1], [0])) for a, b in zip(x, y, strict=True)])
    return found.unsqueeze(1) if found.dim() == 1 else found


FORMULAS: Mapping[str, Callable[..., Any]] = {
    "window": _with_channels_first(pool),
    "border": _with_channels_first(_border),
    "upsample": _with_channels_first(_upsample),
    "resize": _with_channels_first(_resize),
    "adaptive": _with_channels_first(_adaptive),
    "global": _global,
    "moved": _moved,
    "repeated": _repeated,
    "concatenated": _concatenated,
    "merged": _merged,
    "dot": _dot,
}
"""Name behind "keras." in a step → function of tensors."""
