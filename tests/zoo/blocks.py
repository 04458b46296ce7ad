"""Blocks as people write them: one layer as several operations, several layers as one, values written in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, conv, dense_model, image_model, linear


def dense(function: Callable[[Weights], Function]) -> Port:
    return lambda w: DenseFrame(w, function(w))


def image(function: Function) -> Port:
    return lambda w: ImageFrame(w, function)


def always(function: Function) -> Port:
    return dense(lambda w: function)


def gated(k: Any) -> Any:
    gate, join = k.layers.Activation("sigmoid", name="gate"), k.layers.Multiply(name="join")
    return lambda x: join([x, gate(x)])


def hard_swish(k: Any) -> Any:
    rescale, relu = k.layers.Rescaling(1.0, 3.0, name="shift"), k.layers.ReLU(6.0, name="relu6")
    scale, join = k.layers.Rescaling(1 / 6, name="scale"), k.layers.Multiply(name="join")
    return lambda x: join([x, scale(relu(rescale(x)))])


def twice(k: Any) -> Any:
    act, mix = k.layers.Activation("tanh", name="act"), k.layers.Dense(6, name="mix")
    return lambda x: act(mix(act(x)))


class Twice(nn.Module):
    def __init__(self, w: Weights, first: Function, second: Function) -> None:
        super().__init__()
        self.mix, self.first, self.second = linear(*w["mix"]), first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.mix(self.first(x)))


class Rms(nn.Module):
    """The scale comes first: ``scale * x / rms``."""

    def __init__(self, weights: Sequence[Tensor], eps: float = 1e-6) -> None:
        super().__init__()
        self.scale, self.eps = nn.Parameter(weights[0]), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps)


class GroupNorm(nn.Module):
    """Group normalisation of (N, C, H, W) by view, mean and variance."""

    def __init__(self, weights: Sequence[Tensor], groups: int = 2, eps: float = 1e-3) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(t) for t in weights)
        self.groups, self.eps = groups, eps

    def forward(self, x: Tensor) -> Tensor:
        parts = x.view(x.shape[0], self.groups, -1)
        mean, var = parts.mean(-1, keepdim=True), parts.var(-1, unbiased=False, keepdim=True)
        y = ((parts - mean) / torch.sqrt(var + self.eps)).view_as(x)
        return y * self.gamma[:, None, None] + self.beta[:, None, None]


def residual(k: Any) -> Any:
    inputs = k.Input((6, 5, 4))
    x = k.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.Add(name="add")([inputs, x])
    x = k.layers.ReLU(name="relu")(x)
    y = k.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    y = k.layers.Dense(4, activation="sigmoid", name="squeeze")(y)
    x = k.layers.Multiply(name="excite")([x, y])
    return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(x))


class Residual(nn.Module):
    """In place, with the squeeze as a 1×1 convolution."""

    def __init__(self, w: Weights, order: str = "", gate: Function = torch.sigmoid, eps: float = 1e-3) -> None:
        super().__init__()
        self.conv, self.last, self.order, self.gate = conv(*w["conv"]), conv(*w["last"]), order, gate
        kernel, bias = w["squeeze"]
        self.squeeze = conv(kernel[None, None], bias)
        self.bn = nn.BatchNorm2d(4, eps=eps)
        load(self.bn, **dict(zip(("weight", "bias", "running_mean", "running_var"), w["bn"], strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(F.pad(x, (1, 1, 1, 1))))
        if self.order == "relu first":
            x = x + y.relu_()
        else:
            y += x
            x = y if self.order == "no relu" else y.relu_()
        gate = self.gate(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = x + gate if self.order == "add gate" else x * gate
        return F.conv2d(x, self.last.weight, self.last.bias)


CASES = [
    Case(
        "style_relu6",
        image_model(lambda k: k.layers.ReLU(6.0, name="act")),
        image(lambda x: torch.min(torch.max(x, torch.zeros_like(x)), torch.full_like(x, 6))),
        {
            "at_7": wrong(
                image(lambda x: torch.min(torch.max(x, torch.zeros_like(x)), torch.tensor(7.0))), "", "act:hyper"
            )
        },
    ),
    Case(
        "style_leaky_relu",
        image_model(lambda k: k.layers.LeakyReLU(0.2, name="act")),
        image(lambda x: F.relu(x) - 0.2 * F.relu(-x)),
        {
            "slope": wrong(image(lambda x: F.relu(x) - 0.1 * F.relu(-x)), "act", "act:hyper"),
            "sign": wrong(image(lambda x: F.relu(x) + 0.2 * F.relu(-x)), "act", "act:hyper"),
        },
    ),
    Case(
        "style_masked",
        image_model(lambda k: k.layers.ReLU(name="act")),
        image(lambda x: x.masked_fill(x < 0, 0)),
        {"above": wrong(image(lambda x: x.masked_fill(x > 0, 0)), "act", "act:hyper")},
    ),
    Case(
        "style_gate_as_silu",
        dense_model(gated),
        always(F.silu),
        {
            "gelu": wrong(always(F.gelu), "gate"),
            "tanh": wrong(always(lambda x: x * torch.tanh(x)), "gate", "gate:hyper"),
        },
        declared=frozenset({"gate"}),
    ),
    Case(
        "style_hard_swish",
        dense_model(hard_swish),
        always(lambda x: x * F.relu6(x + 3) / 6),
        {
            "relu": wrong(always(lambda x: x * F.relu(x + 3) / 6), "", "relu6:hyper"),
            "shift": wrong(always(lambda x: x * F.relu6(x + 2) / 6), "shift"),
        },
        declared=frozenset({"scale"}),
    ),
    Case(
        "style_hard_swish_as_one",
        dense_model(hard_swish),
        always(F.hardswish),
        {"silu": wrong(always(F.silu), "shift relu6 scale")},
        declared=frozenset({"shift", "relu6", "scale"}),
    ),
    Case(
        "style_shared_activation",
        dense_model(twice),
        dense(lambda w: Twice(w, torch.tanh, torch.tanh)),
        {
            "first": wrong(dense(lambda w: Twice(w, F.hardtanh, torch.tanh)), "act", "act:hyper"),
            "second": wrong(dense(lambda w: Twice(w, torch.tanh, F.hardtanh)), "act@1", "act@1:hyper"),
            "second_missing": wrong(dense(lambda w: Twice(w, torch.tanh, nn.Identity())), "act@1"),
        },
    ),
    Case(
        "style_rms_norm",
        dense_model(lambda k: k.layers.RMSNormalization(name="norm"), (4, 5)),
        dense(lambda w: Rms(w["norm"])),
        {
            "eps": wrong(dense(lambda w: Rms(w["norm"], 1.1e-6)), "", "norm:eps"),
        },
        loaders=("keras",),
    ),
    Case(
        "style_group_norm",
        image_model(lambda k: k.layers.GroupNormalization(groups=2, name="norm")),
        lambda w: ImageFrame(w, GroupNorm(w["norm"])),
        {
            "groups": wrong(lambda w: ImageFrame(w, GroupNorm(w["norm"], 4)), "norm"),
            "eps": wrong(lambda w: ImageFrame(w, GroupNorm(w["norm"], eps=1e-5)), "norm", "norm:eps"),
        },
    ),
    Case(
        "style_residual",
        residual,
        Residual,
        {
            "relu_first": wrong(functools.partial(Residual, order="relu first"), "add relu"),
            "no_relu": wrong(functools.partial(Residual, order="no relu"), "relu"),
            "add_gate": wrong(functools.partial(Residual, order="add gate"), "excite"),
            "hard_gate": wrong(functools.partial(Residual, gate=F.hardsigmoid), "squeeze", "squeeze:hyper"),
            "no_gate": wrong(functools.partial(Residual, gate=lambda x: x), "squeeze"),
            "eps": wrong(functools.partial(Residual, eps=1e-5), "bn", "bn:eps"),
        },
    ),
    Case(
        "style_float32",
        dense_model(lambda k: k.layers.Activation("gelu", name="act")),
        always(F.gelu),
        {"tanh": wrong(always(lambda x: F.gelu(x, approximate="tanh")), "act", "act:hyper")},
        settings={"precision": "float32"},
    ),
    Case(
        "style_float32_softplus",
        dense_model(lambda k: k.layers.Activation("softplus", name="act")),
        always(lambda x: torch.log(1 + torch.exp(x))),
        {"relu": wrong(always(F.relu), "act", "act:hyper")},
        settings={"precision": "float32"},
    ),
]
