"""Several recurrent layers one over the other, in one torch module or in one loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import R_Z_N, linear, recurrent, reordered, rnn

NAMES = ("first", "second")
OTHER = (0, 1, 3, 2)


def stack(kind: str, sequences: bool = False, both_ways: bool = False, width: int = 5, **config: Any) -> Any:
    """Two recurrent layers, Dropout between, Dense."""

    def build(k: Any) -> Any:
        x = inputs = k.Input((7, width))
        for name, every in zip(NAMES, (True, sequences), strict=True):
            layer = getattr(k.layers, kind)
            own = {"return_sequences": every, **config}
            x = k.layers.Bidirectional(layer(4, **own), name=name)(x) if both_ways else layer(4, name=name, **own)(x)
            x = k.layers.Dropout(0.3)(x) if name == "first" else x
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


class Stack(nn.Module):
    """num_layers=2; ``orders`` are those of the gates of each layer."""

    def __init__(
        self,
        w: Weights,
        kind: type[nn.RNNBase] = nn.LSTM,
        names: Sequence[str] = NAMES,
        orders: Sequence[Sequence[int]] = ((0,), (0,)),
        sequences: bool = False,
        both_ways: bool = False,
        **more: Any,
    ) -> None:
        super().__init__()
        layers = []
        for name, order in zip(names, orders, strict=True):
            own = [reordered(t.T, order).T for t in w[name]]
            layers += [own[: len(own) // 2], own[len(own) // 2 :]] if both_ways else [own]
        self.rnn, self.head = rnn(kind, *layers, bidirectional=both_ways, **more), linear(w["head"])
        self.rnn.dropout = 0.3
        self.sequences, self.both_ways = sequences, both_ways

    def forward(self, x: Tensor) -> Any:
        out, state = self.rnn(x)
        if self.sequences:
            return self.head(out)
        h = state[0] if isinstance(state, tuple) else state
        return self.head(torch.cat([h[-2], h[-1]], 1) if self.both_ways else h[-1])


class OneLoop(nn.Module):
    """A cell for each layer, both in one loop over time."""

    def __init__(self, w: Weights, orders: Sequence[Sequence[int]] = ((0,), (0,)), sequences: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.LSTMCell(5, 4), nn.LSTMCell(4, 4), linear(w["head"])
        load(self.first, **recurrent(w["first"], orders[0]))
        load(self.second, **recurrent(w["second"], orders[1]))
        self.sequences = sequences

    def forward(self, x: Tensor) -> Any:
        lower = upper = (torch.zeros(x.shape[0], 4), torch.zeros(x.shape[0], 4))
        out = []
        for t in range(x.shape[1]):
            lower = self.first(x[:, t], lower)
            upper = self.second(lower[0], upper)
            out.append(upper[0])
        return self.head(torch.stack(out, 1) if self.sequences else upper[0])


CASES = [
    Case(
        "stack_of_lstm",
        stack("LSTM"),
        Stack,
        {
            "first": wrong(lambda w: Stack(w, orders=(OTHER, (0,))), "first"),
            "second": wrong(lambda w: Stack(w, orders=((0,), OTHER)), "second"),
        },
    ),
    Case(
        "stack_of_lstm_sequences",
        stack("LSTM", sequences=True, use_bias=False),
        lambda w: Stack(w, sequences=True),
        {"first": wrong(lambda w: Stack(w, orders=(OTHER, (0,)), sequences=True), "first")},
    ),
    Case(
        "stack_exchanged",
        stack("LSTM", width=4),
        Stack,
        {"exchanged": wrong(lambda w: Stack(w, names=("second", "first")), "first second")},
    ),
    Case(
        "stack_in_one_loop",
        stack("LSTM"),
        OneLoop,
        {
            "first": wrong(lambda w: OneLoop(w, (OTHER, (0,))), "first"),
            "second": wrong(lambda w: OneLoop(w, ((0,), OTHER)), "second"),
        },
    ),
    Case(
        "stack_in_one_loop_sequences",
        stack("LSTM", sequences=True),
        lambda w: OneLoop(w, sequences=True),
        {
            "first": wrong(lambda w: OneLoop(w, (OTHER, (0,)), sequences=True), "first"),
            "second": wrong(lambda w: OneLoop(w, ((0,), OTHER), sequences=True), "second"),
        },
    ),
    Case(
        "stack_of_gru",
        stack("GRU"),
        lambda w: Stack(w, nn.GRU, orders=(R_Z_N, R_Z_N)),
        {"second": wrong(lambda w: Stack(w, nn.GRU, orders=(R_Z_N, (0,))), "second")},
    ),
    Case(
        "stack_of_simple_rnn",
        stack("SimpleRNN", sequences=True, activation="relu"),
        lambda w: Stack(w, nn.RNN, sequences=True, nonlinearity="relu"),
        {"tanh": wrong(lambda w: Stack(w, nn.RNN, sequences=True), "first second")},
    ),
    Case(
        "stack_of_bidirectional",
        stack("LSTM", both_ways=True),
        lambda w: Stack(w, both_ways=True),
        {
            "first": wrong(lambda w: Stack(w, orders=(OTHER, (0,)), both_ways=True), "first"),
            "second": wrong(lambda w: Stack(w, orders=((0,), OTHER), both_ways=True), "second"),
        },
    ),
]
