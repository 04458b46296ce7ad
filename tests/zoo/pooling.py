"""Pooling in a plane: what stands beyond the border, how far windows reach, and pooling over everything."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def maximum(k: Any) -> Any:
    x = inputs = k.Input((13, 10, 3))
    x = k.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = k.layers.MaxPooling2D(3, strides=2, padding="same", name="same")(x)
    x = k.layers.MaxPooling2D((1, 2), name="valid")(x)
    x = k.layers.MaxPooling2D(2, padding="same", name="odd")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Maximum(nn.Module):
    """At 13 × 10 and a window of 3 'same' pads rows by (1, 1) and columns by (0, 1), with -inf."""

    def __init__(
        self,
        w: Weights,
        value: float = -torch.inf,
        pad: tuple[int, ...] = (0, 1, 1, 1),
        ceil: bool = True,
        size: Any = (1, 2),
    ) -> None:
        super().__init__()
        self.value, self.pad = value, pad
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.valid = nn.MaxPool2d(size)
        self.odd = nn.MaxPool2d(2, ceil_mode=ceil)
        self.head = nn.Linear(4, 3)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        kernel, bias = w["head"]
        load(self.head, weight=kernel.T, bias=bias)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.pad(self.conv(x), self.pad, value=self.value), 3, 2)
        x = self.odd(self.valid(x))
        return self.head(x.mean(dim=[2, 3]))


def average(k: Any) -> Any:
    x = inputs = k.Input((9, 8, 3))
    x = k.layers.Conv2D(4, 1, activation="relu", name="conv")(x)
    x = k.layers.AveragePooling2D(3, strides=1, padding="same", name="smooth")(x)
    x = k.layers.AveragePooling2D(2, padding="same", name="half")(x)
    x = k.layers.AveragePooling2D((2, 3), strides=(1, 2), name="valid")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(x))


class Average(nn.Module):
    """Keras averages over the pixels that are in the image."""

    def __init__(self, w: Weights, count: bool = False, half: Any = None, stride: tuple[int, int] = (1, 2)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=count)
        self.halve = half or nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.valid = nn.AvgPool2d((2, 3), stride=stride)
        self.last = nn.Conv2d(4, 2, 1)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        load(self.last, weight=w["last"][0].permute(3, 2, 0, 1), bias=w["last"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.smooth(self.conv(x).relu())
        return self.last(self.valid(self.halve(x)))


class Counted(nn.Module):
    """Sums over the window, divided by how many pixels it has in the image: for windows that torch cannot pad so."""

    def __init__(self, pad: tuple[int, ...] = (0, 0, 0, 1)) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        there = F.pad(torch.ones_like(x), self.pad)
        return F.avg_pool2d(F.pad(x, self.pad), 2) / F.avg_pool2d(there, 2)


def whole(k: Any) -> Any:
    x = inputs = k.Input((8, 5, 4))
    x = k.layers.Conv2D(6, 3, name="conv")(x)
    mean = k.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    gate = k.layers.Conv2D(6, 1, activation="sigmoid", name="gate")(mean)
    x = k.layers.Multiply(name="gated")([x, gate])
    most = k.layers.GlobalMaxPooling2D(name="most")(x)
    least = k.layers.GlobalAveragePooling2D(name="least")(x)
    x = k.layers.Concatenate(name="both")([most, least])
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


class Whole(nn.Module):
    """Squeeze and excitation, then both kinds of global pooling."""

    def __init__(self, w: Weights, axes: tuple[int, ...] = (2, 3), both: Any = None) -> None:
        super().__init__()
        self.axes = axes
        self.conv = nn.Conv2d(4, 6, 3)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(12, 3)
        self.both = both or (lambda x: (F.adaptive_max_pool2d(x, 1).flatten(1), x.mean((-2, -1))))
        for name in ("conv", "gate"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        x = x * torch.sigmoid(self.gate(x.mean(self.axes, keepdim=True)))
        return self.head(torch.cat(self.both(x), 1)).softmax(1)


class WholeNhwc(nn.Module):
    """Takes (N, H, W, C) and leaves the channels where they are, but for the convolutions."""

    def __init__(self, w: Weights, axes: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.inner, self.axes = Whole(w), axes

    def forward(self, x: Tensor) -> Any:
        x = self.inner.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        gate = F.linear(x.mean((1, 2)), self.inner.gate.weight.flatten(1), self.inner.gate.bias)
        x = x * gate.sigmoid()[:, None, None, :]
        return self.inner.head(torch.cat([x.amax(self.axes), x.mean((1, 2))], 1)).softmax(1)


def adaptive(k: Any) -> Any:
    x = inputs = k.Input((9, 7, 3))
    x = k.layers.Conv2D(4, 3, name="conv")(x)
    x = k.layers.AdaptiveAveragePooling2D((3, 4), name="average")(x)
    x = k.layers.AdaptiveMaxPooling2D(2, name="most")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Adaptive(nn.Module):
    """torch's own adaptive pooling."""

    def __init__(self, w: Weights, size: tuple[int, int] = (3, 4), kind: Any = nn.AdaptiveMaxPool2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.average = nn.AdaptiveAvgPool2d(size)
        self.most = kind(2)
        self.head = nn.Linear(16, 2)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        return self.head(self.most(self.average(self.conv(x))).permute(0, 2, 3, 1).flatten(1))


CASES = [
    Case(
        "max_pooling2d",
        maximum,
        Maximum,
        {
            "zeros": wrong(lambda w: Maximum(w, value=0.0), "same"),
            "symmetric": wrong(lambda w: Maximum(w, pad=(1, 1, 1, 1)), "same"),
            "window": wrong(lambda w: Maximum(w, size=(2, 1)), "valid"),
            "floor": wrong(lambda w: Maximum(w, ceil=False), "odd"),
        },
    ),
    Case(
        "average_pooling2d",
        average,
        Average,
        {
            "counts_padding": wrong(lambda w: Average(w, count=True), "smooth"),
            "floor": wrong(lambda w: Average(w, half=nn.AvgPool2d(2)), "half"),
            "maximum": wrong(lambda w: Average(w, half=nn.MaxPool2d(2, ceil_mode=True)), "half"),
            "stride": wrong(lambda w: Average(w, stride=(2, 1)), "valid"),
        },
    ),
    Case(
        "average_pooling2d_counted",
        average,
        lambda w: Average(w, half=Counted()),
        {"mirrored": wrong(lambda w: Average(w, half=Counted((0, 0, 1, 0))), "half")},
    ),
    Case(
        "global_pooling2d",
        whole,
        Whole,
        {
            "one_axis": wrong(lambda w: Whole(w, axes=(3,)), "mean"),
            "maximum": wrong(lambda w: Whole(w, both=lambda x: (x.amax((2, 3)), x.amax((2, 3)))), "least"),
            "exchanged": wrong(lambda w: Whole(w, both=lambda x: (x.mean((2, 3)), x.amax((2, 3)))), "both"),
        },
    ),
    Case(
        "global_pooling2d_windows",
        whole,
        lambda w: Whole(w, both=lambda x: (F.max_pool2d(x, (6, 3)).flatten(1), F.avg_pool2d(x, (6, 3)).flatten(1))),
        {
            "window": wrong(
                lambda w: Whole(
                    w, both=lambda x: (F.max_pool2d(x, (5, 3), 6).flatten(1), F.avg_pool2d(x, (6, 3)).flatten(1))
                ),
                "most",
            ),
        },
    ),
    Case(
        "global_pooling2d_nhwc",
        whole,
        WholeNhwc,
        {"wrong_axes": wrong(lambda w: WholeNhwc(w, axes=(2, 3)), "most")},
        suffix=".keras",
    ),
    Case(
        "adaptive_pooling2d",
        adaptive,
        Adaptive,
        {
            "size": wrong(lambda w: Adaptive(w, size=(4, 3)), "average"),
            "average": wrong(lambda w: Adaptive(w, kind=nn.AdaptiveAvgPool2d), "most"),
        },
        loaders=("keras",),
        suffix=".keras",
    ),
]
