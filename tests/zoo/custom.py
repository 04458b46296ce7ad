"""A recurrent cell of the user's own, which only the code that builds the model knows."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.recurrent import Between


def model(k: Any) -> Any:
    """Dense, RNN of a cell with one gate, Dense."""

    class Cell(k.layers.Layer):  # type: ignore[misc]
        state_size = output_size = 4

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], 8), name="kernel")
            self.inner = self.add_weight(shape=(4, 8), name="inner_kernel")

        def call(self, x: Any, states: Any, training: Any = None) -> Any:
            (h,) = states
            a, b = k.ops.split(k.ops.matmul(x, self.kernel) + k.ops.matmul(h, self.inner), 2, axis=-1)
            gate = k.ops.sigmoid(a)
            h = gate * h + (1 - gate) * k.ops.tanh(b)
            return h, [h]

    x = inputs = k.Input((7, 5))
    x = k.layers.RNN(Cell(), name="rnn")(k.layers.Dense(6, "relu", name="pre")(x))
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def build() -> Any:
    return model(importlib.import_module("keras"))


class OneGate(Between):
    def __init__(self, w: Weights, inverted: bool = False) -> None:
        super().__init__(w)
        self.kernel, self.inner = (nn.Parameter(t) for t in w["rnn"])
        self.inverted = inverted

    def recur(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], 4)
        for step in x.unbind(1):
            a, b = (step @ self.kernel + h @ self.inner).chunk(2, dim=1)
            gate = torch.sigmoid(-a if self.inverted else a)
            h = torch.lerp(torch.tanh(b), h, gate)
        return h


CASES = [
    Case(
        "custom_cell",
        model,
        OneGate,
        {"inverted": wrong(lambda w: OneGate(w, inverted=True), "rnn")},
        loaders=("keras",),
        settings={"keras": "tests.zoo.custom:build"},
    ),
]
