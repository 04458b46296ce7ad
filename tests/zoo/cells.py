"""Recurrent layers written by hand, with activations that torch's modules do not have, and layers made of cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import R_Z_N, linear, recurrent, reordered, rnn
from tests.zoo.recurrent import Between, Module, between

Function = Callable[[Tensor], Tensor]


def keras2_hard_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(0.2 * x + 0.5, 0, 1)


class ByHand(Between):
    """LSTM with Keras's own kernels: matmul, chunk, and the activations one likes."""

    def __init__(
        self,
        w: Weights,
        gate: Function = torch.sigmoid,
        act: Function = torch.tanh,
        sequences: bool = False,
        bias: float = 1.0,
        order: tuple[int, ...] = (0, 1, 2, 3),
    ) -> None:
        super().__init__(w)
        own = [reordered(t.T, order).T for t in w["rnn"]]
        self.kernel, self.inner = nn.Parameter(own[0]), nn.Parameter(own[1])
        self.bias = nn.Parameter(own[2] * bias) if len(own) > 2 else None
        self.gate, self.act, self.sequences = gate, act, sequences

    def recur(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], self.inner.shape[0])
        states = []
        for t in range(x.shape[1]):
            gates = x[:, t] @ self.kernel + h @ self.inner
            if self.bias is not None:
                gates = gates + self.bias
            i, f, g, o = gates.chunk(4, dim=-1)
            c = self.gate(f) * c + self.gate(i) * self.act(g)
            h = self.gate(o) * self.act(c)
            states.append(h)
        return torch.stack(states, 1) if self.sequences else h


class SimpleByHand(Between):
    """SimpleRNN over all steps, the input's part in one product before the loop."""

    def __init__(self, w: Weights, act: Function = torch.tanh, twice: bool = False) -> None:
        super().__init__(w)
        kernel, inner, bias = w["rnn"]
        self.inp, self.rec = linear([kernel, bias]), linear([inner, bias] if twice else [inner])
        self.act = act

    def recur(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], 4)
        for step in self.inp(x).unbind(1):
            h = self.act(step + self.rec(h))
        return h


class Cell(Between):
    """LSTMCell or RNNCell in a loop."""

    def __init__(self, w: Weights, order: tuple[int, ...] = (0,), sequences: bool = False, cell: bool = False) -> None:
        super().__init__(w)
        kernel, inner = w["rnn"][:2]
        self.cell = nn.LSTMCell(kernel.shape[0], inner.shape[0], bias=len(w["rnn"]) > 2)
        load(self.cell, **recurrent(w["rnn"], order))
        self.sequences, self.give_cell = sequences, cell

    def recur(self, x: Tensor) -> Tensor:
        state, states = None, []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            states.append(state[self.give_cell])
        return torch.stack(states, dim=1) if self.sequences else states[-1]


class HeadInLoop(Cell):
    """The dense layer is called at every step."""

    def __init__(self, w: Weights, order: tuple[int, ...] = (0,), turned: bool = False) -> None:
        super().__init__(w, order)
        if turned:
            self.head.weight.data = self.head.weight.data.flip(0)

    def forward(self, x: Tensor) -> Any:
        state, outputs = None, []
        for step in F.relu(self.pre(x)).unbind(1):
            state = self.cell(step, state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs, dim=1)


def of_cells(*kinds: str, stacked: bool = False, **config: Any) -> Callable[[Any], Any]:
    """Dense, RNN of one cell or of several one over the other, Dense."""

    def build(k: Any) -> Any:
        cells = [getattr(k.layers, kind)(4 + i) for i, kind in enumerate(kinds)]
        x = inputs = k.Input((7, 5))
        x = k.layers.Dense(6, "relu", name="pre")(x)
        cell = cells[0] if len(cells) == 1 else k.layers.StackedRNNCells(cells) if stacked else cells
        x = k.layers.RNN(cell, name="rnn", **config)(x)
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


class TwoModules(Between):
    """Cells one over the other, as two modules one after the other."""

    def __init__(self, w: Weights, sequences: bool = False, order: Any = R_Z_N) -> None:
        super().__init__(w)
        own = w["rnn"]
        self.first, self.second = rnn(nn.LSTM, own[:3]), rnn(nn.GRU, own[3:], order=order)
        self.sequences = sequences

    def recur(self, x: Tensor) -> Tensor:
        x, _ = self.first(x)
        x, _ = self.second(x)
        return x if self.sequences else x[:, -1]


class TwoCells(Between):
    """Cells one over the other, as people write them: both in one loop."""

    def __init__(self, w: Weights, order: Any = R_Z_N) -> None:
        super().__init__(w)
        own = w["rnn"]
        self.first, self.second = nn.LSTMCell(6, 4), nn.GRUCell(4, 5)
        load(self.first, **recurrent(own[:3]))
        load(self.second, **recurrent(own[3:], order))

    def recur(self, x: Tensor) -> Tensor:
        h, c, g = torch.zeros(len(x), 4), torch.zeros(len(x), 4), torch.zeros(len(x), 5)
        for t in range(x.size(1)):
            h, c = self.first(x[:, t], (h, c))
            g = self.second(h, g)
        return g


def hard(loader: str, own: Function, other: Function) -> Case:
    """The hard sigmoid of a Keras, against that of the other."""
    return Case(
        f"lstm_hard_{loader}",
        between("LSTM", activation="relu", recurrent_activation="hard_sigmoid"),
        lambda w: ByHand(w, own, torch.relu),
        {
            "sigmoid": wrong(lambda w: ByHand(w, act=torch.relu), "rnn"),
            "other_hard_sigmoid": wrong(lambda w: ByHand(w, other, torch.relu), "rnn"),
            "tanh": wrong(lambda w: ByHand(w, own), "rnn"),
        },
        loaders=(loader,),
    )


CASES = [
    Case(
        "lstm_by_hand",
        between("LSTM", return_sequences=True),
        lambda w: ByHand(w, sequences=True),
        {
            "gate_order": wrong(lambda w: ByHand(w, sequences=True, order=(0, 1, 3, 2)), "rnn"),
            "bias_doubled": wrong(lambda w: ByHand(w, sequences=True, bias=2.0), "rnn"),
            "activation": wrong(lambda w: ByHand(w, sequences=True, act=F.relu), "rnn"),
        },
    ),
    Case(
        "lstm_by_hand_last",
        between("LSTM", use_bias=False),
        ByHand,
        {"activation": wrong(lambda w: ByHand(w, gate=F.hardsigmoid), "rnn")},
    ),
    hard("keras", F.hardsigmoid, keras2_hard_sigmoid),
    hard("tf_keras", keras2_hard_sigmoid, F.hardsigmoid),
    Case(
        "simple_rnn_by_hand",
        between("SimpleRNN", activation="softsign"),
        lambda w: SimpleByHand(w, F.softsign),
        {
            "tanh": wrong(SimpleByHand, "rnn"),
            "bias_doubled": wrong(lambda w: SimpleByHand(w, F.softsign, twice=True), "rnn"),
        },
    ),
    Case(
        "lstm_cell_loop",
        between("LSTM"),
        Cell,
        {
            "gate_order": wrong(lambda w: Cell(w, (0, 2, 1, 3)), "rnn"),
            "cell_state": wrong(lambda w: Cell(w, cell=True), "rnn"),
        },
    ),
    Case(
        "lstm_cell_loop_sequences",
        between("LSTM", return_sequences=True),
        lambda w: Cell(w, sequences=True),
        {"cell_state": wrong(lambda w: Cell(w, sequences=True, cell=True), "rnn")},
    ),
    Case(
        "lstm_cell_loop_with_head",
        between("LSTM", return_sequences=True),
        HeadInLoop,
        {
            "gate_order": wrong(lambda w: HeadInLoop(w, (0, 2, 1, 3)), "rnn"),
            "rows": wrong(lambda w: HeadInLoop(w, turned=True), "head", "head:weights"),
        },
    ),
    Case(
        "rnn_of_lstm_cell",
        of_cells("LSTMCell"),
        Module,
        {"gate_order": wrong(lambda w: Module(w, order=(1, 0, 2, 3)), "rnn")},
    ),
    Case(
        "rnn_of_gru_cell",
        of_cells("GRUCell", return_sequences=True, go_backwards=True),
        lambda w: Module(w, nn.GRU, take=lambda out, _: out, give=lambda x: x.flip(1), order=R_Z_N),
        {"forwards": wrong(lambda w: Module(w, nn.GRU, take=lambda out, _: out, order=R_Z_N), "rnn")},
    ),
    Case(
        "rnn_of_simple_cell",
        of_cells("SimpleRNNCell"),
        lambda w: Module(w, nn.RNN),
        {"relu": wrong(lambda w: Module(w, nn.RNN, nonlinearity="relu"), "rnn")},
    ),
    Case(
        "rnn_of_cells",
        of_cells("LSTMCell", "GRUCell", return_sequences=True),
        lambda w: TwoModules(w, sequences=True),
        {"gate_order": wrong(lambda w: TwoModules(w, sequences=True, order=(0, 1, 2)), "rnn")},
    ),
    Case(
        "rnn_of_stacked_cells",
        of_cells("LSTMCell", "GRUCell", stacked=True),
        TwoCells,
        {"gate_order": wrong(lambda w: TwoCells(w, order=(0, 1, 2)), "rnn")},
    ),
    Case(
        "rnn_of_stacked_cells_as_modules",
        of_cells("LSTMCell", "GRUCell", stacked=True),
        TwoModules,
        {"gate_order": wrong(lambda w: TwoModules(w, order=(0, 1, 2)), "rnn")},
    ),
]
