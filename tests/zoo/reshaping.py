"""Layers that only move elements: they are right or wrong in the layer that reads what they made."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def flatten(k: Any) -> Any:
    x = inputs = k.Input((6, 5, 2))
    x = k.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = k.layers.Flatten(name="flat")(x)
    x = k.layers.Dense(6, activation="tanh", name="hidden")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Flatten(nn.Module):
    """Permutes before it flattens."""

    def __init__(self, w: Weights, order: tuple[int, ...] = (0, 2, 3, 1)) -> None:
        super().__init__()
        self.order = order
        self.conv = nn.Conv2d(2, 4, 3)
        self.hidden = nn.Linear(48, 6)
        self.head = nn.Linear(6, 2)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        for name in ("hidden", "head"):
            load(getattr(self, name), weight=w[name][0].T, bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(x))
        return self.head(self.hidden(x.permute(self.order).flatten(1)).tanh())


class Reordered(Flatten):
    """Flattens (N, C, H, W) and has the kernel in that order instead."""

    def __init__(self, w: Weights, sizes: tuple[int, ...] = (4, 3, 4)) -> None:
        super().__init__(w)
        kernel = w["hidden"][0].reshape(*sizes, 6)
        load(self.hidden, weight=kernel.permute(3, 2, 0, 1).reshape(6, 48))

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x).relu().reshape(-1, 48)
        return self.head(torch.tanh(self.hidden(x)))


class AsConvolution(Flatten):
    """Flatten and Dense as a convolution over the whole image."""

    def __init__(self, w: Weights, flipped: bool = False) -> None:
        super().__init__(w)
        self.hidden = nn.Conv2d(4, 6, (4, 3))  # type: ignore[assignment]
        kernel = w["hidden"][0].reshape(4, 3, 4, 6).permute(3, 2, 0, 1)
        load(self.hidden, weight=kernel.flip(2) if flipped else kernel, bias=w["hidden"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.hidden(self.conv(x).relu()).tanh()
        return self.head(x[:, :, 0, 0])


def reshape(k: Any) -> Any:
    x = inputs = k.Input((12,))
    x = k.layers.Dense(60, activation="relu", name="expand")(x)
    x = k.layers.Reshape((4, 3, 5), name="image")(x)
    x = k.layers.Conv2DTranspose(3, 2, strides=2, name="up")(x)
    x = k.layers.Reshape((-1, 9), name="rows")(x)
    x = k.layers.Dense(2, name="each")(x)
    x = k.layers.Reshape((8, 2, 2), name="last")(x)
    return k.Model(inputs, k.layers.Flatten(name="flat")(x))


class Reshape(nn.Module):
    """Back to (N, H, W, C) wherever Keras reshapes."""

    def __init__(self, w: Weights, first: Any = (4, 3, 5), permuted: bool = True) -> None:
        super().__init__()
        self.first, self.permuted = first, permuted
        self.expand = nn.Linear(12, 60)
        self.up = nn.ConvTranspose2d(5, 3, 2, stride=2)
        self.each = nn.Linear(9, 2)
        load(self.expand, weight=w["expand"][0].T, bias=w["expand"][1])
        load(self.up, weight=w["up"][0].permute(3, 2, 0, 1), bias=w["up"][1])
        load(self.each, weight=w["each"][0].T, bias=w["each"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.expand(x).relu()
        x = x.view(-1, 5, 4, 3) if self.first is None else x.view(-1, *self.first).permute(0, 3, 1, 2)
        x = self.up(x)
        x = x.permute(0, 2, 3, 1) if self.permuted else x
        return self.each(x.reshape(len(x), -1, 9)).flatten(1)


def permute(k: Any) -> Any:
    x = inputs = k.Input((6, 4))
    x = k.layers.Conv1D(5, 2, name="conv")(x)
    x = k.layers.Permute((2, 1), name="swap")(x)
    x = k.layers.Dense(3, activation="relu", name="mix")(x)
    x = k.layers.Reshape((5, 3, 1), name="image")(x)
    x = k.layers.Permute((3, 1, 2), name="turn")(x)
    x = k.layers.Conv2D(2, (1, 3), name="last")(x)
    return k.Model(inputs, k.layers.Flatten(name="flat")(x))


class Permute(nn.Module):
    """(N, C, L) is what Permute makes of Keras's (N, L, C): nothing is left to do."""

    def __init__(self, w: Weights, swapped: bool = True, turned: bool = True) -> None:
        super().__init__()
        self.swapped, self.turned = swapped, turned
        self.conv = nn.Conv1d(4, 5, 2)
        self.mix = nn.Linear(5, 3)
        self.last = nn.Conv2d(3, 2, (1, 3))
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        load(self.mix, weight=w["mix"][0].T, bias=w["mix"][1])
        load(self.last, weight=w["last"][0].permute(3, 2, 0, 1), bias=w["last"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x.transpose(1, 2))
        x = self.mix(x if self.swapped else x.transpose(1, 2)).relu()
        x = x.unsqueeze(1)  # Keras's (N, 5, 3, 1) with its last axis first
        x = x.permute(0, 3, 1, 2)  # and now channels first
        return self.last(x).permute(0, 2, 3, 1).flatten(1)


def repeat(k: Any) -> Any:
    x = inputs = k.Input((7, 3))
    x = k.layers.LSTM(4, name="encoder")(x)
    x = k.layers.RepeatVector(5, name="repeat")(x)
    x = k.layers.LSTM(4, return_sequences=True, name="decoder")(x)
    return k.Model(inputs, k.layers.Dense(3, name="each")(x))


class Repeat(nn.Module):
    """An autoencoder of sequences."""

    def __init__(self, w: Weights, how: Any = lambda x: x.unsqueeze(1).repeat(1, 5, 1), last: int = -1) -> None:
        super().__init__()
        self.how, self.last = how, last
        self.encoder = nn.LSTM(3, 4, batch_first=True)
        self.decoder = nn.LSTM(4, 4, batch_first=True)
        self.each = nn.Linear(4, 3)
        for name in ("encoder", "decoder"):
            kernel, recurrent, bias = w[name]
            lstm = getattr(self, name)
            load(lstm, weight_ih_l0=kernel.T, weight_hh_l0=recurrent.T, bias_ih_l0=bias, bias_hh_l0=0 * bias)
        load(self.each, weight=w["each"][0].T, bias=w["each"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.encoder(x)[0][:, self.last]
        return self.each(self.decoder(self.how(x))[0])


def expanded(x: Tensor) -> Tensor:
    return x[:, None].expand(-1, 5, -1)


def shuffled(x: Tensor) -> Tensor:
    """The right shape, the elements in another order."""
    return x.repeat_interleave(5, 1).reshape(-1, 5, 4)


CASES = [
    Case(
        "flatten",
        flatten,
        Flatten,
        {
            "channels_first": wrong(lambda w: Flatten(w, (0, 1, 2, 3)), "hidden"),
            "height_width": wrong(lambda w: Flatten(w, (0, 3, 2, 1)), "hidden"),
        },
    ),
    Case(
        "flatten_reordered",
        flatten,
        Reordered,
        {"sizes": wrong(lambda w: Reordered(w, (4, 4, 3)), "hidden", "hidden:weights")},
        suffix=".keras",
    ),
    Case(
        "flatten_as_convolution",
        flatten,
        AsConvolution,
        {"flipped": wrong(lambda w: AsConvolution(w, flipped=True), "hidden", "hidden:weights")},
    ),
    Case(
        "reshape",
        reshape,
        Reshape,
        {
            "no_permute": wrong(lambda w: Reshape(w, first=None), "image"),
            "height_width": wrong(lambda w: Reshape(w, first=(3, 4, 5)), "image"),
            "channels_first": wrong(lambda w: Reshape(w, permuted=False), "rows"),
        },
    ),
    Case(
        "permute",
        permute,
        Permute,
        {"not_swapped": wrong(lambda w: Permute(w, swapped=False), "mix")},
    ),
    Case(
        "repeat_vector",
        repeat,
        Repeat,
        {
            "shuffled": wrong(lambda w: Repeat(w, shuffled), "repeat"),
            "first_step": wrong(lambda w: Repeat(w, last=0), "encoder"),
        },
    ),
    Case(
        "repeat_vector_expanded",
        repeat,
        lambda w: Repeat(w, expanded),
        {"first_step": wrong(lambda w: Repeat(w, expanded, last=0), "encoder")},
        suffix=".keras",
    ),
]
