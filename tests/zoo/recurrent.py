"""LSTM and SimpleRNN between dense layers, written as torch's modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import linear, reordered, rnn

I_O_F_G = (0, 3, 1, 2)


def between(kind: str, shape: tuple[int | None, int] = (7, 5), **config: Any) -> Callable[[Any], Any]:
    """Dense, a recurrent layer of four units, Dense."""

    def build(k: Any) -> Any:
        x = inputs = k.Input(shape)
        x = k.layers.Dense(6, "relu", name="pre")(x)
        x = getattr(k.layers, kind)(4, name="rnn", **config)(x)
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


class Between(nn.Module):
    """What comes before and after; subclasses say what is between."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.pre, self.head = linear(w["pre"]), linear(w["head"])

    def forward(self, x: Tensor) -> Any:
        return self.head(self.recur(torch.relu(self.pre(x))))

    def recur(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Module(Between):
    """One recurrent module; ``take`` makes the layer's output from its output and state."""

    def __init__(
        self,
        w: Weights,
        kind: type[nn.RNNBase] = nn.LSTM,
        take: Callable[[Tensor, Any], Tensor] = lambda out, _: out[:, -1],
        weights: Callable[[list[Tensor]], Sequence[Tensor]] = lambda own: own,
        give: Callable[[Tensor], Tensor] = lambda x: x,
        **more: Any,
    ) -> None:
        super().__init__(w)
        self.rnn, self.take, self.give = rnn(kind, weights(w["rnn"]), **more), take, give

    def recur(self, x: Tensor) -> Tensor:
        return self.take(*self.rnn(self.give(x)))


def double(w: Weights, **more: Any) -> Module:
    """Keras's one bias in both of torch's."""
    module = Module(w, **more)
    load(module.rnn, bias_hh_l0=w["rnn"][2])
    return module


def gates(order: Sequence[int]) -> Callable[[list[Tensor]], list[Tensor]]:
    """Weights with their gates in another order."""
    return lambda own: [reordered(t.T, order).T for t in own]


def no_bias(own: list[Tensor]) -> list[Tensor]:
    return [*own[:2], torch.zeros_like(own[2])]


def flipped(x: Tensor) -> Tensor:
    return x.flip(1)


def every(out: Tensor, state: Any) -> Tensor:
    return out


def time_major(x: Tensor) -> Tensor:
    return x.transpose(0, 1)


def pooled(k: Any) -> Any:
    """The mean over all steps."""
    inputs = k.Input((7, 5))
    x = k.layers.LSTM(4, return_sequences=True, name="rnn")(inputs)
    return k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.GlobalAveragePooling1D(name="pool")(x)))


class Pooled(nn.Module):
    def __init__(self, w: Weights, last: bool = False, order: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.rnn, self.head, self.last = rnn(nn.LSTM, w["rnn"], order=order), linear(w["head"]), last

    def forward(self, x: Tensor) -> Any:
        out, _ = self.rnn(x)
        return self.head(out[:, -1] if self.last else out.mean(1))


CASES = [
    Case(
        "lstm_pooled",
        pooled,
        Pooled,
        {
            "last_step": wrong(lambda w: Pooled(w, last=True), "pool"),
            "gate_order": wrong(lambda w: Pooled(w, order=I_O_F_G), "rnn"),
        },
    ),
    Case(
        "lstm_last",
        between("LSTM"),
        Module,
        {
            "gate_order": wrong(lambda w: Module(w, order=I_O_F_G), "rnn"),
            "bias_doubled": wrong(double, "rnn"),
            "bias_missing": wrong(lambda w: Module(w, weights=no_bias), "rnn"),
            "first_step": wrong(lambda w: Module(w, take=lambda out, _: out[:, 0]), "rnn"),
            "cell_state": wrong(lambda w: Module(w, take=lambda _, state: state[1][-1]), "rnn"),
            "over_the_batch": wrong(lambda w: Module(w, batch_first=False), "rnn"),
            "recurrent_transposed": wrong(
                lambda w: Module(
                    w, weights=lambda own: [own[0], torch.cat([g.T for g in own[1].chunk(4, 1)], 1), own[2]]
                ),
                "rnn",
            ),
        },
    ),
    Case(
        "lstm_state",
        between("LSTM", shape=(None, 5)),
        lambda w: Module(w, take=lambda _, state: state[0][-1], give=time_major, batch_first=False),
        {"backwards": wrong(lambda w: Module(w, give=flipped), "rnn")},
    ),
    Case(
        "lstm_sequences",
        between("LSTM", return_sequences=True),
        lambda w: Module(w, take=every),
        {
            "backwards": wrong(lambda w: Module(w, take=every, give=flipped), "rnn"),
        },
    ),
    Case(
        "lstm_time_major",
        between("LSTM", return_sequences=True),
        lambda w: Module(w, take=lambda out, _: time_major(out), give=time_major, batch_first=False),
        {"gate_order": wrong(lambda w: Module(w, take=every, order=(0, 1, 3, 2)), "rnn")},
    ),
    Case(
        "lstm_backwards",
        between("LSTM", return_sequences=True, go_backwards=True),
        lambda w: Module(w, take=every, give=flipped),
        {
            "forwards": wrong(lambda w: Module(w, take=every), "rnn"),
            "turned_back": wrong(lambda w: Module(w, take=lambda out, _: out.flip(1), give=flipped), "rnn"),
        },
    ),
    Case(
        "lstm_no_bias",
        between("LSTM", use_bias=False),
        Module,
        {"gate_order": wrong(lambda w: Module(w, order=(1, 0, 2, 3)), "rnn")},
    ),
    Case(
        "simple_rnn",
        between("SimpleRNN"),
        lambda w: Module(w, nn.RNN),
        {
            "bias_doubled": wrong(lambda w: double(w, kind=nn.RNN), "rnn"),
            "relu": wrong(lambda w: Module(w, nn.RNN, nonlinearity="relu"), "rnn"),
            "not_transposed": wrong(lambda w: Module(w, nn.RNN, weights=lambda own: [own[0], own[1].T, own[2]]), "rnn"),
        },
    ),
    Case(
        "simple_rnn_relu",
        between("SimpleRNN", activation="relu", return_sequences=True),
        lambda w: Module(w, nn.RNN, take=every, nonlinearity="relu"),
        {"tanh": wrong(lambda w: Module(w, nn.RNN, take=every), "rnn")},
    ),
    Case(
        "simple_rnn_backwards",
        between("SimpleRNN", go_backwards=True),
        lambda w: Module(w, nn.RNN, give=flipped),
        {"forwards": wrong(lambda w: Module(w, nn.RNN), "rnn")},
    ),
]
