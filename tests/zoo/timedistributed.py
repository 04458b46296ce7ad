"""TimeDistributed over layers and a model: one torch module over all steps, or folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import linear, rnn


def dense(k: Any) -> Any:
    x = inputs = k.Input((None, 5))
    x = k.layers.TimeDistributed(k.layers.Dense(6, activation="relu"), name="each")(x)
    x = k.layers.LSTM(4, return_sequences=True, name="rnn")(x)
    return k.Model(inputs, k.layers.TimeDistributed(k.layers.Dense(3), name="head")(x))


class Dense(nn.Module):
    def __init__(self, w: Weights, act: Callable[[Tensor], Tensor] = F.relu, turned: bool = False) -> None:
        super().__init__()
        kernel, bias = w["head"]
        self.each, self.rnn = linear(w["each"]), rnn(nn.LSTM, w["rnn"])
        self.head = linear([kernel.flip(1) if turned else kernel, bias])
        self.act = act

    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(self.act(self.each(x)))[0])


class Flat(Dense):
    """The steps are folded into the batch."""

    def forward(self, x: Tensor) -> Any:
        n, t, c = x.shape
        x = self.act(self.each(x.reshape(n * t, c))).view(n, t, -1)
        out, _ = self.rnn(x)
        return self.head(out.reshape(n * t, -1)).reshape(n, t, -1)


def frames(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Video of 4 frames: something for each frame, an LSTM over the frames, Dense."""

    def build(k: Any) -> Any:
        x = inputs = k.Input((4, 8, 6, 3))
        x = inner(k)(x)
        return k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.LSTM(4, name="rnn")(x)))

    return build


def convolved(k: Any) -> Any:
    def apply(x: Any) -> Any:
        x = k.layers.TimeDistributed(k.layers.Conv2D(5, 3, 2, padding="same", activation="relu"), name="conv")(x)
        x = k.layers.TimeDistributed(k.layers.MaxPooling2D(2), name="pool")(x)
        return k.layers.TimeDistributed(k.layers.Flatten(), name="flat")(x)

    return apply


class Frames(nn.Module):
    """Frames as further samples of the batch."""

    def __init__(self, w: Weights, conv: str = "conv", pad: tuple[int, ...] = (0, 1, 0, 1), last: bool = True) -> None:
        super().__init__()
        self.conv, self.rnn, self.head = nn.Conv2d(3, 5, 3, stride=2), rnn(nn.LSTM, w["rnn"]), linear(w["head"])
        load(self.conv, weight=w[conv][0].permute(3, 2, 0, 1), bias=w[conv][1])
        self.pad, self.last = pad, last

    def forward(self, x: Tensor) -> Any:
        n, t = x.shape[:2]
        x = x.reshape(n * t, *x.shape[2:]).permute(0, 3, 1, 2)
        x = self.flat(F.relu(self.conv(F.pad(x, self.pad))))
        out, _ = self.rnn(x.reshape(n, t, -1))
        return self.head(out[:, -1])

    def flat(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2)
        return x.permute(0, 2, 3, 1).flatten(1) if self.last else x.flatten(1)


def encoder(k: Any) -> Any:
    """A model over each frame."""
    frame = k.Input((8, 6, 3))
    y = k.layers.Conv2D(5, 3, 2, padding="same", activation="relu", name="conv")(frame)
    return k.layers.TimeDistributed(k.Model(frame, k.layers.GlobalAveragePooling2D(name="pool")(y)), name="each")


class Encoder(Frames):
    def __init__(self, w: Weights, pad: tuple[int, ...] = (0, 1, 0, 1), peak: bool = False) -> None:
        super().__init__(w, "each", pad)
        self.peak = peak

    def flat(self, x: Tensor) -> Tensor:
        return x.amax((2, 3)) if self.peak else x.mean((2, 3))


CASES = [
    Case(
        "timedistributed_dense",
        dense,
        Dense,
        {
            "tanh": wrong(lambda w: Dense(w, torch.tanh), "each", "each:hyper"),
            "columns": wrong(lambda w: Dense(w, turned=True), "head", "head:weights"),
        },
    ),
    Case(
        "timedistributed_flat",
        dense,
        Flat,
        {
            "tanh": wrong(lambda w: Flat(w, torch.tanh), "each", "each:hyper"),
            "columns": wrong(lambda w: Flat(w, turned=True), "head", "head:weights"),
        },
    ),
    Case(
        "timedistributed_conv2d",
        frames(convolved),
        Frames,
        {
            "symmetric": wrong(lambda w: Frames(w, pad=(1, 1, 1, 1)), "conv"),
            "channels_first": wrong(lambda w: Frames(w, last=False), "rnn"),
        },
    ),
    Case(
        "timedistributed_model",
        frames(encoder),
        Encoder,
        {
            "symmetric": wrong(lambda w: Encoder(w, (1, 1, 1, 1)), "each"),
            "peak": wrong(lambda w: Encoder(w, peak=True), "each"),
        },
    ),
]
