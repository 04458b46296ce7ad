"""Layers that slide a window or change sizes: convolutions, pooling, padding, cropping, upsampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Config = Mapping[str, Any]
Sizes = tuple[int, ...]


def build(kind: str, config: Config, weights: list[Tensor]) -> nn.Module:
    """The port of a layer of this module; its activation is not built here."""
    rank = int(next((c for c in kind if c.isdigit()), "0"))
    if kind.startswith("Separable"):
        depthwise, pointwise, *bias = weights
        first = Convolution(rank, {**config, "use_bias": False}, [depthwise], depthwise=True)
        # The second convolution has one element; stride, dilation and padding are the first one's.
        second = Convolution(rank, {"padding": "valid", "strides": 1, "dilation_rate": 1}, [pointwise, *bias])
        return nn.Sequential(first, second)
    if "Transpose" in kind:
        return Transposed(rank, config, weights)
    if "Conv" in kind:
        return Convolution(rank, config, weights, depthwise=kind.startswith("Depthwise"))
    if "Global" in kind:
        return GlobalPool("Max" in kind, bool(config.get("keepdims")))
    if "Pooling" in kind:
        return Pool("Max" in kind, rank, config)
    if kind.startswith("ZeroPadding"):
        return Padding(pairs(config["padding"], rank))
    if kind.startswith("Cropping"):
        return Cropping(pairs(config["cropping"], rank))
    if kind.startswith("UpSampling"):
        return Upsampling(sizes(config["size"], rank), config.get("interpolation", "nearest"))
    raise NotImplementedError(kind)


def sizes(stated: Any, rank: int) -> Sizes:
    """One number for each spatial axis."""
    if isinstance(stated, int):
        return (stated,) * rank
    given = tuple(int(s) for s in stated)
    return given * rank if len(given) == 1 else given


def pairs(stated: Any, rank: int) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis, from a padding or cropping in any form that Keras stores."""
    if isinstance(stated, int):
        return [(stated, stated)] * rank
    if rank == 1 and all(isinstance(s, int) for s in stated):
        return [(stated[0], stated[1])]
    return [(s, s) if isinstance(s, int) else (int(s[0]), int(s[1])) for s in stated]


def same(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) of Keras's 'same' padding: the odd one comes after."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def flat(sides: Sequence[tuple[int, int]]) -> list[int]:
    """Padding as ``F.pad`` takes it: last axis first."""
    return [side for pair in reversed(sides) for side in pair]


class Convolution(nn.Module):
    """A convolution of any rank, grouped or depthwise.

    Attributes:
        padding: "valid", "same" or "causal".
        shift: Added before and taken away after, on every spatial axis, for faults.
        stride, dilation: One number for each spatial axis.
        phase: First pixel at which the window starts, for faults; 0 is right.
    """

    def __init__(self, rank: int, config: Config, weights: list[Tensor], depthwise: bool = False) -> None:
        super().__init__()
        kernel, *bias = weights
        spatial = tuple(range(kernel.ndim - 2))
        self.rank, self.padding = rank, config["padding"]
        self.stride = sizes(config["strides"], rank)
        self.dilation = sizes(config["dilation_rate"], rank)
        if depthwise:  # (k…, in, multiplier) → (in · multiplier, 1, k…)
            moved = kernel.permute(kernel.ndim - 2, kernel.ndim - 1, *spatial)
            self.groups, moved = kernel.shape[-2], moved.reshape(-1, 1, *kernel.shape[:-2])
        else:
            self.groups = int(config.get("groups", 1))
            moved = kernel.permute(kernel.ndim - 1, kernel.ndim - 2, *spatial)
        self.weight = nn.Parameter(moved.contiguous())
        self.bias = nn.Parameter(bias[0]) if bias else None
        self.shift = 0
        self.phase = 0

    def sides(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Padding of each spatial axis."""
        found = []
        for size, kernel, stride, dilation in zip(
            shape, self.weight.shape[2:], self.stride, self.dilation, strict=True
        ):
            if self.padding == "valid":
                found.append((0, 0))
            elif self.padding == "causal":
                found.append(((kernel - 1) * dilation, 0))
            else:
                found.append(same(size, kernel, stride, dilation))
        return [(before + self.shift, after - self.shift) for before, after in found]

    def forward(self, x: Tensor) -> Tensor:
        sides = self.sides(x.shape[2:])
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        padding = tuple(before for before, _ in sides)
        if any(before != after or before < 0 for before, after in sides):
            x, padding = F.pad(x, flat(sides)), (0,) * self.rank
        if self.phase:
            x = torch.roll(x, [-self.phase] * self.rank, list(range(2, x.ndim)))
        y: Tensor = convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return y


class Transposed(nn.Module):
    """A transposed convolution: the full one, cropped as the gradient of Keras's 'same' convolution is."""

    def __init__(self, rank: int, config: Config, weights: list[Tensor]) -> None:
        super().__init__()
        kernel, *bias = weights
        self.rank, self.padding = rank, config["padding"]
        self.stride = sizes(config["strides"], rank)
        self.dilation = sizes(config["dilation_rate"], rank)
        moved = kernel.permute(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
        self.weight = nn.Parameter(moved.contiguous())
        self.bias = nn.Parameter(bias[0]) if bias else None
        self.shift = 0

    def forward(self, x: Tensor) -> Tensor:
        transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        more, begins, wanted = [], [], []
        for size, kernel, stride, dilation in zip(
            x.shape[2:], self.weight.shape[2:], self.stride, self.dilation, strict=True
        ):
            reach = (kernel - 1) * dilation + 1
            if self.padding == "same":
                wanted.append(size * stride)
                begins.append(max(reach - stride, 0) // 2 + self.shift)
            else:
                wanted.append(size * stride + max(reach - stride, 0))
                begins.append(self.shift)
            more.append(max(0, begins[-1] + wanted[-1] - ((size - 1) * stride + reach)))
        y: Tensor = transposed(x, self.weight, self.bias, self.stride, 0, tuple(more), 1, self.dilation)
        for axis, (begin, size) in enumerate(zip(begins, wanted, strict=True)):
            if begin or y.shape[axis + 2] != size:
                y = y.narrow(axis + 2, begin, size)
        return y


class Pool(nn.Module):
    """Pooling over windows; an average does not count the padding.

    Attributes:
        largest: Maximum, not average.
        counts_padding, symmetric: For faults.
    """

    def __init__(self, largest: bool, rank: int, config: Config) -> None:
        super().__init__()
        self.largest, self.rank, self.padding = largest, rank, config["padding"]
        self.kernel = sizes(config["pool_size"], rank)
        self.stride = sizes(config["strides"] or config["pool_size"], rank)
        self.fill = float("-inf")
        self.counts_padding = False
        self.shift = 0

    def forward(self, x: Tensor) -> Tensor:
        sides = [(0, 0)] * self.rank
        if self.padding == "same":
            sides = [same(*axis) for axis in zip(x.shape[2:], self.kernel, self.stride, strict=True)]
        if self.shift:
            sides = [(before + self.shift, after - self.shift) for before, after in sides]
        padded = any(side for pair in sides for side in pair)
        if self.largest:
            pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.rank - 1]
            x = F.pad(x, flat(sides), value=self.fill) if padded else x
            y: Tensor = pool(x, self.kernel, self.stride)
            return y
        mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.rank - 1]
        if not padded:
            y = mean(x, self.kernel, self.stride)
            return y
        y = mean(F.pad(x, flat(sides)), self.kernel, self.stride)
        if self.counts_padding:
            return y
        inside = F.pad(torch.ones_like(x[:1, :1]), flat(sides))
        return y / mean(inside, self.kernel, self.stride)


class GlobalPool(nn.Module):
    def __init__(self, largest: bool, keepdims: bool) -> None:
        super().__init__()
        self.largest, self.keepdims = largest, keepdims

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(2, x.ndim))
        return x.amax(axes, keepdim=self.keepdims) if self.largest else x.mean(axes, keepdim=self.keepdims)


class Padding(nn.Module):
    def __init__(self, sides: list[tuple[int, int]]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, flat(self.sides))


class Cropping(nn.Module):
    def __init__(self, sides: list[tuple[int, int]]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        cut = [slice(before, size - after) for (before, after), size in zip(self.sides, x.shape[2:], strict=True)]
        return x[(slice(None), slice(None), *cut)]


class Upsampling(nn.Module):
    """Repeated pixels, or pixels between which is interpolated, corners not aligned."""

    def __init__(self, factors: Sizes, mode: str) -> None:
        super().__init__()
        self.factors, self.mode = factors, mode

    def forward(self, x: Tensor) -> Tensor:
        scale = tuple(float(f) for f in self.factors)
        if self.mode == "nearest":
            return F.interpolate(x, scale_factor=scale, mode="nearest")
        linear = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim]
        return F.interpolate(x, scale_factor=scale, mode=linear, align_corners=False)
