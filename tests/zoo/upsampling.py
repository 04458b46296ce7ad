"""Layers that make images larger or smaller: which pixels are between which, and what is cut off."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong


def nearest(k: Any) -> Any:
    x = inputs = k.Input((4, 5, 2))
    x = k.layers.Conv2D(3, 2, padding="same", activation="relu", name="conv")(x)
    x = k.layers.UpSampling2D((2, 3), name="up")(x)
    x = k.layers.Conv2D(3, 3, padding="same", name="smooth")(x)
    x = k.layers.UpSampling2D(2, name="double")(x)
    return k.Model(inputs, k.layers.Conv2D(1, 1, activation="sigmoid", name="image")(x))


class Nearest(nn.Module):
    """Interpolates, then repeats."""

    def __init__(self, w: Weights, scale: tuple[int, int] = (2, 3), mode: str = "nearest") -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 2, padding="same")
        self.up = nn.Upsample(scale_factor=scale, mode=mode)
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        self.image = nn.Conv2d(3, 1, 1)
        for name in ("conv", "smooth", "image"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = self.smooth(self.up(self.conv(x).relu()))
        return self.image(self.larger(x)).sigmoid()

    def larger(self, x: Tensor) -> Tensor:
        """Each pixel twice, then each row."""
        return x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=2)


class Expanded(Nearest):
    """Each pixel as a square, by views alone."""

    def larger(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


class Tiled(Nearest):
    """The image four times, side by side, for each pixel four times."""

    def larger(self, x: Tensor) -> Tensor:
        return x.repeat(1, 1, 2, 2)


class OneAxis(Nearest):
    """Pixels doubled along rows, then along rows again."""

    def larger(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=(4, 1))


def bilinear(k: Any) -> Any:
    x = inputs = k.Input((5, 6, 3))
    x = k.layers.Conv2D(4, 3, strides=2, padding="same", name="down")(x)
    x = k.layers.UpSampling2D((2, 3), interpolation="bilinear", name="up")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 3, padding="same", activation="tanh", name="image")(x))


class Bilinear(nn.Module):
    """Corners are not aligned; 5 × 6 pixels at stride 2 are padded by (1, 1) and (0, 1)."""

    def __init__(self, w: Weights, **how: Any) -> None:
        super().__init__()
        self.how = {"mode": "bilinear", **how}
        self.down = nn.Conv2d(3, 4, 3, stride=2)
        self.image = nn.Conv2d(4, 2, 3, padding=1)
        for name in ("down", "image"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = self.down(F.pad(x, (0, 1, 1, 1)))
        return self.image(F.interpolate(x, scale_factor=(2, 3), **self.how)).tanh()


def series(k: Any) -> Any:
    x = inputs = k.Input((6, 3))
    x = k.layers.UpSampling1D(3, name="up")(x)
    x = k.layers.Conv1D(4, 3, activation="relu", name="conv")(x)
    x = k.layers.UpSampling1D(2, name="double")(x)
    return k.Model(inputs, k.layers.Dense(2, name="each")(x))


class Series(nn.Module):
    """Takes (N, L, C)."""

    def __init__(self, w: Weights, tiled: bool = False, mode: str = "nearest") -> None:
        super().__init__()
        self.tiled, self.mode = tiled, mode
        self.conv = nn.Conv1d(3, 4, 3)
        self.each = nn.Linear(4, 2)
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        load(self.each, weight=w["each"][0].T, bias=w["each"][1])

    def forward(self, x: Tensor) -> Any:
        x = x.repeat(1, 3, 1) if self.tiled else x.repeat_interleave(3, 1)
        x = F.relu(self.conv(x.transpose(1, 2)))
        x = F.interpolate(x, scale_factor=2, mode=self.mode)
        return self.each(x.transpose(1, 2))


def space(k: Any) -> Any:
    x = inputs = k.Input((2, 3, 4, 2))
    x = k.layers.UpSampling3D((1, 2, 3), name="up")(x)
    x = k.layers.Conv3D(2, 2, name="conv")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling3D(name="pool")(x))


class Space(nn.Module):
    """torch interpolates over three axes."""

    def __init__(self, w: Weights, scale: Any = (1, 2, 3), mode: str = "nearest") -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=scale, mode=mode)
        self.conv = nn.Conv3d(2, 2, 2)
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        return self.conv(self.up(x)).mean(dim=(2, 3, 4))


def resizing(k: Any) -> Any:
    x = inputs = k.Input((7, 10, 3))
    x = k.layers.Resizing(12, 9, name="resize")(x)
    x = k.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = k.layers.Resizing(6, 14, interpolation="nearest", name="nearest")(x)
    return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(x))


class Resizing(nn.Module):
    """Keras takes the pixel whose middle is nearest, as torch's "nearest-exact"."""

    def __init__(self, w: Weights, mode: str = "nearest-exact", **how: Any) -> None:
        super().__init__()
        self.mode, self.how = mode, {"mode": "bilinear", "align_corners": False, **how}
        self.conv = nn.Conv2d(3, 4, 3)
        self.last = nn.Conv2d(4, 2, 1)
        for name in ("conv", "last"):
            load(getattr(self, name), weight=w[name][0].permute(3, 2, 0, 1), bias=w[name][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(F.interpolate(x, (12, 9), **self.how)).relu()
        return self.last(F.interpolate(x, size=(6, 14), mode=self.mode))


def cropping(k: Any) -> Any:
    x = inputs = k.Input((8, 15, 3))
    x = k.layers.Resizing(6, 6, crop_to_aspect_ratio=True, name="resize")(x)
    x = k.layers.Conv2D(4, 3, name="conv")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="pool")(x))


class Cropping(nn.Module):
    """The middle 8 columns of 15, from the fourth on."""

    def __init__(self, w: Weights, first: int = 3, whole: bool = False) -> None:
        super().__init__()
        self.first, self.whole = first, whole
        self.conv = nn.Conv2d(3, 4, 3)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        x = x if self.whole else x[..., self.first : self.first + 8]
        return self.conv(F.interpolate(x, (6, 6), mode="bilinear")).mean((2, 3))


def antialiased(k: Any) -> Any:
    x = inputs = k.Input((12, 9, 2))
    x = k.layers.Resizing(5, 4, antialias=True, name="resize")(x)
    return k.Model(inputs, k.layers.Conv2D(3, 2, name="conv")(x))


class Antialiased(nn.Module):
    """A filter as wide as the scale."""

    def __init__(self, w: Weights, antialias: bool = True) -> None:
        super().__init__()
        self.antialias = antialias
        self.conv = nn.Conv2d(2, 3, 2)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        return self.conv(F.interpolate(x, (5, 4), mode="bilinear", antialias=self.antialias))


CASES = [
    Case(
        "upsampling2d_nearest",
        nearest,
        Nearest,
        {
            "bilinear": wrong(lambda w: Nearest(w, mode="bilinear"), "up"),
            "exchanged": wrong(lambda w: Nearest(w, scale=(3, 2)), "up"),
            "tiled": wrong(Tiled, "double"),
            "one_axis": wrong(OneAxis, "double"),
        },
    ),
    Case("upsampling2d_expanded", nearest, Expanded, {"bilinear": wrong(lambda w: Expanded(w, mode="bilinear"), "up")}),
    Case(
        "upsampling2d_bilinear",
        bilinear,
        Bilinear,
        {
            "align_corners": wrong(lambda w: Bilinear(w, align_corners=True), "up"),
            "nearest": wrong(lambda w: Bilinear(w, mode="nearest"), "up"),
            "bicubic": wrong(lambda w: Bilinear(w, mode="bicubic"), "up"),
        },
    ),
    Case(
        "upsampling1d",
        series,
        Series,
        {
            "tiled": wrong(lambda w: Series(w, tiled=True), "up"),
            "linear": wrong(lambda w: Series(w, mode="linear"), "double"),
        },
    ),
    Case(
        "upsampling3d",
        space,
        Space,
        {
            "exchanged": wrong(lambda w: Space(w, scale=(3, 2, 1)), "up"),
            "trilinear": wrong(lambda w: Space(w, mode="trilinear"), "up"),
        },
    ),
    Case(
        "resizing",
        resizing,
        Resizing,
        {
            "align_corners": wrong(lambda w: Resizing(w, align_corners=True), "resize"),
            "floor": wrong(lambda w: Resizing(w, mode="nearest"), "nearest"),
        },
    ),
    Case(
        "resizing_cropped",
        cropping,
        Cropping,
        {
            "whole": wrong(lambda w: Cropping(w, whole=True), "resize"),
            "rounded_up": wrong(lambda w: Cropping(w, first=4), "resize"),
        },
    ),
    Case(
        "resizing_antialiased",
        antialiased,
        Antialiased,
        {"plain": wrong(lambda w: Antialiased(w, antialias=False), "resize")},
        loaders=("keras",),
    ),
]
