"""Keras models that take channels first, which TensorFlow on CPU mostly has no kernels for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong

FIRST = "channels_first"


def classifier(k: Any) -> Any:
    x = inputs = k.Input((3, 11, 8))
    x = k.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, data_format=FIRST, name="stem")(x)
    x = k.layers.BatchNormalization(axis=1, name="bn")(x)
    x = k.layers.ReLU(name="relu")(x)
    x = k.layers.MaxPooling2D(2, padding="same", data_format=FIRST, name="max")(x)
    x = k.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, data_format=FIRST, name="depth")(x)
    x = k.layers.ZeroPadding2D(((1, 0), (0, 1)), data_format=FIRST, name="pad")(x)
    x = k.layers.Conv2D(4, 2, activation="tanh", data_format=FIRST, name="conv")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


class Classifier(nn.Module):
    """Nothing is permuted: both sides flatten (N, C, H, W)."""

    def __init__(
        self,
        w: Weights,
        pad: tuple[int, ...] = (0, 1, 1, 1),
        permuted: bool = False,
        shift: tuple[int, ...] = (0, 1, 1, 0),
    ) -> None:
        super().__init__()
        self.pad, self.permuted, self.shift = pad, permuted, shift
        self.stem = nn.Conv2d(3, 6, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(6, eps=1e-3)
        self.depth = nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.conv = nn.Conv2d(12, 4, 2)
        self.head = nn.Linear(24, 3)
        load(self.stem, weight=w["stem"][0].permute(3, 2, 0, 1))
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.depth, weight=w["depth"][0].permute(2, 3, 0, 1).reshape(12, 1, 3, 3), bias=w["depth"][1])
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn(self.stem(F.pad(x, self.pad))))
        x = self.depth(F.max_pool2d(x, 2, ceil_mode=True))
        x = torch.tanh(self.conv(F.pad(x, self.shift)))
        x = x.permute(0, 2, 3, 1) if self.permuted else x
        return self.head(x.flatten(1)).softmax(1)


def decoder(k: Any) -> Any:
    x = inputs = k.Input((2, 4, 3))
    x = k.layers.Conv2DTranspose(5, 4, strides=2, padding="same", activation="relu", data_format=FIRST, name="up")(x)
    x = k.layers.UpSampling2D((1, 2), data_format=FIRST, name="double")(x)
    x = k.layers.Cropping2D(((1, 0), (2, 1)), data_format=FIRST, name="crop")(x)
    x = k.layers.AveragePooling2D(2, strides=1, padding="same", data_format=FIRST, name="blur")(x)
    x = k.layers.Conv2D(3, 3, padding="same", data_format=FIRST, name="mix")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(data_format=FIRST, name="pool")(x))


class Decoder(nn.Module):
    """Averages over the pixels that are there."""

    def __init__(self, w: Weights, crop: tuple[int, int] = (1, 2), padded: bool = False, flipped: bool = False) -> None:
        super().__init__()
        self.crop, self.padded = crop, padded
        self.up = nn.ConvTranspose2d(2, 5, 4, stride=2, padding=1)
        self.mix = nn.Conv2d(5, 3, 3, padding=1)
        weight = w["up"][0].permute(3, 2, 0, 1)
        load(self.up, weight=weight.flip(2, 3) if flipped else weight, bias=w["up"][1])
        load(self.mix, weight=w["mix"][0].permute(3, 2, 0, 1), bias=w["mix"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.up(x).relu().repeat_interleave(2, dim=3)
        top, left = self.crop
        x = x[:, :, top : top + 7, left : left + 9]
        x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1) if self.padded else mean_of_there(x)
        return self.mix(x).mean((2, 3))


def mean_of_there(x: Tensor) -> Tensor:
    """Sum over the window, divided by how many of its pixels are in the image."""
    ones = F.pad(torch.ones_like(x[:1, :1]), (0, 1, 0, 1))
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1) / F.avg_pool2d(ones, 2, 1)


def series(k: Any) -> Any:
    x = inputs = k.Input((3, 12))
    x = k.layers.Conv1D(4, 3, strides=2, padding="same", activation="relu", data_format=FIRST, name="conv")(x)
    x = k.layers.MaxPooling1D(3, strides=1, data_format=FIRST, name="max")(x)
    x = k.layers.Flatten(data_format=FIRST, name="flat")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Series(nn.Module):
    """Flatten(data_format="channels_first") gives steps first."""

    def __init__(self, w: Weights, pad: tuple[int, int] = (0, 1), steps_first: bool = True) -> None:
        super().__init__()
        self.pad, self.steps_first = pad, steps_first
        self.conv = nn.Conv1d(3, 4, 3, stride=2)
        self.head = nn.Linear(16, 2)
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool1d(self.conv(F.pad(x, self.pad)).relu(), 3, 1)
        return self.head((x.transpose(1, 2) if self.steps_first else x).flatten(1))


CASES = [
    Case(
        "channels_first_classifier",
        classifier,
        Classifier,
        {
            "symmetric": wrong(lambda w: Classifier(w, pad=(1, 1, 1, 1)), "stem"),
            "flatten_order": wrong(lambda w: Classifier(w, permuted=True), "head"),
            "pad_mirrored": wrong(lambda w: Classifier(w, shift=(1, 0, 0, 1)), "pad"),
        },
    ),
    Case(
        "channels_first_decoder",
        decoder,
        Decoder,
        {
            "crop": wrong(lambda w: Decoder(w, crop=(0, 1)), "crop"),
            "counts_padding": wrong(lambda w: Decoder(w, padded=True), "blur"),
            "flipped": wrong(lambda w: Decoder(w, flipped=True), "up", "up:weights"),
        },
    ),
    Case(
        "channels_first_series",
        series,
        Series,
        {
            "symmetric": wrong(lambda w: Series(w, pad=(1, 1)), "conv"),
            "flatten_order": wrong(lambda w: Series(w, steps_first=False), "head"),
        },
    ),
]
