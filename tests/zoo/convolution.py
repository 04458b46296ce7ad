"""Convolutions over one, two and three dimensions: padding, stride, dilation, groups, layouts of kernels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


class Conv2d(nn.Module):
    """A strided 'same' convolution over (9, 8) pixels: Keras pads rows by (1, 1) and columns by (0, 1)."""

    def __init__(self, w: Weights, pad: tuple[int, ...] = (0, 1, 1, 1), order: tuple[int, ...] = (3, 2, 0, 1)) -> None:
        super().__init__()
        kernel, bias = w["conv"]
        self.pad = pad
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        load(self.conv, weight=kernel.permute(order), bias=bias)

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.conv(F.pad(x, self.pad)))


def conv2d(k: Any) -> Any:
    inputs = k.Input((9, 8, 3))
    return k.Model(inputs, k.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="conv")(inputs))


def classifier(k: Any) -> Any:
    x = inputs = k.Input((11, 9, 3))
    x = k.layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.ReLU(name="relu")(x)
    x = k.layers.Conv2D(8, (5, 3), strides=(2, 1), activation="tanh", name="down")(x)
    x = k.layers.Conv2D(4, 1, strides=2, name="point")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="head")(x))


class Classifier(nn.Module):
    """Modules only; ``point`` takes every second pixel, from the first on."""

    def __init__(
        self, w: Weights, stride: tuple[int, int] = (2, 1), first: int = 0, padding_mode: Any = "zeros"
    ) -> None:
        super().__init__()
        self.first = first
        self.stem = nn.Conv2d(3, 6, 3, padding=1, padding_mode=padding_mode, bias=False)
        self.bn = nn.BatchNorm2d(6, eps=1e-3)
        self.down = nn.Conv2d(6, 8, (5, 3), stride=stride)
        self.point = nn.Conv2d(8, 4, 1, stride=2)
        self.head = nn.Linear(4, 5)
        load(self.stem, weight=w["stem"][0].permute(3, 2, 0, 1))
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        for name in ("down", "point"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.tanh(self.down(x))
        x = self.point(x[:, :, self.first :, self.first :])
        return self.head(x.mean((2, 3))).softmax(1)


def no_bias(w: Weights) -> nn.Module:
    port = Classifier(w)
    port.down.bias = None
    return port


def dilated(k: Any) -> Any:
    x = inputs = k.Input((12, 10, 2))
    x = k.layers.Conv2D(4, 3, padding="same", dilation_rate=2, activation="relu", name="wide")(x)
    x = k.layers.Conv2D(4, (4, 2), padding="same", dilation_rate=(1, 3), name="even")(x)
    return k.Model(inputs, k.layers.Conv2D(3, 3, dilation_rate=(3, 2), activation="sigmoid", name="valid")(x))


class Dilated(nn.Module):
    """Functional; an even kernel has the larger padding at the end."""

    def __init__(self, w: Weights, dilation: int = 2, pad: tuple[int, ...] = (1, 2, 1, 2), last: Any = (3, 2)) -> None:
        super().__init__()
        self.dilation, self.pad, self.last = dilation, pad, last
        self.kernels = nn.ParameterList([w[name][0].permute(3, 2, 0, 1) for name in ("wide", "even", "valid")])
        self.biases = nn.ParameterList([w[name][1] for name in ("wide", "even", "valid")])

    def forward(self, x: Tensor) -> Any:
        d = self.dilation
        x = F.relu(F.conv2d(x, self.kernels[0], self.biases[0], padding=d, dilation=d))
        x = F.conv2d(F.pad(x, self.pad), self.kernels[1], self.biases[1], dilation=(1, 3))
        return torch.sigmoid(F.conv2d(x, self.kernels[2], self.biases[2], dilation=self.last))


class DilatedSame(nn.Module):
    """Modules with torch's own 'same', which pads as Keras does at stride 1."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 4, 3, padding="same", dilation=2)
        self.even = nn.Conv2d(4, 4, (4, 2), padding="same", dilation=(1, 3))
        self.valid = nn.Conv2d(4, 3, 3, dilation=(3, 2))
        for name in ("wide", "even", "valid"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        return torch.sigmoid(self.valid(self.even(F.relu(self.wide(x)))))


def grouped(k: Any) -> Any:
    x = inputs = k.Input((8, 8, 4))
    x = k.layers.Conv2D(6, 3, padding="same", groups=2, activation="relu", name="two")(x)
    x = k.layers.Conv2D(6, 3, strides=2, groups=3, use_bias=False, name="three")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 1, name="mix")(x))


class Grouped(nn.Module):
    """Groups of neighbouring channels, as in Keras."""

    def __init__(self, w: Weights, shuffled: bool = False, groups: int = 3) -> None:
        super().__init__()
        self.shuffled = shuffled
        self.two = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.three = nn.Conv2d(6, 6, 3, stride=2, groups=groups, bias=False)
        self.mix = nn.Conv2d(6, 2, 1)
        load(self.two, weight=w["two"][0].permute(3, 2, 0, 1), bias=w["two"][1])
        kernel = w["three"][0].permute(3, 2, 0, 1)
        load(self.three, weight=kernel if groups == 3 else kernel.repeat(1, 3, 1, 1))
        load(self.mix, weight=w["mix"][0].permute(3, 2, 0, 1), bias=w["mix"][1])

    def forward(self, x: Tensor) -> Any:
        if self.shuffled:
            x = F.channel_shuffle(x, 2)
        return self.mix(self.three(self.two(x).relu()))


class GroupByGroup(Grouped):
    """A convolution for each group of the first layer."""

    def __init__(self, w: Weights, exchanged: bool = False) -> None:
        super().__init__(w)
        kernel, whole_bias = w["two"]
        groups = list(zip(kernel.permute(3, 2, 0, 1).chunk(2), whole_bias.chunk(2), strict=True))
        self.groups = nn.ModuleList()
        for weight, bias in groups[:: -1 if exchanged else 1]:
            self.groups.append(nn.Conv2d(2, 3, 3, padding=1))
            load(self.groups[-1], weight=weight, bias=bias)
        del self.two

    def forward(self, x: Tensor) -> Any:
        parts = [group(part) for group, part in zip(self.groups, x.chunk(2, 1), strict=True)]
        return self.mix(self.three(torch.cat(parts, 1).relu()))


def conv3d(k: Any) -> Any:
    x = inputs = k.Input((7, 8, 6, 2))
    x = k.layers.Conv3D(4, 3, strides=2, padding="same", activation="relu", name="down")(x)
    x = k.layers.Conv3D(3, (1, 2, 3), use_bias=False, name="plain")(x)
    x = k.layers.GlobalAveragePooling3D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Conv3d(nn.Module):
    """Odd axes are padded by (1, 1), even ones by (0, 1)."""

    def __init__(self, w: Weights, pad: Any = (0, 1, 0, 1, 1, 1), order: Any = (4, 3, 0, 1, 2)) -> None:
        super().__init__()
        self.pad = nn.ConstantPad3d(pad, 0)
        self.down = nn.Conv3d(2, 4, 3, 2)
        self.plain = nn.Conv3d(4, 3, (1, 2, 3), bias=False)
        self.head = nn.Linear(3, 2)
        load(self.down, weight=w["down"][0].permute(order), bias=w["down"][1])
        load(self.plain, weight=w["plain"][0].permute(4, 3, 0, 1, 2))
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        if x.shape[-1] == 2:
            x = x.permute(0, 4, 1, 2, 3)
        x = self.plain(F.relu(self.down(self.pad(x))))
        return self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))


class Nhwc(nn.Module):
    """Takes (N, H, W, C) and permutes inside."""

    def __init__(self, w: Weights, pad: tuple[int, ...] = (0, 1, 1, 1)) -> None:
        super().__init__()
        self.inner = Conv2d(w, pad)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ChannelsLast(Conv2d):
    """The memory format, not the order of axes."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.to(memory_format=torch.channels_last))


def row(k: Any) -> Any:
    x = inputs = k.Input((16, 1, 3))
    x = k.layers.Conv2D(6, (5, 1), padding="same", activation="relu", name="first")(x)
    x = k.layers.Conv2D(4, (3, 1), strides=(2, 1), name="second")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Row(nn.Module):
    """Conv2D over (H, 1) pixels as one-dimensional convolutions."""

    def __init__(self, w: Weights, ordered: bool = True) -> None:
        super().__init__()
        self.ordered = ordered
        self.first = nn.Conv1d(3, 6, 5, padding=2)
        self.second = nn.Conv1d(6, 4, 3, stride=2)
        self.head = nn.Linear(28, 3)
        for name in ("first", "second"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1).squeeze(3), bias=w[name][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.second(self.first(x.squeeze(3)).relu())
        return self.head((x.transpose(1, 2) if self.ordered else x).flatten(1))


class RowShifted(Row):
    """All of the padding at the end."""

    def forward(self, x: Tensor) -> Any:
        x = F.conv1d(F.pad(x.squeeze(3), (0, 4)), self.first.weight, self.first.bias)
        return self.head(self.second(x.relu()).transpose(1, 2).flatten(1))


CASES = [
    Case(
        "conv2d_same",
        conv2d,
        Conv2d,
        {
            "symmetric": wrong(lambda w: Conv2d(w, (1, 1, 1, 1)), "conv"),
            "mirrored": wrong(lambda w: Conv2d(w, (1, 0, 1, 1)), "conv"),
            "height_width": wrong(lambda w: Conv2d(w, order=(3, 2, 1, 0)), "conv", "conv:weights"),
        },
    ),
    Case(
        "conv2d_nhwc",
        conv2d,
        Nhwc,
        {"symmetric": wrong(lambda w: Nhwc(w, (1, 1, 1, 1)), "conv")},
        suffix=".keras",
    ),
    Case(
        "conv2d_channels_last_memory",
        conv2d,
        ChannelsLast,
        {"symmetric": wrong(lambda w: ChannelsLast(w, (1, 1, 1, 1)), "conv")},
    ),
    Case(
        "conv2d_classifier",
        classifier,
        Classifier,
        {
            "stride": wrong(lambda w: Classifier(w, stride=(1, 1)), "down"),
            "sampling": wrong(lambda w: Classifier(w, first=1), "point"),
            "padding_mode": wrong(lambda w: Classifier(w, padding_mode="reflect"), "stem"),
            "bias_missing": wrong(no_bias, "down", "down:weights"),
        },
    ),
    Case(
        "conv2d_dilated",
        dilated,
        Dilated,
        {
            "dilation": wrong(lambda w: Dilated(w, dilation=1), "wide"),
            "even_padding": wrong(lambda w: Dilated(w, pad=(2, 1, 2, 1)), "even"),
            "dilation_exchanged": wrong(lambda w: Dilated(w, last=(2, 3)), "valid"),
        },
    ),
    Case(
        "conv2d_dilated_same",
        dilated,
        DilatedSame,
    ),
    Case(
        "conv2d_groups",
        grouped,
        Grouped,
        {
            "shuffled": wrong(lambda w: Grouped(w, shuffled=True), "two"),
            "no_groups": wrong(lambda w: Grouped(w, groups=1), "three", "three:weights"),
        },
    ),
    Case(
        "conv2d_group_by_group",
        grouped,
        GroupByGroup,
        {"exchanged": wrong(lambda w: GroupByGroup(w, exchanged=True), "two")},
    ),
    Case(
        "conv3d",
        conv3d,
        Conv3d,
        {
            "symmetric": wrong(lambda w: Conv3d(w, (1, 1, 1, 1, 1, 1)), "down"),
            "depth_width": wrong(lambda w: Conv3d(w, order=(4, 3, 2, 1, 0)), "down", "down:weights"),
        },
    ),
    Case(
        "conv2d_as_conv1d",
        row,
        Row,
        {
            "shifted": wrong(RowShifted, "first"),
            "flatten_order": wrong(lambda w: Row(w, ordered=False), "head"),
        },
    ),
]
