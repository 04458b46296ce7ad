"""Volumes through layers that have little to do with them: pooling that adapts, dropout of whole channels."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.layers import dense


def adaptive(k: Any) -> Any:
    x = inputs = k.Input((7, 6, 5, 2))
    x = k.layers.Conv3D(3, 2, name="conv")(x)
    x = k.layers.AdaptiveAveragePooling3D((3, 2, 2), name="average")(x)
    x = k.layers.AdaptiveMaxPooling3D((2, 1, 2), name="most")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(k.layers.Flatten(name="flat")(x)))


class Adaptive(nn.Module):
    def __init__(self, w: Weights, size: tuple[int, int, int] = (3, 2, 2), most: Any = F.adaptive_max_pool3d) -> None:
        super().__init__()
        self.size, self.most = size, most
        self.conv, self.head = nn.Conv3d(2, 3, 2), dense(w["head"])
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        x = F.adaptive_avg_pool3d(self.conv(x), self.size)
        return self.head(self.most(x, (2, 1, 2)).permute(0, 2, 3, 4, 1).flatten(1))


def dropped(k: Any) -> Any:
    x = inputs = k.Input((4, 5, 3, 2))
    x = k.layers.SpatialDropout3D(0.5, name="drop")(x)
    x = k.layers.Conv3D(3, 2, name="conv")(x)
    x = k.layers.Identity(name="same")(x)
    x = k.layers.GlobalAveragePooling3D(name="mean")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Dropped(nn.Module):
    def __init__(self, w: Weights, scale: float = 1.0, drop: bool = False) -> None:
        super().__init__()
        self.scale, self.drop = scale, drop
        self.conv, self.head, self.same = nn.Conv3d(2, 3, 2), dense(w["head"]), nn.Identity()
        load(self.conv, weight=w["conv"][0].permute(4, 3, 0, 1, 2), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.conv(F.dropout3d(x, 0.5, training=self.drop))
        return self.head(self.same(x * self.scale if self.scale != 1 else x).mean((2, 3, 4)))


CASES = [
    Case(
        "adaptive_pooling3d",
        adaptive,
        Adaptive,
        {
            "size": wrong(lambda w: Adaptive(w, (3, 3, 2)), "average"),
            "mean": wrong(lambda w: Adaptive(w, most=F.adaptive_avg_pool3d), "most"),
        },
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "spatial_dropout3d",
        dropped,
        Dropped,
        {
            "scaled": wrong(lambda w: Dropped(w, scale=2.0), "mean"),
            "active": wrong(lambda w: Dropped(w, drop=True), "drop"),
        },
    ),
]
