"""Transposed convolutions: what of the full result Keras keeps, and kernels that are not flipped."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def decoder(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu", name="odd")(x)
    x = k.layers.Conv2DTranspose(6, 4, strides=2, padding="same", use_bias=False, name="even")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.Conv2DTranspose(4, 3, padding="same", activation="tanh", name="plain")(x)
    return k.Model(inputs, k.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="image")(x))


class Decoder(nn.Module):
    """With a kernel of 3, Keras drops the last row and column, torch's padding=1, output_padding=1 the first."""

    def __init__(self, w: Weights, flipped: bool = False, order: tuple[int, ...] = (3, 2, 0, 1)) -> None:
        super().__init__()
        self.odd = nn.ConvTranspose2d(3, 6, 3, stride=2)
        self.even = nn.ConvTranspose2d(6, 6, 4, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6, eps=1e-3)
        self.plain = nn.ConvTranspose2d(6, 4, 3, padding=1)
        self.image = nn.Conv2d(4, 1, 3, padding=1)
        load(self.odd, weight=w["odd"][0].permute(3, 2, 0, 1), bias=w["odd"][1])
        load(self.even, weight=w["even"][0].permute(order))
        gamma, beta, mean, variance = w["bn"]
        load(self.bn, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        plain = w["plain"][0].permute(3, 2, 0, 1)
        load(self.plain, weight=plain.flip(2, 3) if flipped else plain, bias=w["plain"][1])
        load(self.image, weight=w["image"][0].permute(3, 2, 0, 1), bias=w["image"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.bn(self.even(self.up(x).relu()))
        return self.image(self.plain(x).tanh()).sigmoid()

    def up(self, x: Tensor) -> Any:
        """The first layer."""
        return self.odd(x)[:, :, :-1, :-1]


class OutputPadding(Decoder):
    """The usual way to write "twice as large" in torch, which is not Keras's."""

    def up(self, x: Tensor) -> Any:
        return F.conv_transpose2d(x, self.odd.weight, self.odd.bias, 2, padding=1, output_padding=1)


class CutTheStart(Decoder):
    """Drops the first row and column."""

    def up(self, x: Tensor) -> Any:
        return self.odd(x)[:, :, 1:, 1:]


def valid(k: Any) -> Any:
    x = inputs = k.Input((4, 5, 2))
    x = k.layers.Conv2DTranspose(3, (3, 2), strides=3, activation="relu", name="apart")(x)
    x = k.layers.Conv2DTranspose(4, 3, strides=(1, 2), use_bias=False, name="valid")(x)
    x = k.layers.Conv2DTranspose(2, 5, strides=3, padding="same", name="same")(x)
    return k.Model(inputs, k.layers.LeakyReLU(0.25, name="leaky")(x))


class Valid(nn.Module):
    """A kernel smaller than its stride leaves zeros, plus bias, at the end."""

    def __init__(self, w: Weights, stride: tuple[int, int] = (1, 2), padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.apart = nn.ConvTranspose2d(2, 3, (3, 2), stride=3, output_padding=(0, 1))
        self.valid = nn.ConvTranspose2d(3, 4, 3, stride=stride, bias=False)
        self.same = nn.ConvTranspose2d(4, 2, 5, stride=3, padding=padding)
        for name in ("apart", "valid", "same"):
            kernel, *bias = w[name]
            load(getattr(self, name), weight=kernel.permute(3, 2, 0, 1), **({"bias": bias[0]} if bias else {}))

    def forward(self, x: Tensor) -> Any:
        x = self.valid(self.apart(x).relu())
        return F.leaky_relu(self.crop(self.same(x)), 0.25)

    def crop(self, x: Tensor) -> Any:
        """What a padding that is too small leaves over."""
        more = 1 - self.padding
        return x[:, :, 2 * more :, 2 * more :]


class ZerosCut(Valid):
    """Pads the empty column with zeros, after the bias."""

    def forward(self, x: Tensor) -> Any:
        x = F.conv_transpose2d(x, self.apart.weight, self.apart.bias, 3)
        x = self.valid(F.pad(x, (0, 1)).relu())
        return F.leaky_relu(self.same(x), 0.25)


def output_padding(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1, name="same")(x)
    x = k.layers.Conv2DTranspose(3, 4, strides=3, output_padding=(2, 1), activation="relu", name="valid")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="pool")(x))


class WithOutputPadding(nn.Module):
    """An ``output_padding`` of 1 is also what Keras takes by itself for a kernel of 3 at stride 2."""

    def __init__(self, w: Weights, padding: int = 0, more: tuple[int, int] = (2, 1)) -> None:
        super().__init__()
        self.same = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=padding, output_padding=padding)
        self.valid = nn.ConvTranspose2d(4, 3, 4, stride=3, output_padding=more)
        load(self.same, weight=w["same"][0].permute(3, 2, 0, 1), bias=w["same"][1])
        load(self.valid, weight=w["valid"][0].permute(3, 2, 0, 1), bias=w["valid"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.same(x)[:, :, :10, :8]
        return F.relu(self.valid(x)).mean(dim=(2, 3))


def along_time(k: Any) -> Any:
    x = inputs = k.Input((6, 3))
    x = k.layers.Conv1DTranspose(5, 4, strides=2, padding="same", activation="relu", name="up")(x)
    x = k.layers.Conv1DTranspose(4, 5, strides=2, padding="same", name="odd")(x)
    x = k.layers.Conv1DTranspose(2, 3, strides=3, use_bias=False, name="valid")(x)
    return k.Model(inputs, k.layers.Activation("tanh", name="wave")(x))


class AlongTime(nn.Module):
    """Takes (N, L, C). Of a kernel of 5 at stride 2 Keras drops one step before, two after."""

    def __init__(self, w: Weights, cut: tuple[int, int] = (1, -2), flipped: bool = False) -> None:
        super().__init__()
        self.cut = cut
        self.up = nn.ConvTranspose1d(3, 5, 4, stride=2, padding=1)
        self.odd = nn.ConvTranspose1d(5, 4, 5, stride=2)
        self.valid = nn.ConvTranspose1d(4, 2, 3, stride=3, bias=False)
        for name in ("up", "odd", "valid"):
            kernel, *bias = w[name]
            weight = kernel.permute(2, 1, 0)
            weight = weight.flip(2) if flipped and name == "up" else weight
            load(getattr(self, name), weight=weight, **({"bias": bias[0]} if bias else {}))

    def forward(self, x: Tensor) -> Any:
        x = self.up(x.permute(0, 2, 1)).relu()
        first, last = self.cut
        x = self.odd(x)[..., first : last or None]
        return torch.tanh(self.valid(x)).permute(0, 2, 1)


def volume(k: Any) -> Any:
    x = inputs = k.Input((3, 4, 2, 2))
    x = k.layers.Conv3DTranspose(4, 3, strides=2, padding="same", activation="relu", name="up")(x)
    x = k.layers.Conv3DTranspose(3, (2, 1, 3), use_bias=False, name="valid")(x)
    return k.Model(inputs, k.layers.Conv3D(1, 1, name="mix")(x))


class Volume(nn.Module):
    """Crops by a negative padding."""

    def __init__(self, w: Weights, crop: tuple[int, ...] = (0, -1, 0, -1, 0, -1), flipped: bool = False) -> None:
        super().__init__()
        self.crop = crop
        self.up = nn.ConvTranspose3d(2, 4, 3, stride=2)
        self.valid = nn.ConvTranspose3d(4, 3, (2, 1, 3), bias=False)
        self.mix = nn.Conv3d(3, 1, 1)
        load(self.up, weight=w["up"][0].permute(4, 3, 0, 1, 2), bias=w["up"][1])
        weight = w["valid"][0].permute(4, 3, 0, 1, 2)
        load(self.valid, weight=weight.flip(2, 3, 4) if flipped else weight)
        load(self.mix, weight=w["mix"][0].permute(4, 3, 0, 1, 2), bias=w["mix"][1])

    def forward(self, x: Tensor) -> Any:
        return self.mix(self.valid(F.relu(F.pad(self.up(x), self.crop))))


def dilated(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.Conv2DTranspose(4, (3, 2), dilation_rate=2, activation="relu", name="wide")(x)
    x = k.layers.Conv2DTranspose(2, 3, padding="same", dilation_rate=2, use_bias=False, name="same")(x)
    return k.Model(inputs, k.layers.GlobalMaxPooling2D(name="pool")(x))


class Dilated(nn.Module):
    """A dilated kernel of 3 reaches over 5 pixels."""

    def __init__(self, w: Weights, dilation: int = 2, last: int = 2) -> None:
        super().__init__()
        self.wide = nn.ConvTranspose2d(3, 4, (3, 2), dilation=dilation)
        self.same = nn.ConvTranspose2d(4, 2, 3, padding=last, dilation=last, bias=False)
        load(self.wide, weight=w["wide"][0].permute(3, 2, 0, 1), bias=w["wide"][1])
        load(self.same, weight=w["same"][0].permute(3, 2, 0, 1))

    def forward(self, x: Tensor) -> Any:
        return torch.amax(self.same(F.relu(self.wide(x))), (2, 3))


CASES = [
    Case(
        "conv2d_transpose_decoder",
        decoder,
        Decoder,
        {
            "output_padding": wrong(OutputPadding, "odd"),
            "cut_the_start": wrong(CutTheStart, "odd"),
            "flipped": wrong(lambda w: Decoder(w, flipped=True), "plain", "plain:weights"),
            "in_out": wrong(lambda w: Decoder(w, order=(2, 3, 0, 1)), "even", "even:weights"),
        },
    ),
    Case(
        "conv2d_transpose_valid",
        valid,
        Valid,
        {
            "stride": wrong(lambda w: Valid(w, stride=(2, 1)), "valid"),
            "cut_the_start": wrong(lambda w: Valid(w, padding=0), "same"),
            "zeros_for_bias": wrong(ZerosCut, "apart"),
        },
    ),
    Case(
        "conv2d_transpose_output_padding",
        output_padding,
        WithOutputPadding,
        {
            "padding": wrong(lambda w: WithOutputPadding(w, padding=1), "same"),
            "exchanged": wrong(lambda w: WithOutputPadding(w, more=(1, 2)), "valid"),
        },
    ),
    Case(
        "conv2d_transpose_dilated",
        dilated,
        Dilated,
        {
            "valid": wrong(lambda w: Dilated(w, dilation=1), "wide"),
            "same": wrong(lambda w: Dilated(w, last=1), "same"),
        },
    ),
    Case(
        "conv1d_transpose",
        along_time,
        AlongTime,
        {
            "cut": wrong(lambda w: AlongTime(w, cut=(2, -1)), "odd"),
            "flipped": wrong(lambda w: AlongTime(w, flipped=True), "up", "up:weights"),
        },
    ),
    Case(
        "conv3d_transpose",
        volume,
        Volume,
        {
            "cut_the_start": wrong(lambda w: Volume(w, (-1, 0, -1, 0, -1, 0)), "up"),
            "flipped": wrong(lambda w: Volume(w, flipped=True), "valid", "valid:weights"),
        },
    ),
]
