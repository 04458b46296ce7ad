"""Ports of the models in ``tests.keras_files``: correct ones, and a wrong one of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import parts
from tests.zoo.case import Weights, load


def weights(path: str) -> Weights:
    return Weights(Path(path).parent / "net.npz")


class Net(nn.Module):
    def __init__(self, w: Weights, eps: float) -> None:
        super().__init__()
        self.conv, self.norm = parts.conv2d(w, "conv", stride=2), parts.batch_norm(w, "norm", eps)
        self.dense = parts.dense(w, "dense")

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.norm(self.conv(F.pad(x, (0, 1, 0, 1)))))
        return torch.softmax(self.dense(x.permute(0, 2, 3, 1).flatten(1)), 1)


def net(path: str) -> nn.Module:
    return Net(weights(path), 1e-3).eval()


def net_eps(path: str) -> nn.Module:
    return Net(weights(path), 1e-5).eval()


class Mixed(nn.Module):
    def __init__(self, w: Weights, factor: float) -> None:
        super().__init__()
        self.left, self.right = parts.dense(w, "left"), parts.dense(w, "right")
        (scale,) = w["scale"]
        self.scale, self.factor = nn.Parameter(scale), factor

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return (torch.tanh(self.left(a)) - self.factor * self.right(b)) * self.scale


def mixed(path: str) -> nn.Module:
    return Mixed(weights(path), 2.0).eval()


def mixed_wrong(path: str) -> nn.Module:
    return Mixed(weights(path), 3.0).eval()


class Chain(nn.Module):
    """Dense layers with tanh in a row; at ``missing`` the tanh is left out."""

    def __init__(self, layers: list[nn.Linear], missing: int = -1) -> None:
        super().__init__()
        self.layers, self.missing = nn.ModuleList(layers), missing

    def forward(self, x: Tensor) -> Any:
        for number, layer in enumerate(self.layers):
            x = layer(x) if number == self.missing else torch.tanh(layer(x))
        return x


def _chain(path: str, loader: str, missing: int = -1) -> nn.Module:
    from tests.keras_files import NAMES

    return Chain([parts.dense(weights(path), name) for name in NAMES[loader]], missing).eval()


def keras_chain(path: str) -> nn.Module:
    return _chain(path, "keras")


def keras_chain_wrong(path: str) -> nn.Module:
    return _chain(path, "keras", 2)


def tf_keras_chain(path: str) -> nn.Module:
    return _chain(path, "tf_keras")


def tf_keras_chain_wrong(path: str) -> nn.Module:
    return _chain(path, "tf_keras", 2)


def _levels(path: str) -> list[nn.Linear]:
    arrays = weights(path)[""]
    layers = []
    for kernel, bias in zip(arrays[::2], arrays[1::2], strict=True):
        layers.append(nn.Linear(4, 4))
        load(layers[-1], weight=kernel.T, bias=bias)
    return layers


def deep(path: str) -> nn.Module:
    return Chain(_levels(path)).eval()


def deep_wrong(path: str) -> nn.Module:
    return Chain(_levels(path), 6).eval()


class Operators(nn.Module):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.a, self.b, self.out = (parts.dense(w, name) for name in ("a", "b", "out"))

    def forward(self, x: Tensor) -> Any:
        y = self.a(x) * 2 - self.b(x[:, :3])
        return self.out(y[:, 1:])


def operators(path: str) -> nn.Module:
    return Operators(weights(path)).eval()


def operators_wrong(path: str) -> nn.Module:
    port = Operators(weights(path))
    nn.init.zeros_(port.out.bias)
    return port.eval()


class Raw(nn.Module):
    def __init__(self, w: Weights, first: int) -> None:
        super().__init__()
        self.a, self.b, self.out = (parts.dense(w, name) for name in ("a", "b", "out"))
        self.first = first

    def forward(self, x: Tensor) -> Any:
        return self.out(torch.tanh(self.a(x)) + 2 * self.b(x[:, self.first : self.first + 4])) * 0.5


def raw(path: str) -> nn.Module:
    return Raw(weights(path), 0).eval()


def raw_wrong(path: str) -> nn.Module:
    return Raw(weights(path), 1).eval()
