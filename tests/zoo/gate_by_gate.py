"""Recurrent layers by hand as textbooks write them: each gate a product of its own, or one of [input, state]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import linear, reordered
from tests.zoo.recurrent import Between, between

I_F_C_O = (0, 1, 2, 3)
I_C_F_O = (0, 2, 1, 3)


class Gate(nn.Module):
    """One gate before its function: one product of input and state together, or two."""

    def __init__(self, kernel: Tensor, inner: Tensor, biases: Sequence[Tensor], joined: bool) -> None:
        super().__init__()
        self.both = linear([torch.cat([kernel, inner]), sum(biases, torch.zeros(1))]) if joined else None
        self.of_input = None if joined else linear([kernel, biases[0]])
        self.of_state = None if joined else linear([inner, *biases[1:]])

    def parts(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        assert self.of_input is not None
        assert self.of_state is not None
        return self.of_input(x), self.of_state(h)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        if self.both is not None:
            both: Tensor = self.both(torch.cat([x, h], dim=1))
            return both
        of_input, of_state = self.parts(x, h)
        return of_input + of_state


def gates(own: Sequence[Tensor], order: Sequence[int], joined: bool) -> nn.ModuleList:
    """The gates of a cell, from (kernel, recurrent kernel, bias), in an order."""
    kernel, inner, bias = own
    number = len(order)
    rows = bias.reshape(-1, bias.shape[-1])
    return nn.ModuleList(
        Gate(kernel.chunk(number, 1)[i], inner.chunk(number, 1)[i], [row.chunk(number)[i] for row in rows], joined)
        for i in order
    )


class Lstm(nn.Module):
    def __init__(
        self,
        own: Sequence[Tensor],
        joined: bool,
        order: Sequence[int] = I_F_C_O,
        sequences: bool = False,
        backwards: bool = False,
        flipped: bool = False,
    ) -> None:
        super().__init__()
        self.gates, self.units = gates(own, order, joined), own[1].shape[0]
        self.sequences, self.backwards = sequences, backwards
        if flipped:
            weight = next(self.gates[1].parameters())
            weight.data = weight.data.flip(1)

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_zeros(x.shape[0], self.units), x.new_zeros(x.shape[0], self.units)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (gate(x, h) for gate in self.gates)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.start(x)
        states = []
        for step in x.flip(1).unbind(1) if self.backwards else x.unbind(1):
            h, c = self.step(step, h, c)
            states.append(h)
        return torch.stack(states, dim=1) if self.sequences else h


class One(Between):
    """One LSTM, or both directions of one."""

    def __init__(self, w: Weights, joined: bool, swapped: bool = False, **more: Any) -> None:
        super().__init__(w)
        own = w["rnn"]
        directions = [own[:3], own[3:]] if len(own) > 3 else [own]
        directions = directions[::-1] if swapped else directions
        self.directions = nn.ModuleList(Lstm(d, joined, backwards=i > 0, **more) for i, d in enumerate(directions))

    def recur(self, x: Tensor) -> Tensor:
        return torch.cat([direction(x) for direction in self.directions], dim=-1)


class Gru(Between):
    """A GRU that resets after the product."""

    def __init__(self, w: Weights, order: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__(w)
        self.gates, self.units = gates(w["rnn"], order, joined=False), w["rnn"][1].shape[0]

    def recur(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.units)
        for step in x.unbind(1):
            z, r = (torch.sigmoid(gate(step, h)) for gate in self.gates[:2])
            last = self.gates[2]
            assert isinstance(last, Gate)
            new, old = last.parts(step, h)
            h = z * h + (1 - z) * torch.tanh(new + r * old)
        return h


class GruBefore(Between):
    """A GRU that resets before: update and reset in one product of [input, state], the new state in another."""

    def __init__(self, w: Weights, turned: bool = False) -> None:
        super().__init__(w)
        kernel, inner, bias = w["rnn"]
        self.units = inner.shape[0]
        weight, order = torch.cat([kernel, inner]).T, (1, 0) if turned else (0, 1)
        two = 2 * self.units
        self.update_and_reset = linear([reordered(weight[:two], order).T, reordered(bias[:two], order)])
        self.new = linear([weight[two:].T, bias[two:]])

    def recur(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.units)
        for step in x.unbind(1):
            z, r = torch.sigmoid(self.update_and_reset(torch.cat([step, h], dim=1))).chunk(2, dim=1)
            h = z * h + (1 - z) * torch.tanh(self.new(torch.cat([step, r * h], dim=1)))
        return h


def two_layers(k: Any) -> Any:
    x = inputs = k.Input((7, 5))
    x = k.layers.Dense(6, "relu", name="pre")(x)
    x = k.layers.LSTM(4, return_sequences=True, name="first")(x)
    x = k.layers.LSTM(3, name="second")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Two(Between):
    """Two layers in one loop."""

    def __init__(self, w: Weights, first: Sequence[int] = I_F_C_O, second: Sequence[int] = I_F_C_O) -> None:
        super().__init__(w)
        self.first, self.second = Lstm(w["first"], True, first), Lstm(w["second"], True, second)

    def recur(self, x: Tensor) -> Tensor:
        h, c = self.first.start(x)
        upper, memory = self.second.start(x)
        for step in x.unbind(1):
            h, c = self.first.step(step, h, c)
            upper, memory = self.second.step(h, upper, memory)
        return upper


def video(k: Any) -> Any:
    x = inputs = k.Input((4, 6, 5, 3))
    x = k.layers.ConvLSTM2D(4, 3, padding="same", recurrent_activation="sigmoid", name="rnn")(x)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Video(nn.Module):
    """A ConvLSTM with one convolution of [input, state]."""

    def __init__(self, w: Weights, order: Sequence[int] = I_F_C_O) -> None:
        super().__init__()
        kernel, inner, bias = w["rnn"]
        self.conv, self.head = nn.Conv2d(7, 16, 3, padding=1), linear(w["head"])
        joined = torch.cat([kernel, inner], dim=2).permute(3, 2, 0, 1)
        load(self.conv, weight=reordered(joined, order), bias=reordered(bias, order))

    def forward(self, x: Tensor) -> Any:
        x = x.movedim(-1, 2)
        h = c = x.new_zeros(x.shape[0], 4, *x.shape[3:])
        for step in x.unbind(1):
            i, f, g, o = self.conv(torch.cat([step, h], dim=1)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h.mean((2, 3)))


def both_directions(k: Any) -> Any:
    x = inputs = k.Input((7, 5))
    x = k.layers.Dense(6, "relu", name="pre")(x)
    x = k.layers.Bidirectional(k.layers.LSTM(4), name="rnn")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def lstm(joined: bool, **more: Any) -> Callable[[Weights], nn.Module]:
    return lambda w: One(w, joined, **more)


CASES = [
    Case(
        "lstm_gates_of_input_and_state",
        between("LSTM"),
        lstm(True),
        {
            "gate_order": wrong(lstm(True, order=I_C_F_O), "rnn"),
            "one_gate": wrong(lstm(True, flipped=True), "rnn"),
        },
    ),
    Case(
        "lstm_gates_apart",
        between("LSTM", return_sequences=True),
        lstm(False, sequences=True),
        {
            "gate_order": wrong(lstm(False, sequences=True, order=I_C_F_O), "rnn"),
            "one_gate": wrong(lstm(False, sequences=True, flipped=True), "rnn"),
        },
    ),
    Case(
        "lstm_gates_of_two_directions",
        both_directions,
        lstm(True),
        {
            "swapped": wrong(lstm(True, swapped=True), "rnn"),
            "gate_order": wrong(lstm(True, order=I_C_F_O), "rnn"),
        },
    ),
    Case("gru_gates_apart", between("GRU"), Gru, {"gate_order": wrong(lambda w: Gru(w, (1, 0, 2)), "rnn")}),
    Case(
        "gru_gates_of_input_and_state",
        between("GRU", reset_after=False),
        GruBefore,
        {"gate_order": wrong(lambda w: GruBefore(w, turned=True), "rnn")},
    ),
    Case(
        "lstm_gates_of_two_layers_in_a_loop",
        two_layers,
        Two,
        {
            "first": wrong(lambda w: Two(w, first=I_C_F_O), "first"),
            "second": wrong(lambda w: Two(w, second=I_C_F_O), "second"),
        },
    ),
    Case(
        "convlstm_of_input_and_state",
        video,
        Video,
        {"gate_order": wrong(lambda w: Video(w, I_C_F_O), "rnn")},
    ),
]
