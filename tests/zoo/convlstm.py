"""ConvLSTM over one, two and three dimensions, which torch has no module for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import reordered

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def video(dimensions: int, **config: Any) -> Callable[[Any], Any]:
    """ConvLSTM of 4 channels, and a convolution of what it gives."""

    def build(k: Any) -> Any:
        inputs = k.Input((4, *(7, 6, 5)[:dimensions], 3))
        layer = getattr(k.layers, f"ConvLSTM{dimensions}D")
        x = layer(4, 3, padding="same", name="rnn", **config)(inputs)
        x = k.layers.GlobalAveragePooling1D(name="pool")(x) if dimensions == 1 else x
        x = k.layers.GlobalAveragePooling2D(name="pool")(x) if dimensions == 2 else x
        x = k.layers.GlobalAveragePooling3D(name="pool")(x) if dimensions == 3 else x
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


class Cell(nn.Module):
    """One convolution of the input, one of the state, four gates."""

    def __init__(self, weights: list[Tensor], dimensions: int, gate: Any, order: tuple[int, ...]) -> None:
        super().__init__()
        kind, self.gate = CONVOLUTIONS[dimensions], gate
        self.of_input, self.of_state = kind(3, 16, 3, padding="same"), kind(4, 16, 3, padding="same", bias=False)
        kernel, inner, bias = (t.permute(-1, -2, *range(t.ndim - 2)) if t.ndim > 1 else t for t in weights)
        load(self.of_input, weight=reordered(kernel, order), bias=reordered(bias, order))
        load(self.of_state, weight=reordered(inner, order))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (self.of_input(x) + self.of_state(h)).chunk(4, dim=1)
        c = self.gate(f) * c + self.gate(i) * torch.tanh(g)
        return self.gate(o) * torch.tanh(c), c


class Video(nn.Module):
    def __init__(
        self,
        w: Weights,
        dimensions: int,
        gate: Callable[[Tensor], Tensor] = torch.sigmoid,
        order: tuple[int, ...] = (0, 1, 2, 3),
        first: bool = False,
    ) -> None:
        super().__init__()
        self.cell, self.head = Cell(w["rnn"], dimensions, gate, order), nn.Linear(4, 3)
        load(self.head, weight=w["head"][0].T, bias=w["head"][1])
        self.first = first

    def forward(self, x: Tensor) -> Any:
        x = x.movedim(-1, 2)
        h = c = torch.zeros(x.shape[0], 4, *x.shape[3:])
        for t in range(1 if self.first else x.shape[1]):
            h, c = self.cell(x[:, t], h, c)
        return self.head(h.flatten(2).mean(2))


def case(dimensions: int, loader: str, gate: Any, other: Any) -> Case:
    return Case(
        f"convlstm{dimensions}d_{loader}",
        video(dimensions),
        lambda w: Video(w, dimensions, gate),
        {
            "recurrent_activation": wrong(lambda w: Video(w, dimensions, other), "rnn"),
            "gate_order": wrong(lambda w: Video(w, dimensions, gate, (0, 1, 3, 2)), "rnn", "rnn:weights"),
            "first_step": wrong(lambda w: Video(w, dimensions, gate, first=True), "rnn", "rnn:weights"),
        },
        loaders=(loader,),
    )


def keras2_hard_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(0.2 * x + 0.5, 0, 1)


CASES = [
    case(1, "keras", torch.sigmoid, F.hardsigmoid),
    case(2, "keras", torch.sigmoid, F.hardsigmoid),
    case(3, "keras", torch.sigmoid, F.hardsigmoid),
    case(1, "tf_keras", keras2_hard_sigmoid, torch.sigmoid),
    case(2, "tf_keras", keras2_hard_sigmoid, torch.sigmoid),
    case(3, "tf_keras", keras2_hard_sigmoid, torch.sigmoid),
]
