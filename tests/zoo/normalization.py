"""Normalisation of samples: over layers, groups, vectors; and of inputs, by given statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, dense_model, image_model, linear


def layer_norm(weights: Sequence[Tensor], eps: float = 1e-3) -> nn.LayerNorm:
    gamma, beta = weights
    made = nn.LayerNorm(tuple(gamma.shape), eps=eps)
    load(made, weight=gamma, bias=beta)
    return made


def by_hand(dims: tuple[int, ...], weights: Sequence[Tensor], eps: float, unbiased: bool = False) -> Function:
    """Normalise over some axes; gamma and beta broadcast as they are."""
    gamma, beta = weights

    def function(x: Tensor) -> Tensor:
        mean = x.mean(dims, keepdim=True)
        var = x.var(dims, unbiased=unbiased, keepdim=True)
        return (x - mean) / torch.sqrt(var + eps) * gamma.to(x) + beta.to(x)

    return function


class Rms(nn.Module):
    """x over its root mean square, times a scale."""

    def __init__(self, weights: Sequence[Tensor], eps: float = 1e-6, outside: bool = False) -> None:
        super().__init__()
        (scale,) = weights
        self.scale, self.eps, self.outside = nn.Parameter(scale), eps, outside

    def forward(self, x: Tensor) -> Tensor:
        mean = x.pow(2).mean(-1, keepdim=True)
        if self.outside:
            return self.scale * (x / (mean.sqrt() + self.eps))
        return self.scale * (x * torch.rsqrt(mean + self.eps))


def rms_norm(weights: Sequence[Tensor], eps: float) -> nn.RMSNorm:
    scale = weights[0]
    made = nn.RMSNorm(scale.numel(), eps=eps)
    load(made, weight=scale)
    return made


def group_norm(groups: int, weights: Sequence[Tensor], eps: float = 1e-3) -> nn.GroupNorm:
    gamma, beta = weights
    made = nn.GroupNorm(groups, gamma.numel(), eps=eps)
    load(made, weight=gamma, bias=beta)
    return made


class Spectral(nn.Module):
    """In inference the kernel is what training left, already divided by its norm."""

    def __init__(self, w: Weights, relu: bool = True, scale: float = 1) -> None:
        super().__init__()
        kernel, bias = (next(t for t in w["first"] if t.ndim == n and len(t) > 1) for n in (2, 1))
        self.first, self.last = linear(kernel * scale, bias), linear(*w["last"])
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.linear(F.relu(x) if self.relu else x, self.last.weight, self.last.bias)


def dense(function: Callable[[Weights], Function]) -> Port:
    return lambda w: DenseFrame(w, function(w))


def image(function: Callable[[Weights], Function]) -> Port:
    return lambda w: ImageFrame(w, function(w))


def channels_last(function: Function) -> Function:
    return lambda x: function(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def spread(weights: list[Tensor]) -> list[Tensor]:
    """(C,) as (C, 1, 1)."""
    return [t[:, None, None] for t in weights]


def group_case(groups: int, other: int) -> Case:
    return Case(
        f"group_norm_{groups}",
        image_model(lambda k: k.layers.GroupNormalization(groups=groups, name="norm")),
        image(lambda w: group_norm(groups, w["norm"])),
        {
            "eps": wrong(image(lambda w: group_norm(groups, w["norm"], 1e-5)), "norm", "norm:eps"),
            "groups": wrong(image(lambda w: group_norm(other, w["norm"])), "norm"),
            "exchanged": wrong(image(lambda w: group_norm(groups, w["norm"][::-1])), "norm"),
        },
    )


CASES = [
    Case(
        "layer_norm",
        dense_model(lambda k: k.layers.LayerNormalization(name="norm")),
        dense(lambda w: layer_norm(w["norm"])),
        {
            "eps": wrong(dense(lambda w: layer_norm(w["norm"], eps=1e-5)), "norm", "norm:eps"),
            "gamma_beta": wrong(dense(lambda w: layer_norm(w["norm"][::-1])), "norm"),
            "missing": wrong(dense(lambda w: lambda x: x), "norm"),
            "unbiased": wrong(dense(lambda w: by_hand((-1,), w["norm"], 1e-3, True)), "norm"),
            "rms": wrong(dense(lambda w: rms_norm(w["norm"], 1e-3)), "norm"),
            "no_affine": wrong(dense(lambda w: lambda x: F.layer_norm(x, (6,), eps=1e-3)), "norm"),
        },
    ),
    Case(
        "layer_norm_by_hand",
        dense_model(lambda k: k.layers.LayerNormalization(epsilon=1e-6, name="norm"), (4, 5)),
        dense(lambda w: by_hand((-1,), w["norm"], 1e-6)),
        {
            "eps": wrong(dense(lambda w: by_hand((-1,), w["norm"], 1e-3)), "norm", "norm:eps"),
            "near_eps": wrong(dense(lambda w: by_hand((-1,), w["norm"], 1.2e-6)), "", "norm:eps"),
            "steps": wrong(dense(lambda w: by_hand((1,), w["norm"], 1e-6)), "norm"),
            "batch": wrong(dense(lambda w: by_hand((0,), w["norm"], 1e-6)), "norm"),
        },
    ),
    Case(
        "layer_norm_steps",
        dense_model(lambda k: k.layers.LayerNormalization(axis=[1, 2], name="norm"), (4, 5)),
        dense(lambda w: layer_norm(w["norm"])),
        {"features": wrong(dense(lambda w: by_hand((2,), w["norm"], 1e-3)), "norm")},
        suffix=".keras",  # Keras 3 itself reads the axes from an .h5 file as -1
    ),
    Case(
        "layer_norm_no_scale",
        dense_model(lambda k: k.layers.LayerNormalization(scale=False, name="norm")),
        dense(lambda w: lambda x: F.layer_norm(x, (6,), None, w["norm"][0].to(x), 1e-3)),
        {"as_gamma": wrong(dense(lambda w: lambda x: F.layer_norm(x, (6,), w["norm"][0].to(x), None, 1e-3)), "norm")},
    ),
    Case(
        "layer_norm_no_center",
        dense_model(lambda k: k.layers.LayerNormalization(center=False, name="norm")),
        dense(lambda w: layer_norm((w["norm"][0], torch.zeros(6)))),
        {"eps": wrong(dense(lambda w: layer_norm((w["norm"][0], torch.zeros(6)), 1e-5)), "norm", "norm:eps")},
    ),
    Case(
        "layer_norm_channels",
        image_model(lambda k: k.layers.LayerNormalization(epsilon=1e-5, name="norm")),
        image(lambda w: channels_last(layer_norm(w["norm"], eps=1e-5))),
        {
            "eps": wrong(image(lambda w: channels_last(layer_norm(w["norm"], eps=1e-6))), "norm", "norm:eps"),
            "one_group": wrong(image(lambda w: group_norm(1, w["norm"], eps=1e-5)), "norm"),
            "first": wrong(image(lambda w: by_hand((0,), spread(w["norm"]), 1e-5)), "norm"),
        },
    ),
    Case(
        "layer_norm_channels_by_hand",
        image_model(lambda k: k.layers.LayerNormalization(name="norm")),
        image(lambda w: by_hand((1,), spread(w["norm"]), 1e-3)),
        {
            "unbiased": wrong(image(lambda w: by_hand((1,), spread(w["norm"]), 1e-3, True)), "norm"),
            "all": wrong(image(lambda w: by_hand((1, 2, 3), spread(w["norm"]), 1e-3)), "norm"),
        },
    ),
    Case(
        "layer_norm_images",
        image_model(lambda k: k.layers.LayerNormalization(axis=[1, 2, 3], name="norm")),
        image(lambda w: layer_norm([t.permute(2, 0, 1) for t in w["norm"]])),
        {
            "eps": wrong(
                image(lambda w: layer_norm([t.permute(2, 0, 1) for t in w["norm"]], 1e-5)), "norm", "norm:eps"
            ),
            "layout": wrong(image(lambda w: layer_norm([t.reshape(4, 5, 4) for t in w["norm"]])), "norm"),
        },
        suffix=".keras",  # Keras 3 itself reads the axes from an .h5 file as -1
    ),
    Case(
        "rms_norm",
        dense_model(lambda k: k.layers.RMSNormalization(name="norm"), (4, 5)),
        dense(lambda w: Rms(w["norm"])),
        {
            "layer_norm": wrong(dense(lambda w: layer_norm((w["norm"][0], torch.zeros(6)), 1e-6)), "norm"),
            "eps": wrong(dense(lambda w: Rms(w["norm"], eps=1e-2)), "norm", "norm:eps"),
            "near_eps": wrong(dense(lambda w: Rms(w["norm"], eps=1.1e-6)), "", "norm:eps"),
            "no_scale": wrong(dense(lambda w: lambda x: F.rms_norm(x, (6,), eps=1e-6)), "norm"),
        },
        loaders=("keras",),
    ),
    Case(
        "rms_norm_module",
        dense_model(lambda k: k.layers.RMSNormalization(epsilon=1e-4, name="norm")),
        dense(lambda w: rms_norm(w["norm"], 1e-4)),
        {
            "eps": wrong(dense(lambda w: rms_norm(w["norm"], 1e-6)), "norm", "norm:eps"),
            "default": wrong(dense(lambda w: rms_norm(w["norm"], 1e-5)), "norm", "norm:eps"),
        },
        loaders=("keras",),
    ),
    group_case(2, 1),
    group_case(1, 2),
    group_case(4, 2),
    Case(
        "group_norm_of_channels",
        image_model(lambda k: k.layers.GroupNormalization(groups=-1, name="norm")),
        image(lambda w: lambda x: F.instance_norm(x, weight=w["norm"][0].to(x), bias=w["norm"][1].to(x), eps=1e-3)),
        {"layer": wrong(image(lambda w: group_norm(1, w["norm"])), "norm")},
    ),
    Case(
        "group_norm_dense",
        dense_model(lambda k: k.layers.GroupNormalization(groups=3, epsilon=1e-2, name="norm")),
        dense(lambda w: group_norm(3, w["norm"], eps=1e-2)),
        {"groups": wrong(dense(lambda w: group_norm(2, w["norm"], eps=1e-2)), "norm")},
    ),
    Case(
        "unit_norm",
        dense_model(lambda k: k.layers.UnitNormalization(name="norm"), (4, 5)),
        dense(lambda w: lambda x: F.normalize(x, dim=-1)),
        {
            "steps": wrong(dense(lambda w: F.normalize), "norm"),
            "first_power": wrong(dense(lambda w: lambda x: F.normalize(x, 1, -1)), "norm"),
            "missing": wrong(dense(lambda w: lambda x: x), "norm"),
        },
    ),
    Case(
        "unit_norm_by_hand",
        image_model(lambda k: k.layers.UnitNormalization(name="norm")),
        image(lambda w: lambda x: x / x.norm(dim=1, keepdim=True)),
        {
            "rows": wrong(image(lambda w: lambda x: x / x.norm(dim=2, keepdim=True)), "norm"),
            "squared": wrong(image(lambda w: lambda x: x / x.square().sum(1, keepdim=True)), "norm"),
            "mean": wrong(image(lambda w: lambda x: x * torch.rsqrt(x.square().mean(1, keepdim=True))), "norm"),
        },
    ),
    Case(
        "spectral_norm_dense",
        lambda k: k.Sequential(
            [
                k.Input((5,)),
                k.layers.SpectralNormalization(k.layers.Dense(6, activation="relu"), name="first"),
                k.layers.Dense(3, name="last"),
            ]
        ),
        Spectral,
        {
            "no_relu": wrong(functools.partial(Spectral, relu=False), "first"),
            "halved": wrong(functools.partial(Spectral, scale=0.5), "first"),
        },
        suffix=".keras",
        loaders=("keras",),
    ),
]
