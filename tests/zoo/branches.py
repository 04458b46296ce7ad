"""Branches and joins: residual, dense, inception, squeeze-and-excite, U-Net, tied weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import parts
from tests.zoo.case import Case, Weights, load, wrong


class Port(nn.Module):
    """A port whose forward pass looks at ``fault`` where a wrong one differs."""

    def __init__(self, w: Weights, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.make(w)

    def make(self, w: Weights) -> None:
        """Make the modules."""


# -- residual --------------------------------------------------------------------------------------------------------


def residual(k: Any) -> Any:
    """An identity block, then one whose shortcut is a strided convolution; pre-activation at the end."""
    layers, x = k.layers, k.Input((8, 6, 4), name="image")
    inputs = x
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a1")(x)
    y = layers.ReLU(name="ar1")(layers.BatchNormalization(name="an1")(y))
    y = layers.BatchNormalization(name="an2")(layers.Conv2D(4, 3, padding="same", use_bias=False, name="a2")(y))
    x = layers.ReLU(name="ar2")(layers.Add(name="aadd")([x, y]))
    y = layers.Conv2D(6, 3, 2, padding="same", use_bias=False, name="b1")(x)
    y = layers.ReLU(name="br1")(layers.BatchNormalization(name="bn1")(y))
    y = layers.BatchNormalization(name="bn2")(layers.Conv2D(6, 3, padding="same", use_bias=False, name="b2")(y))
    shortcut = layers.BatchNormalization(name="bn3")(layers.Conv2D(6, 1, 2, use_bias=False, name="b3")(x))
    x = layers.ReLU(name="br2")(layers.Add(name="badd")([y, shortcut]))
    y = layers.ReLU(name="cr")(layers.BatchNormalization(name="cn")(x))
    y = layers.Conv2D(6, 3, padding="same", name="c")(y)
    x = layers.Add(name="cadd")([x, y])
    return k.Model(inputs, layers.Dense(3, name="out")(layers.GlobalAveragePooling2D(name="mean")(x)))


class Residual(Port):
    def make(self, w: Weights) -> None:
        self.a1, self.a2 = parts.conv2d(w, "a1", padding=1), parts.conv2d(w, "a2", padding=1)
        self.b1, self.b2 = parts.conv2d(w, "b1", stride=2), parts.conv2d(w, "b2", padding=1)
        self.b3, self.c = parts.conv2d(w, "b3", stride=2), parts.conv2d(w, "c", padding=1)
        self.an1, self.an2, self.bn1, self.bn2, self.bn3, self.cn = (
            parts.batch_norm(w, name) for name in ("an1", "an2", "bn1", "bn2", "bn3", "cn")
        )
        self.out = parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.an1(self.a1(x)))
        y = self.an2(self.a2(y))
        y = y if self.fault == "skip_missing" else x + (F.relu(y) if self.fault == "relu_before_add" else y)
        x = y if self.fault == "relu_before_add" else F.relu(y)
        shortcut = x[:, :, 1:, 1:] if self.fault == "other_pixels" else x
        y = F.relu(self.bn1(self.b1(F.pad(x, (0, 1, 0, 1)))))
        y = self.bn2(self.b2(y))
        shortcut = self.b3(shortcut)
        x = F.relu(y + (shortcut if self.fault == "norm_missing" else self.bn3(shortcut)))
        y = F.relu(self.cn(x))
        if self.fault == "skip_after_activation":
            x = y
        x = x + self.c(y)
        if self.fault == "skip_twice":
            x = x + y
        return self.out(x.mean((2, 3)))


# -- DenseNet --------------------------------------------------------------------------------------------------------


def densenet(k: Any) -> Any:
    """Three layers, each taking all that came before; a transition; a layer more."""
    layers, x = k.layers, k.Input((6, 6, 3), name="image")
    inputs = x
    for i in range(3):
        y = layers.Activation("relu", name=f"relu{i}")(layers.BatchNormalization(name=f"norm{i}")(x))
        y = layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"conv{i}")(y)
        x = layers.Concatenate(name=f"join{i}")([x, y])
    x = layers.AveragePooling2D(2, name="pool")(layers.Conv2D(5, 1, name="transition")(x))
    y = layers.Conv2D(3, 3, padding="same", name="conv3")(x)
    return k.Model(inputs, layers.Concatenate(name="join3")([x, y]))


class DenseNet(Port):
    def make(self, w: Weights) -> None:
        self.norms = nn.ModuleList(parts.batch_norm(w, f"norm{i}") for i in range(3))
        self.convs = nn.ModuleList(parts.conv2d(w, f"conv{i}", padding=1) for i in range(4))
        self.transition = parts.conv2d(w, "transition")

    def forward(self, x: Tensor) -> Any:
        for i in range(3):
            y = self.convs[i](F.relu(self.norms[i](x)))
            x = torch.cat([y, x] if self.fault == "new_first" and i == 2 else [x, y], 1)
        x = F.avg_pool2d(self.transition(x), 2)
        y = self.convs[3](x)
        return torch.cat([y, x] if self.fault == "output_order" else [x, y], 1)


class DenseNetOfLists(DenseNet):
    """As torchvision writes it: a list of features, joined anew for each layer."""

    def forward(self, x: Tensor) -> Any:
        features = [x]
        for i in range(3):
            joined = torch.cat(features[::-1] if self.fault == "reversed" and i == 2 else features, 1)
            features.append(self.convs[i](F.relu(self.norms[i](joined))))
        x = F.avg_pool2d(self.transition(torch.cat(features, 1)), 2)
        return torch.cat([x, self.convs[3](x)], 1)


# -- inception -------------------------------------------------------------------------------------------------------


def inception(k: Any) -> Any:
    layers, x = k.layers, k.Input((7, 7, 5), name="image")
    a = layers.Conv2D(4, 1, activation="relu", name="a")(x)
    b = layers.Conv2D(3, 1, activation="relu", name="b1")(x)
    b = layers.Conv2D(4, 3, padding="same", activation="relu", name="b2")(b)
    c = layers.Conv2D(3, 1, activation="tanh", name="c1")(x)
    c = layers.Conv2D(4, 5, padding="same", activation="relu", name="c2")(c)
    d = layers.MaxPooling2D(3, 1, padding="same", name="pool")(x)
    d = layers.Conv2D(4, 1, activation="relu", name="d")(d)
    x_ = layers.Concatenate(name="join")([a, b, c, d])
    return k.Model(x, layers.Dense(3, name="out")(layers.GlobalMaxPooling2D(name="max")(x_)))


class Inception(Port):
    def make(self, w: Weights) -> None:
        self.a, self.b1, self.b2 = parts.conv2d(w, "a"), parts.conv2d(w, "b1"), parts.conv2d(w, "b2", padding=1)
        self.c1, self.c2, self.d = parts.conv2d(w, "c1"), parts.conv2d(w, "c2", padding=2), parts.conv2d(w, "d")
        self.out = parts.dense(w, "out")

    def forward(self, x: Tensor) -> Any:
        d, second, third = F.max_pool2d(x, 3, 1, 1), F.relu(self.b1(x)), torch.tanh(self.c1(x))
        if self.fault == "average":
            d = F.avg_pool2d(x, 3, 1, 1)
        if self.fault == "pool_missing":
            d = x
        a, b, c, d = (F.relu(y) for y in (self.a(x), self.b2(second), self.c2(third), self.d(d)))
        x = torch.cat([a, c, b, d] if self.fault == "order" else [a, b, c, d], 1)
        return self.out(x.amax((2, 3)))


# -- squeeze and excite ----------------------------------------------------------------------------------------------


def squeeze_excite(k: Any) -> Any:
    layers, inputs = k.layers, k.Input((6, 5, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(inputs)
    s = layers.GlobalAveragePooling2D(name="squeeze")(x)
    s = layers.Reshape((1, 1, 8), name="reshape")(s)
    s = layers.Dense(3, activation="relu", name="reduce")(s)
    s = layers.Dense(8, activation="sigmoid", name="expand")(s)
    x = layers.Multiply(name="scale")([x, s])
    return k.Model(inputs, layers.Conv2D(4, 1, name="project")(x))


class SqueezeExcite(Port):
    def make(self, w: Weights) -> None:
        self.conv, self.project = parts.conv2d(w, "conv", padding=1), parts.conv2d(w, "project")
        self.reduce, self.expand = parts.dense(w, "reduce"), parts.dense(w, "expand")

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(x))
        s = x.amax((2, 3)) if self.fault == "max" else x.mean((2, 3))
        s = self.reduce(s)
        s = self.expand(s if self.fault == "relu_missing" else F.relu(s))
        s = F.hardsigmoid(s) if self.fault == "hard_sigmoid" else torch.sigmoid(s)
        s = s[:, :, None, None]
        return self.project(x + s if self.fault == "add" else x * s)


# -- U-Net -----------------------------------------------------------------------------------------------------------


def unet(k: Any) -> Any:
    layers, inputs = k.layers, k.Input((8, 8, 3), name="image")

    def double(x: Any, filters: int, name: str) -> Any:
        for i in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_{i}")(x)
        return x

    first = double(inputs, 4, "down0")
    second = double(layers.MaxPooling2D(2, name="pool0")(first), 4, "down1")
    x = double(layers.MaxPooling2D(2, name="pool1")(second), 6, "bottom")
    x = layers.Conv2DTranspose(4, 2, 2, name="up1")(x)
    x = double(layers.Concatenate(name="join1")([x, second]), 4, "dec1")
    x = layers.UpSampling2D(2, name="up0")(x)
    x = double(layers.Concatenate(name="join0")([x, first]), 4, "dec0")
    return k.Model(inputs, layers.Conv2D(2, 1, activation="sigmoid", name="mask")(x))


class UNet(Port):
    def make(self, w: Weights) -> None:
        names = ("down0", "down1", "bottom", "dec1", "dec0")
        self.convs = nn.ModuleDict({f"{n}_{i}": parts.conv2d(w, f"{n}_{i}", padding=1) for n in names for i in (0, 1)})
        kernel, bias = w["up1"]
        self.up1 = nn.ConvTranspose2d(6, 4, 2, 2)
        load(self.up1, weight=kernel.permute(3, 2, 0, 1), bias=bias)
        self.mask = parts.conv2d(w, "mask")

    def block(self, x: Tensor, name: str) -> Any:
        return F.relu(self.convs[f"{name}_1"](F.relu(self.convs[f"{name}_0"](x))))

    def forward(self, x: Tensor) -> Any:
        before = F.relu(self.convs["down0_0"](x))
        first = F.relu(self.convs["down0_1"](before))
        second = self.block(F.max_pool2d(first, 2), "down1")
        x = self.up1(self.block(F.max_pool2d(second, 2), "bottom"))
        if self.fault == "skip_of_the_pooled":
            second = F.max_pool2d(first, 2)
        x = self.block(torch.cat([second, x] if self.fault == "order" else [x, second], 1), "dec1")
        x = F.interpolate(x, scale_factor=2, mode="bilinear" if self.fault == "bilinear" else "nearest")
        if self.fault == "skip_from_before":
            first = before
        if self.fault == "skip_missing":
            first = x
        return torch.sigmoid(self.mask(self.block(torch.cat([x, first], 1), "dec0")))


CASES = [
    Case(
        "residual",
        residual,
        Residual,
        {
            "relu_before_add": wrong(lambda w: Residual(w, "relu_before_add"), "aadd ar2"),
            "skip_missing": wrong(lambda w: Residual(w, "skip_missing"), "aadd"),
            "other_pixels": wrong(lambda w: Residual(w, "other_pixels"), "b3"),
            "norm_missing": wrong(lambda w: Residual(w, "norm_missing"), "bn3"),
            "skip_after_activation": wrong(lambda w: Residual(w, "skip_after_activation"), "cadd"),
            "skip_twice": wrong(lambda w: Residual(w, "skip_twice"), "mean"),  # the sum too many is the mean's
        },
    ),
    Case(
        "densenet",
        densenet,
        DenseNet,
        {
            "new_first": wrong(lambda w: DenseNet(w, "new_first"), "join2"),
            "output_order": wrong(lambda w: DenseNet(w, "output_order"), "join3"),
        },
    ),
    Case(
        "densenet_of_lists",
        densenet,
        DenseNetOfLists,
        {"reversed": wrong(lambda w: DenseNetOfLists(w, "reversed"), "join1")},
    ),
    Case(
        "inception",
        inception,
        Inception,
        {
            "average": wrong(lambda w: Inception(w, "average"), "pool"),
            "pool_missing": wrong(lambda w: Inception(w, "pool_missing"), "pool"),
            "order": wrong(lambda w: Inception(w, "order"), "join"),
        },
    ),
    Case(
        "squeeze_excite",
        squeeze_excite,
        SqueezeExcite,
        {
            "max": wrong(lambda w: SqueezeExcite(w, "max"), "squeeze"),
            "relu_missing": wrong(lambda w: SqueezeExcite(w, "relu_missing"), "reduce"),
            "hard_sigmoid": wrong(lambda w: SqueezeExcite(w, "hard_sigmoid"), "expand", "expand:hyper"),
            "add": wrong(lambda w: SqueezeExcite(w, "add"), "scale"),
        },
    ),
    Case(
        "unet",
        unet,
        UNet,
        {
            "skip_of_the_pooled": wrong(lambda w: UNet(w, "skip_of_the_pooled"), "join1"),
            "order": wrong(lambda w: UNet(w, "order"), "join1"),
            "bilinear": wrong(lambda w: UNet(w, "bilinear"), "up0"),
            "skip_from_before": wrong(lambda w: UNet(w, "skip_from_before"), "join0"),
            "skip_missing": wrong(lambda w: UNet(w, "skip_missing"), "join0"),
        },
    ),
]
