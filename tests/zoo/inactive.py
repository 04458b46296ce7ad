"""Layers that do nothing in inference: dropout, noise, regularisation; with and without a partner in the port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, dense_model, image_model


def awake(make: Callable[[], nn.Module]) -> Function:
    """A module that ``eval`` of the port does not reach."""
    modules = [make().train()]
    return lambda x: modules[0](x)


def dense(function: Function) -> Port:
    return lambda w: DenseFrame(w, function)


def image(function: Function) -> Port:
    return lambda w: ImageFrame(w, function)


def same(x: Tensor) -> Tensor:
    return x


class Trained(nn.Module):
    """A port that puts itself back into training mode."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner.train()(x)


def case(name: str, layer: Callable[[Any], Any], frame: str, right: Function, **others: tuple[Function, str]) -> Case:
    """Ports with and without a partner of the layer are right; others are wrong at the layers named with them."""
    build, port = (dense_model, dense) if frame == "dense" else (image_model, image)
    model = build(layer, (4, 5)) if frame == "dense" else build(layer)
    return Case(
        f"inactive_{name}", model, port(right), {what: wrong(port(f), faults) for what, (f, faults) in others.items()}
    )


def drop(k: Any) -> Any:
    return k.layers.Dropout(0.5, name="drop")


CASES = [
    case(
        "dropout",
        drop,
        "dense",
        nn.Dropout(0.5),
        active=(awake(lambda: nn.Dropout(0.5)), "drop"),
        scaled=(lambda x: 0.5 * x, "last"),
        relu=(F.relu, "last"),
    ),
    case(
        "dropout_alone",
        drop,
        "dense",
        same,
        functional=(lambda x: F.dropout(x, 0.5), "drop"),
    ),
    case("dropout_functional", drop, "dense", lambda x: F.dropout(x, 0.5, training=False)),
    case(
        "alpha_dropout",
        lambda k: k.layers.AlphaDropout(0.3, name="drop"),
        "dense",
        nn.AlphaDropout(0.3),
        active=(awake(lambda: nn.AlphaDropout(0.3)), "drop"),
    ),
    case(
        "gaussian_dropout",
        lambda k: k.layers.GaussianDropout(0.3, name="drop"),
        "dense",
        same,
        active=(lambda x: x * (1 + 0.1 * torch.randn_like(x)), "last"),
    ),
    case(
        "gaussian_noise",
        lambda k: k.layers.GaussianNoise(0.3, name="drop"),
        "dense",
        same,
        active=(lambda x: x + 0.1 * torch.randn_like(x), "last"),
    ),
    case(
        "activity",
        lambda k: k.layers.ActivityRegularization(0.1, name="drop"),
        "dense",
        nn.Identity(),
        shifted=(lambda x: x + 0.1, "last"),
    ),
    case(
        "spatial_dropout_1",
        lambda k: k.layers.SpatialDropout1D(0.3, name="drop"),
        "dense",
        nn.Dropout1d(0.3),
        active=(awake(lambda: nn.Dropout1d(0.3)), "drop"),
    ),
    case(
        "spatial_dropout_2",
        lambda k: k.layers.SpatialDropout2D(0.3, name="drop"),
        "image",
        nn.Dropout2d(0.3),
        active=(awake(lambda: nn.Dropout2d(0.3)), "drop"),
    ),
    case(
        "identity", lambda k: k.layers.Activation("linear", name="drop"), "image", nn.Identity(), relu=(F.relu, "last")
    ),
    Case(
        "inactive_port",
        dense_model(drop),
        lambda w: DenseFrame(w, nn.Dropout()),
        {"train": wrong(lambda w: Trained(DenseFrame(w, nn.Dropout())), "drop")},
    ),
]
