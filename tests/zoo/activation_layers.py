"""Activations that are layers of their own with parameters: slopes, thresholds, alphas, axes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, dense_model, image_model


def image(function: Function) -> Any:
    return lambda w: ImageFrame(w, function)


def bent(slope: float, threshold: float, below: float, greatest: float = math.inf) -> Function:
    """x above the threshold, slope · (x - below) under it."""
    return lambda x: torch.where(x >= threshold, x.clamp(max=greatest), slope * (x - below))


def prelu(w: Weights, change: Function = lambda alpha: alpha) -> ImageFrame:
    (alpha,) = w["act"]
    return ImageFrame(w, load_prelu(change(alpha.flatten())))


def load_prelu(alpha: Tensor) -> nn.PReLU:
    module = nn.PReLU(alpha.numel())
    load(module, weight=alpha)
    return module


class PReLUOfPixels(nn.Module):
    """A slope for every pixel, stored as (C, H, W)."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha = nn.Parameter(alpha)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) - self.alpha * F.relu(-x)


def softmax_over(*dims: int) -> Function:
    def function(x: Tensor) -> Tensor:
        e = torch.exp(x)
        return e / e.sum(dims, keepdim=True)

    return function


def large(model: Any) -> None:
    layer = model.get_layer("first")
    layer.set_weights([5 * array for array in layer.get_weights()])


CASES = [
    Case(
        "relu_layer_6",
        image_model(lambda k: k.layers.ReLU(6.0, name="act")),
        image(nn.ReLU6(inplace=True)),
        {"relu": wrong(image(F.relu), "", "act:hyper"), "inplace": wrong(image(torch.relu_), "", "act:hyper")},
    ),
    Case(
        "relu_layer_6_reached",
        image_model(lambda k: k.layers.ReLU(max_value=6.0, name="act")),
        image(lambda x: torch.clamp(x, 0.0, 6.0)),
        {"relu": wrong(image(F.relu), "act", "act:hyper"), "missing": wrong(image(lambda x: x), "act")},
        prepare=large,
    ),
    Case(
        "relu_layer_bent",
        image_model(lambda k: k.layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.5, name="act")),
        image(bent(0.1, 0.5, 0.5, 2.0)),
        {
            "from_0": wrong(image(bent(0.1, 0.5, 0, 2.0)), "act", "act:hyper"),
            "threshold": wrong(image(lambda x: F.leaky_relu(x, 0.1).clamp(max=2)), "act", "act:hyper"),
            "slope": wrong(image(bent(0.0, 0.5, 0.5, 2.0)), "act", "act:hyper"),
            "greatest": wrong(image(bent(0.1, 0.5, 0.5)), "act", "act:hyper"),
            "relu": wrong(image(nn.ReLU()), "act", "act:hyper"),
        },
    ),
    Case(
        "leaky_relu_layer",
        image_model(lambda k: k.layers.LeakyReLU(name="act")),
        image(nn.LeakyReLU(0.3)),
        {
            "of_torch": wrong(image(nn.LeakyReLU()), "act", "act:hyper"),
            "of_string": wrong(image(lambda x: F.leaky_relu(x, 0.2)), "act", "act:hyper"),
            "relu": wrong(image(lambda x: F.relu_(x)), "act", "act:hyper"),
        },
    ),
    Case(
        "leaky_relu_layer_steps",
        dense_model(lambda k: k.layers.LeakyReLU(0.1, name="act"), (4, 5)),
        lambda w: DenseFrame(w, lambda x: torch.max(x, 0.1 * x)),
        {
            "of_torch": wrong(lambda w: DenseFrame(w, lambda x: torch.max(x, 0.01 * x)), "act", "act:hyper"),
            "min": wrong(lambda w: DenseFrame(w, lambda x: torch.min(x, 0.1 * x)), "act", "act:hyper"),
        },
    ),
    Case(
        "elu_layer",
        image_model(lambda k: k.layers.ELU(0.5, name="act")),
        image(nn.ELU(0.5)),
        {
            "of_torch": wrong(image(F.elu), "act", "act:hyper"),
            "celu": wrong(image(nn.CELU(0.5)), "act", "act:hyper"),
        },
    ),
    Case(
        "prelu_shared",
        image_model(lambda k: k.layers.PReLU(shared_axes=[1, 2], name="act")),
        prelu,
        {
            "one": wrong(lambda w: prelu(w, lambda alpha: alpha.mean()[None]), "act"),
            "reversed": wrong(lambda w: prelu(w, lambda alpha: alpha.flip(0)), "act"),
            "one_element": wrong(
                lambda w: prelu(w, lambda alpha: torch.cat([alpha[:3], alpha[:1]])), "act", "act:weights"
            ),
            "relu": wrong(image(F.relu), "act"),
        },
    ),
    Case(
        "prelu_of_pixels",
        image_model(lambda k: k.layers.PReLU(name="act"), (6, 6)),
        lambda w: ImageFrame(w, PReLUOfPixels(w["act"][0].permute(2, 0, 1))),
        {
            "turned": wrong(lambda w: ImageFrame(w, PReLUOfPixels(w["act"][0].permute(2, 1, 0))), "act"),
            "shared": wrong(lambda w: prelu_mean(w), "act"),
        },
    ),
    Case(
        "prelu_dense",
        dense_model(lambda k: k.layers.PReLU(name="act")),
        lambda w: DenseFrame(w, load_prelu(w["act"][0])),
        {"default": wrong(lambda w: DenseFrame(w, nn.PReLU(6)), "act")},
    ),
    Case(
        "softmax_layer",
        image_model(lambda k: k.layers.Softmax(name="act")),
        image(nn.Softmax(1)),
        {
            "rows": wrong(image(nn.Softmax(2)), "act"),
            "columns": wrong(image(nn.Softmax(-1)), "act"),
            "log": wrong(image(nn.LogSoftmax(1)), "act"),
        },
    ),
    Case(
        "softmax_layer_rows",
        image_model(lambda k: k.layers.Softmax(1, name="act"), (6, 6)),
        image(softmax_over(2)),
        {"columns": wrong(image(softmax_over(3)), "act"), "channels": wrong(image(nn.Softmax2d()), "act")},
    ),
    *(
        Case(
            f"softmax_layer_pixels_{loader}",
            image_model(lambda k: k.layers.Softmax([1, 2], name="act")),
            image(lambda x: x.flatten(2).softmax(-1).view_as(x)),
            {
                "rows": wrong(image(softmax_over(2)), "act"),
                "all": wrong(image(softmax_over(1, 2, 3)), "act"),
                "log": wrong(image(lambda x: x - x.logsumexp((2, 3), keepdim=True)), "act"),
            },
            loaders=(loader,),
            suffix=suffix,  # Keras 3 itself reads the axes from an .h5 file as -1
        )
        for loader, suffix in (("keras", ".keras"), ("tf_keras", ".h5"))
    ),
    Case(
        "thresholded_relu",
        image_model(lambda k: k.layers.ThresholdedReLU(0.7, name="act")),
        image(nn.Threshold(0.7, 0)),
        {
            "relu": wrong(image(F.relu), "act", "act:hyper"),
            "default": wrong(image(lambda x: x * (x > 1)), "act", "act:hyper"),
        },
        loaders=("tf_keras",),
    ),
    Case(
        "layer_as_activation",
        lambda k: k.Sequential(
            [
                k.Input((7, 6, 3)),
                k.layers.Conv2D(4, 3, activation=k.layers.LeakyReLU(0.1), name="first"),
                k.layers.Conv2D(2, 1, name="last"),
            ]
        ),
        image(nn.LeakyReLU(0.1)),
        {
            "slope": wrong(image(nn.LeakyReLU(0.2)), "first", "first:hyper"),
            "missing": wrong(image(lambda x: x), "first"),
        },
    ),
]


def prelu_mean(w: Weights) -> ImageFrame:
    """One slope for each channel where Keras has one for each pixel."""
    return ImageFrame(w, load_prelu(w["act"][0].mean((0, 1))))
