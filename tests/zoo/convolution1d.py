"""Convolutions along time: causal padding, (N, L, C) against (N, C, L), and the same thing written in 2-D."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def causal(k: Any) -> Any:
    x = inputs = k.Input((14, 3))
    for i in (1, 2, 4):
        x = k.layers.Conv1D(5, 3, padding="causal", dilation_rate=i, activation="relu", name=f"conv{i}")(x)
    x = k.layers.Conv1D(4, 2, padding="causal", strides=2, use_bias=False, name="down")(x)
    return k.Model(inputs, k.layers.Conv1D(2, 1, activation="sigmoid", name="out")(x))


class Causal(nn.Module):
    """Takes (N, L, C) and works on (N, C, L); each convolution is padded before its first step."""

    def __init__(self, w: Weights, symmetric: int = 0, dilation: int = 4) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.conv1 = nn.Conv1d(3, 5, 3)
        self.conv2 = nn.Conv1d(5, 5, 3, dilation=2)
        self.conv4 = nn.Conv1d(5, 5, 3, dilation=dilation)
        self.down = nn.Conv1d(5, 4, 2, stride=2, bias=False)
        self.out = nn.Conv1d(4, 2, 1)
        load_all(self, w)

    def forward(self, x: Tensor) -> Any:
        x = x.transpose(1, 2)
        for conv in (self.conv1, self.conv2, self.conv4):
            total = 2 * conv.dilation[0]
            half = total // 2 if conv.dilation[0] == self.symmetric else 0
            x = conv(F.pad(x, (total - half, half))).relu()
        x = self.down(F.pad(x, (1, 0)))
        return torch.sigmoid(self.out(x)).transpose(1, 2)


class Chomped(nn.Module):
    """Padded on both sides by the convolution, and the surplus at the end cut off again, as temporal networks do it."""

    def __init__(self, w: Weights, cut_the_end: bool = True) -> None:
        super().__init__()
        self.cut_the_end = cut_the_end
        self.conv1 = nn.Conv1d(3, 5, 3, padding=2)
        self.conv2 = nn.Conv1d(5, 5, 3, padding=4, dilation=2)
        self.conv4 = nn.Conv1d(5, 5, 3, padding=8, dilation=4)
        self.down = nn.Conv1d(5, 4, 2, stride=2, padding=1, bias=False)
        self.out = nn.Conv1d(4, 2, 1)
        load_all(self, w)

    def forward(self, x: Tensor) -> Any:
        x = x.transpose(1, 2)
        for conv in (self.conv1, self.conv2, self.conv4):
            x, surplus = conv(x), 2 * conv.dilation[0]
            keep_the_end = not self.cut_the_end and conv is self.conv2
            x = F.relu(x[:, :, surplus:] if keep_the_end else x[:, :, :-surplus])
        return torch.sigmoid(self.out(self.down(x)[:, :, :-1])).transpose(1, 2)


def load_all(port: nn.Module, w: Weights) -> None:
    """Load every convolution by its name."""
    for name, conv in port.named_children():
        kernel, *bias = w[name]
        load(conv, weight=kernel.permute(2, 1, 0), **({"bias": bias[0]} if bias else {}))


def speech(k: Any) -> Any:
    x = inputs = k.Input((20, 4))
    x = k.layers.Conv1D(6, 4, strides=3, padding="same", activation="relu", name="down")(x)
    x = k.layers.Conv1D(8, 1, use_bias=False, name="point")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.Conv1D(8, 3, padding="same", groups=2, activation="tanh", name="group")(x)
    x = k.layers.GlobalMaxPooling1D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


class Speech(nn.Module):
    """Takes (N, C, L); the kernel of 1 is a linear layer over (N, L, C)."""

    def __init__(self, w: Weights, pad: tuple[int, int] = (1, 1), transposed: bool = True) -> None:
        super().__init__()
        self.pad, self.transposed = pad, transposed
        self.down = nn.Conv1d(4, 6, 4, stride=3)
        self.point = nn.Linear(6, 8, bias=False)
        self.bn = nn.BatchNorm1d(8, eps=1e-3)
        self.group = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 3)
        load(self.down, weight=w["down"][0].permute(2, 1, 0), bias=w["down"][1])
        load(self.point, weight=w["point"][0][0].T)
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.group, weight=w["group"][0].permute(2, 1, 0), bias=w["group"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.down(F.pad(x, self.pad)))
        x = self.bn(self.point(x.transpose(1, 2)).transpose(1, 2))
        x = torch.tanh(self.group(x))
        x = x.max(2).values if self.transposed else x.mean(2)
        return F.softmax(self.head(x), dim=1)


class Image(nn.Module):
    """The same model in 2-D over images of one row; takes (N, L, C)."""

    def __init__(self, w: Weights, pad: tuple[int, int] = (1, 1), flipped: bool = False) -> None:
        super().__init__()
        self.pad, self.flipped = pad, flipped
        self.down = nn.Conv2d(4, 6, (1, 4), stride=(1, 3))
        self.point = nn.Conv2d(6, 8, 1, bias=False)
        self.bn = nn.BatchNorm2d(8, eps=1e-3)
        self.group = nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=2)
        self.head = nn.Linear(8, 3)
        for name in ("down", "point", "group"):
            kernel, *bias = w[name]
            weight = kernel.permute(2, 1, 0).unsqueeze(2)
            load(getattr(self, name), weight=weight, **({"bias": bias[0]} if bias else {}))
        if flipped:
            self.group.weight.data = self.group.weight.data.flip(3)
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = x.permute(0, 2, 1).unsqueeze(2)
        x = self.down(F.pad(x, self.pad)).relu()
        x = torch.tanh(self.group(self.bn(self.point(x))))
        x = F.adaptive_max_pool2d(x, 1).squeeze(3).squeeze(2)
        return torch.softmax(self.head(x), -1)


CASES = [
    Case(
        "conv1d_causal",
        causal,
        Causal,
        {
            "symmetric": wrong(lambda w: Causal(w, symmetric=2), "conv2"),
            "dilation": wrong(lambda w: Causal(w, dilation=3), "conv4"),
        },
    ),
    Case(
        "conv1d_causal_chomped",
        causal,
        Chomped,
        {"cut_the_start": wrong(lambda w: Chomped(w, cut_the_end=False), "conv2")},
    ),
    Case(
        "conv1d_strided",
        speech,
        Speech,
        {
            "padding_side": wrong(lambda w: Speech(w, pad=(0, 2)), "down"),
            "average": wrong(lambda w: Speech(w, transposed=False), "pool"),
        },
    ),
    Case(
        "conv1d_as_conv2d",
        speech,
        Image,
        {
            "padding_side": wrong(lambda w: Image(w, pad=(2, 0)), "down"),
            "flipped": wrong(lambda w: Image(w, flipped=True), "group", "group:weights"),
        },
    ),
]
