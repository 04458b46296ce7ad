"""Layers that prepare inputs: rescaling, normalisation by given or adapted statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor

from tests.zoo.case import Case, Port, Weights, wrong
from tests.zoo.frames import Function, conv, linear

MEAN, VARIANCE = (0.5, -1.0, 2.0), (4.0, 0.25, 9.0)


def model(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The layer on images, and a convolution."""

    def build(k: Any) -> Any:
        inputs = k.Input((6, 5, 3))
        return k.Model(inputs, k.layers.Conv2D(2, 3, activation="relu", name="conv")(layer(k)(inputs)))

    return build


class Net(nn.Module):
    def __init__(self, w: Weights, prepare: Function) -> None:
        super().__init__()
        self.conv = conv(*w["conv"])
        self.prepare = prepare

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.prepare(x)))


def port(prepare: Function) -> Port:
    return lambda w: Net(w, prepare)


def channels(values: tuple[float, ...], x: Tensor) -> Tensor:
    return tensor(values).to(x.dtype)[:, None, None]


def normalized(mean: tuple[float, ...] = MEAN, variance: tuple[float, ...] = VARIANCE, power: float = 0.5) -> Port:
    return port(lambda x: (x - channels(mean, x)) / channels(variance, x) ** power)


class Adapted(nn.Module):
    """Statistics as buffers, read from the weights of the Keras layer."""

    def __init__(self, w: Weights, power: float = 0.5, eps: float = 0.0, center: bool = True) -> None:
        super().__init__()
        mean, variance = w["prepare"][:2]
        self.register_buffer("mean", mean.flatten()[:, None, None] * center)
        self.register_buffer("std", (variance.flatten()[:, None, None] + eps) ** power)
        self.conv = conv(*w["conv"])

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.get_buffer("mean")) / self.get_buffer("std")
        return F.relu(self.conv(x))


def adapted(k: Any) -> Any:
    layer = k.layers.Normalization(name="prepare")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (8, 6, 5, 3)).astype(np.float32))
    return layer


def table(layers: Callable[[Any], Any], shape: tuple[int, ...] = (4,), dtype: str = "float32") -> Callable[[Any], Any]:
    """The layers on a table of values, and a dense layer."""

    def build(k: Any) -> Any:
        inputs = k.Input(shape, dtype=dtype)
        return k.Model(inputs, k.layers.Dense(3, name="last")(layers(k)(inputs)))

    return build


class Table(nn.Module):
    def __init__(self, w: Weights, prepare: Function) -> None:
        super().__init__()
        self.last = linear(*w["last"])
        self.prepare = prepare

    def forward(self, x: Tensor) -> Any:
        return self.last(self.prepare(x))


def buckets(*edges: float, right: bool = True) -> Port:
    return lambda w: Table(w, lambda x: torch.bucketize(x, tensor(edges).to(x.dtype), right=right).to(x.dtype))


def discretized(k: Any) -> Any:
    bins, cast = k.layers.Discretization([-0.5, 0.0, 0.75], name="prepare"), k.layers.Rescaling(1.0, name="cast")
    return lambda x: cast(bins(x))


CASES = [
    Case(
        "discretization",
        table(discretized),
        buckets(-0.5, 0.0, 0.75),
        {
            "edge": wrong(buckets(-0.5, 0.05, 0.75), "prepare", "prepare:hyper"),
            "one_lost": wrong(buckets(-0.5, 0.75), "prepare", "prepare:hyper"),
            "border_below": wrong(buckets(-0.5, 0.0, 0.75, right=False), "prepare", "prepare:hyper"),
        },
    ),
    Case(
        "category_encoding",
        table(lambda k: k.layers.CategoryEncoding(5, output_mode="multi_hot", name="prepare"), (3,), "int32"),
        lambda w: Table(w, lambda x: F.one_hot(x.long(), 5).amax(1).float()),
        {
            "counted": wrong(lambda w: Table(w, lambda x: F.one_hot(x.long(), 5).sum(1).float()), "prepare"),
            "shifted": wrong(lambda w: Table(w, lambda x: F.one_hot(x.long() + 1, 5).amax(1).float()), "prepare"),
        },
    ),
    Case(
        "rescaling",
        model(lambda k: k.layers.Rescaling(1 / 127.5, offset=-1, name="prepare")),
        port(lambda x: x / 127.5 - 1),
        {
            "to_1": wrong(port(lambda x: x / 255), "prepare"),
            "no_offset": wrong(port(lambda x: x / 127.5), "prepare"),
            "other_order": wrong(port(lambda x: (x - 1) / 127.5), "prepare"),
            "missing": wrong(port(lambda x: x), "prepare"),
            "twice": wrong(port(lambda x: (x / 127.5 - 1) / 127.5 - 1), "prepare"),
        },
    ),
    Case(
        "rescaling_scale",
        model(lambda k: k.layers.Rescaling(1 / 255, name="prepare")),
        port(lambda x: x * (1 / 255)),
        {
            "missing": wrong(port(lambda x: x), "prepare"),
            "of_256": wrong(port(lambda x: x / 256), "prepare"),
            "twice": wrong(port(lambda x: x / 255 / 255), "prepare"),
        },
    ),
    Case(
        "rescaling_channels",
        model(lambda k: k.layers.Rescaling([0.5, 2.0, 1.5], offset=[1.0, -1.0, 0.25], name="prepare")),
        port(lambda x: x * channels((0.5, 2.0, 1.5), x) + channels((1.0, -1.0, 0.25), x)),
        {
            "reversed": wrong(
                port(lambda x: x * channels((1.5, 2.0, 0.5), x) + channels((1.0, -1.0, 0.25), x)), "prepare"
            ),
            "mean": wrong(port(lambda x: x * 4 / 3 + channels((1.0, -1.0, 0.25), x)), "prepare"),
        },
    ),
    Case(
        "normalization_given",
        model(lambda k: k.layers.Normalization(mean=MEAN, variance=VARIANCE, name="prepare")),
        normalized(),
        {
            "variance": wrong(normalized(power=1), "prepare"),
            "not_centred": wrong(normalized(mean=(0.0, 0.0, 0.0)), "prepare"),
            "one_mean": wrong(normalized(mean=(0.5, 0.5, 0.5)), "prepare"),
            "missing": wrong(port(lambda x: x), "prepare"),
        },
    ),
    Case(
        "normalization_adapted",
        model(adapted),
        Adapted,
        {
            "variance": wrong(functools.partial(Adapted, power=1.0), "prepare"),
            "not_centred": wrong(functools.partial(Adapted, center=False), "prepare"),
            "eps": wrong(functools.partial(Adapted, eps=1e-3), "prepare"),
            "missing": wrong(port(lambda x: x), "prepare"),
        },
    ),
    Case(
        "normalization_inverted",
        model(lambda k: k.layers.Normalization(mean=MEAN, variance=VARIANCE, invert=True, name="prepare")),
        port(lambda x: x * channels(VARIANCE, x).sqrt() + channels(MEAN, x)),
        {"forward": wrong(normalized(), "prepare")},
    ),
]
