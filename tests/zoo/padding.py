"""Layers that add or take away borders."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def border(k: Any) -> Any:
    x = inputs = k.Input((8, 7, 2))
    x = k.layers.ZeroPadding2D(((2, 1), (0, 3)), name="pad")(x)
    x = k.layers.Conv2D(3, 3, strides=2, name="conv")(x)
    x = k.layers.ZeroPadding2D(1, name="frame")(x)
    x = k.layers.Cropping2D(((1, 2), (0, 1)), name="crop")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 2, activation="relu", name="last")(x))


class Border(nn.Module):
    """Functional; a crop is a slice."""

    def __init__(
        self,
        w: Weights,
        pad: tuple[int, ...] = (0, 3, 2, 1),
        crop: tuple[int, int] = (1, 0),
        mode: str = "constant",
        value: float = 0,
    ) -> None:
        super().__init__()
        self.pad, self.crop, self.mode, self.value = pad, crop, mode, value
        self.conv = nn.Conv2d(2, 3, 3, stride=2)
        self.last = nn.Conv2d(3, 2, 2)
        for name in ("conv", "last"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(F.pad(x, self.pad, mode=self.mode))
        x = F.pad(x, (1, 1, 1, 1), value=self.value)
        top, left = self.crop
        x = x[:, :, top : top + 4, left : left + 5]
        return self.last(x).relu()


class Joined(Border):
    """A border is joined to the image as a tensor of zeros."""

    def __init__(self, w: Weights, before: bool = False) -> None:
        super().__init__(w)
        self.before = before

    def forward(self, x: Tensor) -> Any:
        top, below = (torch.zeros_like(x[:, :, :n]) for n in (2, 1))
        x = torch.cat([x, below, top] if self.before else [top, x, below], 2)
        right = torch.zeros_like(x[..., :3])
        x = self.conv(torch.cat([x, right], 3))
        x = F.pad(x, (1, 1, 1, 1))
        return self.last(x[:, :, 1:5, 0:5]).relu()


class BorderModules(nn.Module):
    """Modules; a crop is a negative padding."""

    def __init__(self, w: Weights, crop: Any = (0, -1, -1, -2), frame: int = 1) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 3, 2, 1))
        self.conv = nn.Conv2d(2, 3, 3, stride=2)
        self.frame = nn.ConstantPad2d(frame, 0.0)
        self.crop = nn.ZeroPad2d(crop)
        self.last = nn.Conv2d(3, 2, 2)
        for name in ("conv", "last"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.last(self.crop(self.frame(self.conv(self.pad(x))))))


def absorbed(k: Any) -> Any:
    x = inputs = k.Input((9, 9, 3))
    x = k.layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = k.layers.Conv2D(4, 7, strides=2, use_bias=False, name="stem")(x)
    x = k.layers.BatchNormalization(epsilon=1.001e-5, name="bn")(x)
    x = k.layers.Activation("relu", name="relu")(x)
    x = k.layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = k.layers.MaxPooling2D(3, strides=2, name="pool")(x)
    x = k.layers.Conv2D(3, 1, name="point")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="mean")(x))


class Absorbed(nn.Module):
    """The stem of a ResNet: both paddings are done by their consumers; after a ReLU zeros are as good as -inf."""

    def __init__(self, w: Weights, padding: int = 3, pool: int = 1, first: int = 0) -> None:
        super().__init__()
        self.first = first
        self.stem = nn.Conv2d(3, 4, 7, stride=2, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(4, eps=1.001e-5)
        self.pool = nn.MaxPool2d(3, 2, pool)
        self.point = nn.Conv2d(4, 3, 1)
        load(self.stem, weight=w["stem"][0].permute(3, 2, 0, 1))
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.point, weight=w["point"][0].permute(3, 2, 0, 1), bias=w["point"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x[:, :, self.first :])
        return self.point(self.pool(F.relu(self.bn(x)))).mean((2, 3))


def series(k: Any) -> Any:
    x = inputs = k.Input((10, 3))
    x = k.layers.ZeroPadding1D((3, 1), name="pad")(x)
    x = k.layers.Conv1D(4, 4, activation="tanh", name="conv")(x)
    x = k.layers.Cropping1D((1, 3), name="crop")(x)
    x = k.layers.LSTM(3, name="lstm")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Series(nn.Module):
    """Takes (N, L, C); pads with steps of zeros put in front and behind, crops by ``narrow``."""

    def __init__(self, w: Weights, pad: tuple[int, int] = (3, 1), first: int = 1) -> None:
        super().__init__()
        self.pad, self.first = pad, first
        self.conv = nn.Conv1d(3, 4, 4)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 2)
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        kernel, recurrent, bias = w["lstm"]
        load(self.lstm, weight_ih_l0=kernel.T, weight_hh_l0=recurrent.T, bias_ih_l0=bias, bias_hh_l0=0 * bias)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        before, after = (torch.zeros(len(x), n, 3) for n in self.pad)
        x = torch.cat([before, x, after], dim=1)
        x = torch.tanh(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x = x.narrow(1, self.first, x.shape[1] - 4)
        return self.head(self.lstm(x)[0][:, -1])


class SeriesPadded(Series):
    """The same with ``F.pad`` over (N, L, C), whose last pair but one is time."""

    def forward(self, x: Tensor) -> Any:
        x = F.pad(x, (0, 0, *self.pad))
        x = self.conv(x.permute(0, 2, 1)).tanh()
        x = x[:, :, self.first : x.shape[2] - 4 + self.first]
        _, (hidden, _) = self.lstm(x.permute(0, 2, 1))
        return self.head(hidden[0])


def space(k: Any) -> Any:
    x = inputs = k.Input((3, 4, 5, 2))
    x = k.layers.ZeroPadding3D(((1, 0), (2, 1), (0, 1)), name="pad")(x)
    x = k.layers.Conv3D(3, 2, name="conv")(x)
    x = k.layers.Cropping3D(((1, 0), (0, 2), (1, 1)), name="crop")(x)
    return k.Model(inputs, k.layers.Flatten(name="flat")(x))


class Space(nn.Module):
    """The last axis comes first in torch's list of paddings."""

    def __init__(self, w: Weights, pad: Any = (0, 1, 2, 1, 1, 0), crop: Any = (-1, -1, 0, -2, -1, 0)) -> None:
        super().__init__()
        self.pad, self.crop = nn.ConstantPad3d(pad, 0), crop
        self.conv = nn.Conv3d(2, 3, 2)
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.pad(self.conv(self.pad(x)), self.crop)
        return x.permute(0, 2, 3, 4, 1).reshape(len(x), -1)


CASES = [
    Case(
        "zero_padding2d",
        border,
        Border,
        {
            "mirrored": wrong(lambda w: Border(w, pad=(3, 0, 1, 2)), "pad"),
            "exchanged": wrong(lambda w: Border(w, pad=(2, 1, 0, 3)), "pad"),
            "replicated": wrong(lambda w: Border(w, mode="replicate"), "pad"),
            "value": wrong(lambda w: Border(w, value=1.0), "frame"),
            "crop_side": wrong(lambda w: Border(w, crop=(2, 1)), "crop"),
        },
    ),
    Case(
        "zero_padding2d_joined",
        border,
        lambda w: Joined(w),
        {"side": wrong(lambda w: Joined(w, before=True), "pad")},
    ),
    Case(
        "zero_padding2d_modules",
        border,
        BorderModules,
        {
            "crop_side": wrong(lambda w: BorderModules(w, crop=(-1, 0, -2, -1)), "crop"),
            "frame": wrong(lambda w: BorderModules(w, frame=2), "frame"),
        },
        suffix=".keras",
    ),
    Case(
        "zero_padding2d_absorbed",
        absorbed,
        Absorbed,
        {
            "padding": wrong(lambda w: Absorbed(w, padding=2), "stem"),
            "pool_padding": wrong(lambda w: Absorbed(w, pool=0), "pool_pad"),
            "shifted": wrong(lambda w: Absorbed(w, first=1), "stem"),
        },
        declared=frozenset({"stem_pad", "pool_pad"}),
    ),
    Case(
        "zero_padding1d",
        series,
        Series,
        {
            "mirrored": wrong(lambda w: Series(w, pad=(1, 3)), "pad"),
            "crop_side": wrong(lambda w: Series(w, first=3), "crop"),
        },
    ),
    Case(
        "zero_padding1d_pad",
        series,
        SeriesPadded,
        {
            "mirrored": wrong(lambda w: SeriesPadded(w, pad=(1, 3)), "pad"),
            "crop_side": wrong(lambda w: SeriesPadded(w, first=3), "crop"),
        },
    ),
    Case(
        "zero_padding3d",
        space,
        Space,
        {
            "reversed": wrong(lambda w: Space(w, pad=(1, 0, 2, 1, 0, 1)), "pad"),
            "crop_reversed": wrong(lambda w: Space(w, crop=(-1, 0, 0, -2, -1, -1)), "crop"),
        },
    ),
]
