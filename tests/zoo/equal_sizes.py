"""Axes of equal sizes, and axes of one position: shapes alone do not say which is which."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def cube(k: Any) -> Any:
    x = inputs = k.Input((4, 4, 4))
    x = k.layers.Conv2D(4, (3, 2), padding="same", name="conv")(x)
    x = k.layers.MaxPooling2D((2, 1), strides=1, padding="same", name="pool")(x)
    x = k.layers.Conv2D(4, 1, activation="relu", name="point")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Cube(nn.Module):
    """Takes channels first."""

    def __init__(
        self,
        w: Weights,
        weights: tuple[int, ...] = (3, 2, 0, 1),
        flat: tuple[int, ...] = (0, 2, 3, 1),
        size: Any = (2, 1),
    ) -> None:
        super().__init__()
        self.flat, self.size = flat, size
        self.conv = nn.Conv2d(4, 4, (3, 2))
        self.point = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(64, 2)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        load(self.point, weight=w["point"][0].permute(weights), bias=w["point"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(F.pad(x, (0, 1, 1, 1)))
        x = F.max_pool2d(F.pad(x, (0, self.size[1] - 1, 0, self.size[0] - 1), value=-torch.inf), self.size, 1)
        x = F.relu(self.point(x))
        return self.head(x.permute(self.flat).flatten(1))


class CubeNhwc(nn.Module):
    """Takes (N, H, W, C)."""

    def __init__(self, w: Weights, order: tuple[int, ...] = (0, 3, 1, 2), **more: Any) -> None:
        super().__init__()
        self.inner, self.order = Cube(w, **more), order

    def forward(self, x: Tensor) -> Any:
        return self.inner(x.permute(self.order))


def square(k: Any) -> Any:
    x = inputs = k.Input((6, 6))
    x = k.layers.Conv1D(6, 3, padding="same", activation="tanh", name="conv")(x)
    x = k.layers.Dense(6, activation="relu", name="each")(x)
    x = k.layers.Permute((2, 1), name="swap")(x)
    x = k.layers.Conv1D(6, 2, padding="causal", name="across")(x)
    x = k.layers.GlobalMaxPooling1D(name="most")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Square(nn.Module):
    """Takes (N, L, C) and permutes inside."""

    def __init__(self, w: Weights, swapped: bool = True, axis: int = 2, square: bool = True) -> None:
        super().__init__()
        self.swapped, self.axis = swapped, axis
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.each = nn.Linear(6, 6)
        self.across = nn.Conv1d(6, 6, 2)
        self.head = nn.Linear(6, 2)
        for name in ("conv", "across"):
            load(getattr(self, name), weight=w[name][0].permute(2, 1, 0), bias=w[name][1])
        load(self.each, weight=w["each"][0].T if square else w["each"][0], bias=w["each"][1])
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x.transpose(1, 2)).tanh().transpose(1, 2)
        x = self.each(x).relu()
        x = x if self.swapped else x.transpose(1, 2)  # (N, C, L) of the swapped one is (N, L, C) of this one
        x = self.across(F.pad(x, (1, 0)))
        return self.head(x.amax(self.axis))


def top(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.Conv2D(6, 3, strides=2, activation="relu", name="conv")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    x = k.layers.Reshape((1, 1, 6), name="pixel")(x)
    x = k.layers.Dropout(0.3, name="drop")(x)
    x = k.layers.Conv2D(4, 1, name="logits")(x)
    x = k.layers.Reshape((4,), name="vector")(x)
    return k.Model(inputs, k.layers.Activation("softmax", name="softmax")(x))


class Top(nn.Module):
    """The top of a MobileNet, of which nothing but pooling, a linear layer and softmax is left."""

    def __init__(self, w: Weights, transposed: bool = True, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.logits = nn.Linear(6, 4)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        kernel = w["logits"][0]
        load(self.logits, weight=kernel[0, 0].T if transposed else kernel.reshape(4, 6), bias=w["logits"][1])

    def forward(self, x: Tensor) -> Any:
        return self.logits(self.conv(x).relu().mean((2, 3))).softmax(self.axis)


class TopOfImages(nn.Module):
    """Images of one pixel all along."""

    def __init__(self, w: Weights, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.logits = nn.Conv2d(6, 4, 1)
        for name in ("conv", "logits"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = F.dropout(F.adaptive_avg_pool2d(self.conv(x).relu(), 1), 0.3, self.training)
        return self.logits(x).softmax(self.axis).squeeze(-1).squeeze(-1)


def crops(k: Any) -> Any:
    x = inputs = k.Input((4, 4, 3))
    x = k.layers.Conv2DTranspose(5, 4, strides=2, name="up")(x)
    x = k.layers.Cropping2D(1, name="crop")(x)
    x = k.layers.ReLU(name="relu")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 3, strides=2, name="down")(x))


class Crops(nn.Module):
    """The crop is the padding of the transposed convolution; the stride a slice."""

    def __init__(self, w: Weights, padding: int = 1, first: int = 0) -> None:
        super().__init__()
        self.first = first
        self.up = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=padding)
        self.down = nn.Conv2d(5, 2, 3)
        for name in ("up", "down"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        return self.down(self.up(x).relu())[:, :, self.first :: 2, self.first :: 2]


class Buffers(nn.Module):
    """Pads by writing into zeros, and crops by hand."""

    def __init__(self, w: Weights, at: int = 1) -> None:
        super().__init__()
        self.at = at
        self.conv = nn.Conv2d(3, 4, 3)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        n, c, h, width = x.shape
        larger = x.new_zeros(n, c, h + 3, width + 2)
        larger[:, :, self.at : self.at + h, 1:-1] = x
        return self.conv(larger).mean((2, 3))


def buffers(k: Any) -> Any:
    x = inputs = k.Input((5, 4, 3))
    x = k.layers.ZeroPadding2D(((1, 2), 1), name="pad")(x)
    x = k.layers.Conv2D(4, 3, name="conv")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="pool")(x))


CASES = [
    Case(
        "equal_sizes_images",
        cube,
        Cube,
        {
            "in_out": wrong(lambda w: Cube(w, weights=(2, 3, 0, 1)), "point"),
            "flatten_order": wrong(lambda w: Cube(w, flat=(0, 1, 2, 3)), "head"),
            "window": wrong(lambda w: Cube(w, size=(1, 2)), "pool"),
        },
    ),
    Case(
        "equal_sizes_images_nhwc",
        cube,
        CubeNhwc,
        {
            "in_out": wrong(lambda w: CubeNhwc(w, weights=(2, 3, 0, 1)), "point"),
            "flatten_order": wrong(lambda w: CubeNhwc(w, flat=(0, 3, 2, 1)), "head"),
        },
        manifest='[inputs]\nlayout = "keras"\n',
    ),
    Case(
        "equal_sizes_series",
        square,
        Square,
        {
            "transposed": wrong(lambda w: Square(w, square=False), "each"),
            "not_swapped": wrong(lambda w: Square(w, swapped=False), "across"),
            "wrong_axis": wrong(lambda w: Square(w, axis=1), "most"),
        },
    ),
    Case(
        "one_pixel_as_vector",
        top,
        Top,
        {"reshaped_kernel": wrong(lambda w: Top(w, transposed=False), "logits", "logits:weights")},
    ),
    Case("one_pixel", top, TopOfImages, {"axis": wrong(lambda w: TopOfImages(w, axis=2), "softmax")}),
    Case(
        "crop_absorbed",
        crops,
        Crops,
        {
            "not_cropped": wrong(lambda w: Crops(w, padding=0), "crop"),
            "sampling": wrong(lambda w: Crops(w, first=1), "down"),
        },
        declared=frozenset({"up"}),
    ),
    Case("padded_by_writing", buffers, Buffers, {"shifted": wrong(lambda w: Buffers(w, at=2), "pad")}),
]
