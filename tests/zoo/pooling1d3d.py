"""Pooling along time and in space; TensorFlow pools maxima in space in float32 only."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def series(k: Any) -> Any:
    x = inputs = k.Input((17, 3))
    x = k.layers.Conv1D(4, 3, name="conv")(x)
    x = k.layers.MaxPooling1D(3, strides=2, padding="same", name="max")(x)
    x = k.layers.AveragePooling1D(2, strides=1, padding="same", name="smooth")(x)
    x = k.layers.AveragePooling1D(3, name="valid")(x)
    most = k.layers.GlobalMaxPooling1D(keepdims=True, name="most")(x)
    x = k.layers.Subtract(name="below")([x, most])
    x = k.layers.GlobalAveragePooling1D(name="mean")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Series(nn.Module):
    """Takes (N, L, C), works on (N, C, L). 15 steps in windows of 3 at stride 2 are padded by (1, 1)."""

    def __init__(
        self, w: Weights, value: float = -torch.inf, count: bool = False, size: int = 3, mean: bool = False
    ) -> None:
        super().__init__()
        self.value, self.count, self.mean = value, count, mean
        self.conv = nn.Conv1d(3, 4, 3)
        self.valid = nn.AvgPool1d(size, 3)
        self.head = nn.Linear(4, 2)
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool1d(F.pad(self.conv(x.mT), (1, 1), value=self.value), 3, 2)
        x = self.smooth(x)
        x = self.valid(x)
        most = x.mean(2, keepdim=True) if self.mean else x.amax(2, keepdim=True)
        return self.head((x - most).mean(2))

    def smooth(self, x: Tensor) -> Tensor:
        """Two steps; the last window holds one."""
        if self.count:
            return F.avg_pool1d(F.pad(x, (0, 1)), 2, 1)
        return F.avg_pool1d(F.pad(x, (0, 1), mode="replicate"), 2, 1)


class PaddedByTorch(Series):
    """As torch pads: with -inf by itself."""

    def __init__(self, w: Weights, padding: int = 1, stride: int = 2) -> None:
        super().__init__(w)
        self.max = nn.MaxPool1d(3, stride, padding)

    def forward(self, x: Tensor) -> Any:
        x = self.valid(self.smooth(self.max(self.conv(x.mT))))
        return self.head((x - x.max(2, keepdim=True).values).mean(-1))


class StepsFirst(Series):
    """Leaves (N, L, C) as it is behind the convolution, and looks at windows of its own making."""

    def __init__(self, w: Weights, axis: int = 1) -> None:
        super().__init__(w)
        self.axis = axis

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool1d(self.conv(x.mT), 3, 2, 1)
        x = self.valid(self.smooth(x)).mT
        return self.head((x - x.amax(self.axis, keepdim=True)).mean(1))


def adaptive(k: Any) -> Any:
    x = inputs = k.Input((17, 3))
    x = k.layers.AdaptiveMaxPooling1D(7, name="most")(x)
    x = k.layers.AdaptiveAveragePooling1D(3, name="average")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Adaptive(nn.Module):
    """Takes (N, L, C)."""

    def __init__(self, w: Weights, kinds: Any = (F.adaptive_max_pool1d, F.adaptive_avg_pool1d)) -> None:
        super().__init__()
        self.kinds = kinds
        self.head = nn.Linear(3, 2)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        first, second = self.kinds
        return self.head(second(first(x.transpose(1, 2), 7), 3).transpose(1, 2))


def space(k: Any) -> Any:
    x = inputs = k.Input((5, 6, 7, 2))
    x = k.layers.Conv3D(3, 2, name="conv")(x)
    x = k.layers.AveragePooling3D(2, padding="same", name="same")(x)
    x = k.layers.AveragePooling3D((1, 2, 2), strides=1, name="valid")(x)
    most = k.layers.GlobalMaxPooling3D(name="most")(x)
    mean = k.layers.GlobalAveragePooling3D(name="mean")(x)
    x = k.layers.Concatenate(name="both")([most, mean])
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Space(nn.Module):
    """5 rows in windows of 2 leave half a window at the end."""

    def __init__(self, w: Weights, ceil: bool = True, size: Any = (1, 2, 2), most: Any = torch.amax) -> None:
        super().__init__()
        self.most = most
        self.conv = nn.Conv3d(2, 3, 2)
        self.same = nn.AvgPool3d(2, ceil_mode=ceil)
        self.valid = nn.AvgPool3d(size, stride=1)
        self.head = nn.Linear(6, 2)
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.valid(self.same(self.conv(x)))
        most = self.most(x, (2, 3, 4))
        return self.head(torch.cat([most, x.mean((-3, -2, -1))], dim=1))


def maximum(k: Any) -> Any:
    x = inputs = k.Input((5, 6, 4, 2))
    x = k.layers.Conv3D(4, 3, padding="same", activation="tanh", name="conv")(x)
    x = k.layers.MaxPooling3D(2, padding="same", name="same")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.MaxPooling3D((2, 1, 2), strides=1, name="valid")(x)
    x = k.layers.GlobalAveragePooling3D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Maximum(nn.Module):
    """Compared in float32."""

    def __init__(self, w: Weights, value: float = -torch.inf, size: Any = (2, 1, 2), eps: float = 1e-3) -> None:
        super().__init__()
        self.value, self.size = value, size
        self.conv = nn.Conv3d(2, 4, 3, padding=1)
        self.bn = nn.BatchNorm3d(4, eps=eps)
        self.head = nn.Linear(4, 3)
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.pad(self.conv(x).tanh(), (0, 0, 0, 0, 0, 1), value=self.value)
        x = F.max_pool3d(self.bn(F.max_pool3d(x, 2)), self.size, 1)
        return self.head(x.mean((2, 3, 4)))


class ReversedInTime(Maximum):
    """Strides through the padding at the wrong end."""

    def forward(self, x: Tensor) -> Any:
        x = F.pad(self.conv(x).tanh(), (0, 0, 0, 0, 1, 0), value=self.value)
        x = F.max_pool3d(self.bn(F.max_pool3d(x, 2)), self.size, 1)
        return self.head(x.mean((2, 3, 4)))


CASES = [
    Case(
        "pooling1d",
        series,
        Series,
        {
            "zeros": wrong(lambda w: Series(w, value=0.0), "max"),
            "counts_padding": wrong(lambda w: Series(w, count=True), "smooth"),
            "window": wrong(lambda w: Series(w, size=2), "valid"),
            "mean": wrong(lambda w: Series(w, mean=True), "most"),
        },
    ),
    Case(
        "pooling1d_modules",
        series,
        PaddedByTorch,
        {
            "stride": wrong(lambda w: PaddedByTorch(w, stride=1), "max"),
            "padding": wrong(lambda w: PaddedByTorch(w, padding=0), "max"),
        },
        suffix=".keras",
    ),
    Case(
        "pooling1d_steps_first",
        series,
        StepsFirst,
        {"wrong_axis": wrong(lambda w: StepsFirst(w, axis=2), "most")},
    ),
    Case(
        "adaptive_pooling1d",
        adaptive,
        Adaptive,
        {
            "average": wrong(lambda w: Adaptive(w, (F.adaptive_avg_pool1d,) * 2), "most"),
            "maximum": wrong(lambda w: Adaptive(w, (F.adaptive_max_pool1d,) * 2), "average"),
        },
        loaders=("keras",),
    ),
    Case(
        "average_pooling3d",
        space,
        Space,
        {
            "floor": wrong(lambda w: Space(w, ceil=False), "same"),
            "window": wrong(lambda w: Space(w, size=(2, 2, 1)), "valid"),
            "mean": wrong(lambda w: Space(w, most=torch.mean), "most"),
        },
    ),
    Case(
        "max_pooling3d",
        maximum,
        Maximum,
        {
            "zeros": wrong(lambda w: Maximum(w, value=0.0), "same"),
            "mirrored": wrong(ReversedInTime, "same"),
            "window": wrong(lambda w: Maximum(w, size=(2, 2, 1)), "valid"),
            "eps": wrong(lambda w: Maximum(w, eps=1e-5), "bn", "bn:eps"),
        },
    ),
]
