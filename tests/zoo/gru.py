"""GRU, whose gates torch orders otherwise, with both ways to reset."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import R_Z_N, recurrent
from tests.zoo.recurrent import Between, Module, between, every, flipped, time_major


def gru(w: Weights, order: tuple[int, ...] = R_Z_N, **more: Any) -> Module:
    return Module(w, nn.GRU, order=order, **more)


def exchanged(own: list[Tensor]) -> list[Tensor]:
    """The biases of the input and of the state in each other's place."""
    return [own[0], own[1], own[2].flip(0)]


def added(own: list[Tensor]) -> list[Tensor]:
    """Both biases in the first."""
    return [own[0], own[1], torch.stack([own[2].sum(0), torch.zeros_like(own[2][0])])]


class Cells(Between):
    """GRUCell in a loop."""

    def __init__(self, w: Weights, order: tuple[int, ...] = R_Z_N, sequences: bool = False) -> None:
        super().__init__(w)
        kernel, inner = w["rnn"][:2]
        self.sequences = sequences
        self.cell = nn.GRUCell(kernel.shape[0], inner.shape[0])
        load(self.cell, **recurrent(w["rnn"], order))

    def recur(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(x.shape[0], 4), []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            states.append(state)
        return torch.stack(states, 1) if self.sequences else state


class ResetBefore(Between):
    """GRU(reset_after=False), which torch has no module for: the reset gate works on the state before the product."""

    def __init__(self, w: Weights, after: bool = False, swap: bool = False, keep: bool = False) -> None:
        super().__init__(w)
        self.after, self.swap, self.keep = after, swap, keep
        self.kernel, self.inner, self.bias = (nn.Parameter(t) for t in w["rnn"])

    def recur(self, x: Tensor) -> Tensor:
        uz, ur, uh = self.inner.chunk(3, 1)
        state = torch.zeros(x.shape[0], 4)
        for step in (x @ self.kernel + self.bias).unbind(1):
            xz, xr, xh = step.chunk(3, -1)
            if self.swap:
                xz, xr = xr, xz
            z, r = torch.sigmoid(xz + state @ uz), torch.sigmoid(xr + state @ ur)
            new = torch.tanh(xh + (r * (state @ uh) if self.after else (r * state) @ uh))
            state = (1 - z) * state + z * new if self.keep else z * state + (1 - z) * new
        return state


class ResetAfterByHand(Between):
    """The same cell as nn.GRU, with Keras's own kernels and F.linear."""

    def __init__(self, w: Weights, inner_bias: bool = True) -> None:
        super().__init__(w)
        kernel, inner, bias = w["rnn"]
        self.w, self.u = nn.Parameter(kernel.T.contiguous()), nn.Parameter(inner.T.contiguous())
        self.b, self.c = nn.Parameter(bias[0]), nn.Parameter(bias[1]) if inner_bias else None

    def recur(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 4)
        out = []
        for t in range(x.size(1)):
            xz, xr, xh = F.linear(x[:, t, :], self.w, self.b).chunk(3, dim=1)
            hz, hr, hh = F.linear(h, self.u, self.c).chunk(3, dim=1)
            z = (xz + hz).sigmoid()
            h = z * h + (1 - z) * (xh + (xr + hr).sigmoid() * hh).tanh()
            out.append(h)
        return torch.stack(out, dim=1)


CASES = [
    Case(
        "gru_last",
        between("GRU"),
        gru,
        {
            "gate_order": wrong(lambda w: gru(w, (0, 1, 2)), "rnn"),
            "biases_exchanged": wrong(lambda w: gru(w, weights=exchanged), "rnn"),
            "biases_added": wrong(lambda w: gru(w, weights=added), "rnn"),
            "first_step": wrong(lambda w: gru(w, take=lambda out, _: out[:, 0]), "rnn"),
        },
    ),
    Case(
        "gru_sequences",
        between("GRU", shape=(None, 5), return_sequences=True),
        lambda w: gru(w, take=lambda out, _: time_major(out), give=time_major, batch_first=False),
        {"over_the_batch": wrong(lambda w: gru(w, take=every, batch_first=False), "rnn")},
    ),
    Case(
        "gru_backwards",
        between("GRU", go_backwards=True),
        lambda w: gru(w, give=flipped),
        {"forwards": wrong(gru, "rnn"), "first_step": wrong(lambda w: gru(w, take=lambda out, _: out[:, 0]), "rnn")},
    ),
    Case(
        "gru_no_bias",
        between("GRU", use_bias=False),
        lambda w: gru(w, take=lambda _, state: state[-1]),
        {"gate_order": wrong(lambda w: gru(w, (0, 1, 2)), "rnn")},
    ),
    Case(
        "gru_cells",
        between("GRU"),
        Cells,
        {"gate_order": wrong(lambda w: Cells(w, (2, 1, 0)), "rnn")},
    ),
    Case(
        "gru_cells_sequences",
        between("GRU", return_sequences=True),
        lambda w: Cells(w, sequences=True),
        {"gate_order": wrong(lambda w: Cells(w, (2, 1, 0), sequences=True), "rnn")},
    ),
    Case(
        "gru_by_hand",
        between("GRU", return_sequences=True),
        ResetAfterByHand,
        {"state_bias_missing": wrong(lambda w: ResetAfterByHand(w, inner_bias=False), "rnn")},
    ),
    Case(
        "gru_reset_before",
        between("GRU", reset_after=False),
        ResetBefore,
        {
            "reset_after": wrong(lambda w: ResetBefore(w, after=True), "rnn"),
            "module": wrong(gru, "rnn"),
            "gates_swapped": wrong(lambda w: ResetBefore(w, swap=True), "rnn"),
            "update_gate_inverted": wrong(lambda w: ResetBefore(w, keep=True), "rnn"),
        },
    ),
]
