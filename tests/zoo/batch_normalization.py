"""Batch normalisation: of one to four dimensions, by hand, folded into its neighbour, with its slots mixed up."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, conv, dense_model, image_model, linear

Four = tuple[Tensor, Tensor, Tensor, Tensor]
_KINDS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def module(dimensions: int, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-3) -> nn.Module:
    """nn.BatchNorm for inputs of so many dimensions."""
    made = _KINDS[dimensions](gamma.numel(), eps=eps)
    load(made, weight=gamma, bias=beta, running_mean=mean, running_var=var)
    return made


def by_hand(gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-3, dim: int = 1) -> Function:
    def function(x: Tensor) -> Tensor:
        shape = [-1 if d == dim else 1 for d in range(x.ndim)]
        g, b, m, v = (t.to(x).view(shape) for t in (gamma, beta, mean, var))
        return (x - m) / torch.sqrt(v + eps) * g + b

    return function


class ByHand(nn.Module):
    """The formula with parameters of its own, on (N, C, …)."""

    def __init__(self, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-3) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(gamma), nn.Parameter(beta)
        self.register_buffer("mean", mean)
        self.register_buffer("var", var)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = self.gamma * torch.rsqrt(self.get_buffer("var") + self.eps)
        shift = self.beta - self.get_buffer("mean") * scale
        shape = (-1, *[1] * (x.ndim - 2))
        return x * scale.view(shape) + shift.view(shape)


def slots(w: Weights, scale: bool = True, center: bool = True) -> Four:
    """(gamma, beta, mean, variance) of the layer ``bn``, ones and zeros where it has none."""
    values = w["bn"]
    size = values[-1].numel()
    gamma = values.pop(0) if scale else torch.ones(size)
    beta = values.pop(0) if center else torch.zeros(size)
    return gamma, beta, values[0], values[1]


def image(change: Any = lambda *four: four, relu: bool = False, in_place: bool = False, **more: Any) -> Port:
    def port(w: Weights) -> nn.Module:
        bn = module(4, *change(*slots(w)), **more)
        if not relu:
            return ImageFrame(w, bn)
        return ImageFrame(w, nn.Sequential(bn, nn.ReLU(inplace=in_place)))

    return port


def dense(change: Any = lambda *four: four, **more: Any) -> Port:
    return lambda w: DenseFrame(w, module(2, *change(*slots(w)), **more))


class Steps(nn.Module):
    """nn.BatchNorm1d on (N, L, C)."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.bn = module(3, *slots(w))

    def forward(self, x: Tensor) -> Any:
        return self.bn(x.transpose(1, 2)).transpose(1, 2)


class Folded(nn.Module):
    """BatchNorm multiplied into the convolution before it."""

    def __init__(self, w: Weights, eps: float = 1e-3, relu: bool = True) -> None:
        super().__init__()
        kernel, *bias = w["first"]
        gamma, beta, mean, var = slots(w)
        factor = gamma / torch.sqrt(var + eps)
        self.first = conv(kernel * factor, beta + ((bias[0] if bias else 0) - mean) * factor)
        self.last = conv(*w["last"])
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.conv2d(F.relu(x) if self.relu else x, self.last.weight, self.last.bias)


class FoldedDense(nn.Module):
    """BatchNorm multiplied into the dense layer before it, or into the one after it."""

    def __init__(self, w: Weights, before: bool, eps: float = 1e-3) -> None:
        super().__init__()
        gamma, beta, mean, var = slots(w)
        factor = gamma / torch.sqrt(var + eps)
        (kernel, bias), (last, last_bias) = w["first"], w["last"]
        if before:
            kernel, bias = kernel * factor, beta + (bias - mean) * factor
        else:
            last, last_bias = last * factor[:, None], last_bias + (beta - mean * factor) @ last
        self.net = nn.Sequential(linear(kernel, bias), linear(last, last_bias))

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


def after_relu(k: Any) -> Any:
    inputs = k.Input((7, 6, 3))
    x = k.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = k.layers.BatchNormalization(name="bn")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(x))


def before_conv(k: Any) -> Any:
    inputs = k.Input((7, 6, 3))
    x = k.layers.BatchNormalization(name="bn")(inputs)
    return k.Model(inputs, k.layers.Conv2D(2, 3, padding="same", name="last")(x))


class BeforeConv(nn.Module):
    def __init__(self, w: Weights, pad_first: bool = False) -> None:
        super().__init__()
        self.bn, self.last = module(4, *slots(w)), conv(*w["last"])
        self.pad_first = pad_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(F.pad(x, (1, 1, 1, 1))) if self.pad_first else F.pad(self.bn(x), (1, 1, 1, 1))
        return F.conv2d(x, self.last.weight, self.last.bias)


def with_relu(k: Any) -> Any:
    bn, relu = k.layers.BatchNormalization(name="bn"), k.layers.ReLU(name="relu")
    return lambda x: relu(bn(x))


def volume(k: Any) -> Any:
    inputs = k.Input((3, 4, 5, 3))
    x = k.layers.BatchNormalization(name="bn")(k.layers.Conv3D(4, 2, name="first")(inputs))
    return k.Model(inputs, k.layers.Flatten(name="flat")(x))


class Volume(nn.Module):
    def __init__(self, w: Weights, eps: float = 1e-3) -> None:
        super().__init__()
        kernel, bias = w["first"]
        self.first, self.bn = nn.Conv3d(3, 4, 2), module(5, *slots(w), eps=eps)
        load(self.first, weight=kernel.permute(4, 3, 0, 1, 2), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.first(x.permute(0, 4, 1, 2, 3)))
        return x.permute(0, 2, 3, 4, 1).flatten(1)


SLOTS = {
    "eps": wrong(image(eps=1e-5), "bn", "bn:eps"),
    "gamma_beta": wrong(image(lambda g, b, m, v: (b, g, m, v)), "bn"),
    "mean_variance": wrong(image(lambda g, b, m, v: (g, b, v, m**2)), "bn"),
    "deviation": wrong(image(lambda g, b, m, v: (g, b, m, v.sqrt())), "bn"),
    "no_statistics": wrong(image(lambda g, b, m, v: (g, b, torch.zeros(4), torch.ones(4))), "bn"),
    "missing": wrong(lambda w: ImageFrame(w, lambda x: x), "bn"),
}

CASES = [
    Case("batch_norm", image_model(lambda k: k.layers.BatchNormalization(name="bn")), image(), SLOTS),
    Case(
        "batch_norm_by_hand",
        image_model(lambda k: k.layers.BatchNormalization(name="bn")),
        lambda w: ImageFrame(w, ByHand(*slots(w))),
        {
            "eps": wrong(lambda w: ImageFrame(w, ByHand(*slots(w), eps=1e-5)), "bn"),
            "no_eps": wrong(lambda w: ImageFrame(w, by_hand(*slots(w), eps=0)), "bn"),
            "formula_eps": wrong(lambda w: ImageFrame(w, by_hand(*slots(w), eps=1e-5)), "bn"),
        },
    ),
    Case(
        "batch_norm_formula",
        image_model(lambda k: k.layers.BatchNormalization(epsilon=1e-5, name="bn")),
        lambda w: ImageFrame(w, by_hand(*slots(w), eps=1e-5)),
        {
            "eps": wrong(image(), "bn", "bn:eps"),
            "variance": wrong(lambda w: ImageFrame(w, by_hand(*slots(w)[:3], slots(w)[3] ** 2, eps=1e-5)), "bn"),
        },
    ),
    Case(
        "batch_norm_relu",
        image_model(with_relu, use_bias=False),
        image(relu=True, in_place=True),
        {
            "eps": wrong(image(relu=True, eps=1e-5), "bn", "bn:eps"),
            "no_relu": wrong(image(), "relu"),
            "functional": wrong(
                lambda w: ImageFrame(
                    w, lambda x: F.relu(F.batch_norm(x, slots(w)[2].double(), slots(w)[3].double(), eps=1e-3))
                ),
                "bn",
            ),
        },
    ),
    Case(
        "batch_norm_after_relu",
        after_relu,
        lambda w: ImageFrame(w, nn.Sequential(nn.ReLU(), module(4, *slots(w)))),
        {
            "before": wrong(lambda w: ImageFrame(w, nn.Sequential(module(4, *slots(w)), nn.ReLU())), "first last"),
            "eps": wrong(
                lambda w: ImageFrame(w, nn.Sequential(nn.ReLU(), module(4, *slots(w), eps=1e-5))), "bn", "bn:eps"
            ),
        },
    ),
    Case(
        "batch_norm_before_conv",
        before_conv,
        BeforeConv,
        {"pad_first": wrong(functools.partial(BeforeConv, pad_first=True), "bn last")},
    ),
    Case(
        "batch_norm_folded",
        image_model(with_relu),
        Folded,
        {
            "eps": wrong(functools.partial(Folded, eps=1e-1), "bn"),
            "no_relu": wrong(functools.partial(Folded, relu=False), "relu"),
        },
        declared=frozenset({"first"}),
    ),
    Case(
        "batch_norm_folded_no_bias",
        image_model(with_relu, use_bias=False),
        Folded,
        {"eps": wrong(functools.partial(Folded, eps=0.0), "bn")},
        declared=frozenset({"first"}),
    ),
    Case(
        "batch_norm_folded_dense",
        dense_model(lambda k: k.layers.BatchNormalization(name="bn")),
        functools.partial(FoldedDense, before=True),
        {"eps": wrong(functools.partial(FoldedDense, before=True, eps=1e-2), "bn")},
        declared=frozenset({"first"}),
    ),
    Case(
        "batch_norm_folded_after",
        dense_model(lambda k: k.layers.BatchNormalization(name="bn")),
        functools.partial(FoldedDense, before=False),
        declared=frozenset({"bn"}),
    ),
    Case(
        "batch_norm_dense",
        dense_model(lambda k: k.layers.BatchNormalization(epsilon=1e-4, name="bn")),
        dense(eps=1e-4),
        {
            "eps": wrong(dense(), "bn", "bn:eps"),
            "far_eps": wrong(dense(eps=1.001e-4), "", "bn:eps"),
            "deviation": wrong(dense(lambda g, b, m, v: (g, b, m, v.sqrt()), eps=1e-4), "bn"),
        },
    ),
    Case(
        "batch_norm_steps",
        dense_model(lambda k: k.layers.BatchNormalization(name="bn"), (4, 5)),
        lambda w: DenseFrame(w, Steps(w)),
        {"formula": wrong(lambda w: DenseFrame(w, by_hand(*slots(w), eps=0.1, dim=2)), "bn")},
    ),
    Case("batch_norm_volume", volume, Volume, {"eps": wrong(functools.partial(Volume, eps=1e-5), "bn", "bn:eps")}),
    Case(
        "batch_norm_no_scale",
        image_model(lambda k: k.layers.BatchNormalization(scale=False, name="bn")),
        lambda w: ImageFrame(w, module(4, *slots(w, scale=False))),
        {"shifted": wrong(lambda w: ImageFrame(w, module(4, w["bn"][0], *slots(w, scale=False)[1:])), "bn")},
    ),
    Case(
        "batch_norm_no_center",
        image_model(lambda k: k.layers.BatchNormalization(center=False, name="bn")),
        lambda w: ImageFrame(w, module(4, *slots(w, center=False))),
        {
            "gamma_as_beta": wrong(
                lambda w: ImageFrame(w, module(4, torch.ones(4), w["bn"][0], w["bn"][1], w["bn"][2])), "bn"
            )
        },
    ),
    Case(
        "batch_norm_bare",
        image_model(lambda k: k.layers.BatchNormalization(center=False, scale=False, name="bn")),
        lambda w: ImageFrame(w, affine_free(w)),
        {"eps": wrong(lambda w: ImageFrame(w, affine_free(w, eps=1e-5)), "bn", "bn:eps")},
    ),
    Case(
        "batch_norm_of_rows",
        image_model(lambda k: k.layers.BatchNormalization(axis=1, name="bn"), (6, 6)),
        lambda w: ImageFrame(w, by_hand(*slots(w), dim=2)),
        {"columns": wrong(lambda w: ImageFrame(w, by_hand(*slots(w), dim=3)), "bn")},
    ),
]


def affine_free(w: Weights, eps: float = 1e-3) -> nn.Module:
    """nn.BatchNorm2d without parameters."""
    mean, var = w["bn"]
    made = nn.BatchNorm2d(mean.numel(), eps=eps, affine=False)
    load(made, running_mean=mean, running_var=var)
    return made
