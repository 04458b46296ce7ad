"""Several Keras layers that the port computes as one operation, though they do not follow each other in a chain."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong

EPS = 1e-3
BLOCK = "wide wide_bn point point_bn own_bn"


def repvgg(k: Any) -> Any:
    layers = k.layers
    inputs = k.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    wide = layers.BatchNormalization(name="wide_bn")(
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="wide")(x)
    )
    point = layers.BatchNormalization(name="point_bn")(
        layers.Conv2D(4, 1, padding="same", use_bias=False, name="point")(x)
    )
    own = layers.BatchNormalization(name="own_bn")(x)
    x = layers.Add(name="sum")([wide, point, own])
    x = layers.ReLU(name="relu")(x)
    return k.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="pool")(x)))


def folded(kernel: Tensor, bn: list[Tensor]) -> tuple[Tensor, Tensor]:
    gamma, beta, mean, variance = (t.double() for t in bn)
    scale = gamma / torch.sqrt(variance + EPS)
    return kernel.double().permute(3, 2, 0, 1) * scale[:, None, None, None], beta - mean * scale


class RepVgg(nn.Module):
    """A RepVGG block as deployed: its three branches are one 3×3 convolution."""

    def __init__(self, w: Weights, branches: str = "wide point own") -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        load(self.stem, weight=w["stem"][0].permute(3, 2, 0, 1))
        unit = torch.eye(4)[None, None]
        kernels = {"wide": w["wide"][0], "point": F.pad(w["point"][0], (0, 0, 0, 0, 1, 1, 1, 1))}
        kernels["own"] = F.pad(unit, (0, 0, 0, 0, 1, 1, 1, 1))
        parts = [folded(kernels[name], w[f"{name}_bn"]) for name in branches.split()]
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        kernel, bias = (torch.stack(own).sum(0).float() for own in zip(*parts, strict=True))
        load(self.block, weight=kernel, bias=bias)
        self.head = nn.Linear(4, 3)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.block(self.stem(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def reshaped_pool(k: Any) -> Any:
    layers = k.layers
    inputs = k.Input((12, 5))
    x = layers.Conv1D(6, 3, name="conv")(inputs)
    x = layers.Reshape((10, 1, 6), name="lift")(x)
    x = layers.AveragePooling2D((10, 1), name="pool")(x)
    x = layers.Reshape((6,), name="drop")(x)
    return k.Model(inputs, layers.Dense(3, name="head")(x))


class ReshapedPool(nn.Module):
    def __init__(self, w: Weights, steps: int = 10) -> None:
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv1d(5, 6, 3)
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])
        self.head = nn.Linear(6, 3)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.transpose(1, 2))
        logits: Tensor = self.head(x[..., : self.steps].mean(2))
        return logits


CASES = [
    Case(
        "merged_repvgg",
        repvgg,
        RepVgg,
        # A kernel that is not theirs is nothing of theirs: each layer of the block is missing.
        {"branch_lost": wrong(lambda w: RepVgg(w, "wide point"), BLOCK, "wide:weights point:weights")},
        declared=frozenset(BLOCK.split()),
    ),
    Case(
        "merged_reshaped_pool",
        reshaped_pool,
        ReshapedPool,
        {"step_lost": wrong(lambda w: ReshapedPool(w, 9), "lift")},
    ),
]
