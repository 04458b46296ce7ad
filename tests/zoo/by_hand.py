"""Convolutions computed by hand, whose axes are all of one size: only the values say which is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong

SIZE = 4
"""Of the height, of the width and of the channels."""


def block(k: Any) -> Any:
    x = inputs = k.Input((8, 8, 2))
    x = k.layers.Conv2D(SIZE, 3, strides=2, padding="same", name="conv")(x)
    x = k.layers.BatchNormalization(name="norm")(x)
    x = k.layers.ReLU(name="relu")(x)
    x = k.layers.Flatten(name="flat")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def unfolded(x: Tensor, kernel: Tensor) -> Tensor:
    return (kernel.flatten(1) @ F.unfold(x, 3, stride=2)).view(len(x), SIZE, SIZE, SIZE)


def windows(x: Tensor, kernel: Tensor) -> Tensor:
    return torch.einsum("nchwab,ocab->nohw", x.unfold(2, 3, 2).unfold(3, 3, 2), kernel)


def spectrum(x: Tensor, kernel: Tensor) -> Tensor:
    size = (x.shape[2] + 2, x.shape[3] + 2)
    product = torch.einsum(
        "nchw,ochw->nohw", torch.fft.rfft2(x, s=size), torch.fft.rfft2(kernel.flip(2, 3), s=size)
    )  # fmt: skip
    made: Tensor = torch.fft.irfft2(product, s=size)
    return made[:, :, 2 : 2 + 2 * SIZE : 2, 2 : 2 + 2 * SIZE : 2]


def places(x: Tensor, kernel: Tensor) -> Tensor:
    made = x.new_zeros(len(x), SIZE, SIZE, SIZE)
    for i in range(SIZE):
        for j in range(SIZE):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            made[:, :, i, j] = torch.einsum("nchw,ochw->no", window, kernel)
    return made


class Block(nn.Module):
    def __init__(
        self,
        w: Weights,
        convolve: Callable[[Tensor, Tensor], Tensor],
        flat: tuple[int, ...] = (0, 2, 3, 1),
        eps: float = 1e-3,
        pad: tuple[int, ...] = (0, 1, 0, 1),
    ) -> None:
        super().__init__()
        self.convolve, self.flat, self.pad = convolve, flat, pad
        self.conv, self.norm, self.head = nn.Conv2d(2, SIZE, 3), nn.BatchNorm2d(SIZE, eps=eps), nn.Linear(SIZE**3, 3)
        load(self.conv, weight=w["conv"][0].permute(3, 2, 0, 1), bias=w["conv"][1])
        names = ("weight", "bias", "running_mean", "running_var")
        load(self.norm, **dict(zip(names, w["norm"], strict=True)))
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        x = self.convolve(F.pad(x, self.pad), self.conv.weight) + self.conv.bias.view(-1, 1, 1)  # type: ignore[union-attr]
        return self.head(self.norm(x).relu().permute(self.flat).flatten(1))


WAYS = {"unfold": unfolded, "windows": windows, "spectrum": spectrum, "places": places}
WHOLE = ("unfold", "windows")
"""Ways of which one value is the sum of all products; the others are told together with what comes after them."""


def _case(name: str, convolve: Callable[[Tensor, Tensor], Tensor]) -> Case:
    def port(**more: Any) -> Callable[[Weights], Block]:
        return lambda w: Block(w, convolve, **more)

    ports = {
        "flatten_order": wrong(port(flat=(0, 1, 2, 3)), "head"),
        "transposed": wrong(port(flat=(0, 3, 2, 1)), "head"),
    }
    if name in WHOLE:
        ports |= {
            "eps": wrong(port(eps=0.5), "norm", "norm:eps"),
            "padding": wrong(port(pad=(1, 0, 1, 0)), "conv"),
        }
    return Case(f"by_hand_{name}", block, port(), ports)


def sequence(k: Any) -> Any:
    x = inputs = k.Input((SIZE, SIZE))
    x = k.layers.Conv1D(SIZE, 3, padding="same", name="conv")(x)
    x = k.layers.BatchNormalization(name="norm")(x)
    x = k.layers.ReLU(name="relu")(x)
    x = k.layers.GlobalAveragePooling1D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Sequence(nn.Module):
    """A product with the columns of each window, steps last."""

    def __init__(self, w: Weights, eps: float = 1e-3) -> None:
        super().__init__()
        kernel, bias = w["conv"]
        self.columns, self.bias = nn.Parameter(kernel.permute(1, 0, 2).flatten(0, 1)), nn.Parameter(bias)
        self.norm, self.head = nn.BatchNorm1d(SIZE, eps=eps), nn.Linear(SIZE, 3)
        gamma, beta, mean, variance = w["norm"]
        load(self.norm, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])

    def forward(self, x: Tensor) -> Any:
        windows = F.unfold(x.transpose(1, 2).unsqueeze(2), (1, 3), padding=(0, 1))
        x = (windows.transpose(1, 2) @ self.columns + self.bias).transpose(1, 2)
        return self.head(F.relu(self.norm(x)).mean(2))


CASES = [
    *(_case(name, way) for name, way in WAYS.items()),
    Case("by_hand_steps", sequence, Sequence, {"eps": wrong(lambda w: Sequence(w, 1.0), "norm", "norm:eps")}),
]
