"""Depthwise and separable convolutions, most with several kernels for each channel."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def depthwise_weight(kernel: Tensor, order: tuple[int, ...] | None = None) -> Tensor:
    """(k…, in, multiplier) as torch's (in·multiplier, 1, k…)."""
    n = kernel.ndim - 2
    return kernel.permute(order or (n, n + 1, *range(n))).reshape(-1, 1, *kernel.shape[:n])


def mobile(k: Any) -> Any:
    x = inputs = k.Input((13, 10, 3))
    x = k.layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depth")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.ReLU(6.0, name="relu6")(x)
    x = k.layers.Conv2D(8, 1, use_bias=False, name="point")(x)
    x = k.layers.DepthwiseConv2D((2, 3), dilation_rate=2, use_bias=False, activation="relu", name="wide")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(4, name="head")(x))


class Mobile(nn.Module):
    """A block of MobileNet with two kernels for each channel."""

    def __init__(
        self,
        w: Weights,
        order: tuple[int, ...] | None = None,
        pad: tuple[int, ...] = (0, 1, 1, 1),
        dilation: tuple[int, int] = (2, 2),
        shuffled: bool = False,
    ) -> None:
        super().__init__()
        self.pad, self.shuffled = pad, shuffled
        self.depth = nn.Conv2d(3, 6, 3, stride=2, groups=3)
        self.bn = nn.BatchNorm2d(6, eps=1e-3)
        self.point = nn.Conv2d(6, 8, 1, bias=False)
        self.wide = nn.Conv2d(8, 8, (2, 3), dilation=dilation, groups=8, bias=False)
        self.head = nn.Linear(8, 4)
        load(self.depth, weight=depthwise_weight(w["depth"][0], order), bias=w["depth"][1])
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.point, weight=w["point"][0].permute(3, 2, 0, 1))
        load(self.wide, weight=depthwise_weight(w["wide"][0]))
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.relu6(self.bn(self.depth(F.pad(x, self.pad))))
        if self.shuffled:  # the kernels of a channel are neighbours in Keras's output
            x = F.channel_shuffle(x, 3)
        x = self.point(x)
        return self.head(F.relu(self.wide(x)).mean((2, 3)))


def separable(k: Any) -> Any:
    x = inputs = k.Input((9, 12, 3))
    x = k.layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, activation="relu", name="first")(x)
    x = k.layers.SeparableConv2D(6, (4, 2), strides=2, padding="same", use_bias=False, name="second")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


class Separable2d(nn.Module):
    """A depthwise convolution without a bias, then a pointwise one."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, multiplier: int = 1, **more: Any) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs * multiplier, kernel, groups=inputs, bias=False, **more)
        self.pointwise = nn.Conv2d(inputs * multiplier, outputs, 1)
        self.between: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return self.pointwise(self.between(self.depthwise(x)))


class Separable(nn.Module):
    """Two of them; pads where 'same' is not symmetric, which for rows is (1, 2) and for columns (0, 0)."""

    def __init__(self, w: Weights, pad: tuple[int, ...] = (0, 0, 1, 2), order: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.pad = pad
        self.first = Separable2d(3, 8, 3, 2, padding=1)
        self.second = Separable2d(8, 6, (4, 2), stride=2)
        self.second.pointwise.bias = None
        self.bn = nn.BatchNorm2d(6, eps=1e-3)
        self.head = nn.Linear(180, 3)
        depthwise, pointwise, bias = w["first"]
        load(self.first.depthwise, weight=depthwise_weight(depthwise, order))
        load(self.first.pointwise, weight=pointwise.permute(3, 2, 0, 1), bias=bias)
        depthwise, pointwise = w["second"]
        load(self.second.depthwise, weight=depthwise_weight(depthwise))
        load(self.second.pointwise, weight=pointwise.permute(3, 2, 0, 1))
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.first(x).relu()
        x = self.bn(self.second(F.pad(x, self.pad)))
        return self.head(x.permute(0, 2, 3, 1).flatten(1)).softmax(-1)


def relu_between(w: Weights) -> nn.Module:
    port = Separable(w)
    port.first.between = nn.ReLU()
    return port


def along_time(k: Any) -> Any:
    x = inputs = k.Input((15, 4))
    x = k.layers.DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=3, activation="tanh", name="depth")(x)
    x = k.layers.SeparableConv1D(6, 4, padding="same", depth_multiplier=2, activation="relu", name="separable")(x)
    x = k.layers.GlobalAveragePooling1D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class AlongTime(nn.Module):
    """Takes (N, L, C); the pointwise half of the separable convolution is a linear layer."""

    def __init__(
        self, w: Weights, order: tuple[int, ...] | None = None, pad: tuple[int, int] = (1, 2), bias: bool = True
    ) -> None:
        super().__init__()
        self.pad = pad
        self.depth = nn.Conv1d(4, 12, 3, stride=2, padding=1, groups=4)
        self.depthwise = nn.Conv1d(12, 24, 4, groups=12, bias=False)
        self.pointwise = nn.Linear(24, 6)
        self.head = nn.Linear(6, 3)
        load(self.depth, weight=depthwise_weight(w["depth"][0], order), bias=w["depth"][1])
        depthwise, pointwise, own_bias = w["separable"]
        load(self.depthwise, weight=depthwise_weight(depthwise))
        load(self.pointwise, weight=pointwise[0].T, bias=own_bias if bias else 0 * own_bias)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.depth(x.mT).tanh()
        x = self.depthwise(F.pad(x, self.pad)).mT
        return self.head(self.pointwise(x).relu().mean(1))


CASES = [
    Case(
        "depthwise_conv2d",
        mobile,
        Mobile,
        {
            "multiplier_order": wrong(lambda w: Mobile(w, order=(3, 2, 0, 1)), "depth", "depth:weights"),
            "channel_order": wrong(lambda w: Mobile(w, shuffled=True), "point"),
            "symmetric": wrong(lambda w: Mobile(w, pad=(1, 1, 1, 1)), "depth"),
            "dilation": wrong(lambda w: Mobile(w, dilation=(1, 2)), "wide"),
        },
    ),
    Case(
        "separable_conv2d",
        separable,
        Separable,
        {
            "padding_side": wrong(lambda w: Separable(w, pad=(0, 0, 2, 1)), "second"),
            "multiplier_order": wrong(lambda w: Separable(w, order=(3, 2, 0, 1)), "first", "first:weights"),
            "relu_between": wrong(relu_between, "first"),
        },
    ),
    Case(
        "depthwise_and_separable_conv1d",
        along_time,
        AlongTime,
        {
            "multiplier_order": wrong(lambda w: AlongTime(w, order=(2, 1, 0)), "depth", "depth:weights"),
            "padding_side": wrong(lambda w: AlongTime(w, pad=(2, 1)), "separable"),
            "bias_zero": wrong(lambda w: AlongTime(w, bias=False), "separable", "separable:weights"),
        },
    ),
]
