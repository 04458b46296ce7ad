"""Bidirectional with every merge mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.gates import R_Z_N, linear, rnn
from tests.zoo.recurrent import Between, every

Merge = Callable[[Tensor, Tensor], Tensor]


def around(kind: str = "LSTM", merge: str | None = "concat", **config: Any) -> Callable[[Any], Any]:
    """Dense, Bidirectional of four units, Dense; without a merge mode the halves are added."""

    def build(k: Any) -> Any:
        x = inputs = k.Input((7, 5))
        x = k.layers.Dense(6, "relu", name="pre")(x)
        x = k.layers.Bidirectional(getattr(k.layers, kind)(4, **config), merge_mode=merge, name="rnn")(x)
        x = x if merge else k.layers.Subtract(name="minus")(x)
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


def halves(own: list[Tensor]) -> Sequence[list[Tensor]]:
    """Weights of the forward and of the backward layer."""
    return own[: len(own) // 2], own[len(own) // 2 :]


class Module(Between):
    """bidirectional=True; ``take`` makes the layer's output from its output and state."""

    def __init__(
        self,
        w: Weights,
        kind: type[nn.RNNBase] = nn.LSTM,
        take: Callable[[Tensor, Any], Tensor] = every,
        order: Sequence[int] = (0,),
        exchanged: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(w)
        forward, backward = halves(w["rnn"])[:: -1 if exchanged else 1]
        self.rnn, self.take = rnn(kind, forward, backward, bidirectional=True, order=order, **more), take

    def recur(self, x: Tensor) -> Tensor:
        return self.take(*self.rnn(x))


class TwoModules(Between):
    """One module for each direction."""

    def __init__(self, w: Weights, take: Merge, turn: bool = True) -> None:
        super().__init__(w)
        self.take, self.turn = take, turn
        self.there, self.back = (rnn(nn.LSTM, own) for own in halves(w["rnn"]))

    def recur(self, x: Tensor) -> Tensor:
        there, _ = self.there(x)
        back, _ = self.back(torch.flip(x, dims=[1]))
        return self.take(there, torch.flip(back, dims=[1]) if self.turn else back)


def state_of(_: Tensor, state: Any) -> Tensor:
    """Last steps of both directions: h_n of the forward and of the backward half."""
    h = state[0] if isinstance(state, tuple) else state
    return torch.cat([h[-2], h[-1]], dim=1)


def merged(merge: Merge) -> Callable[[Tensor, Any], Tensor]:
    return lambda out, _: merge(*out.chunk(2, dim=-1))


def merged_state(merge: Merge) -> Callable[[Tensor, Any], Tensor]:
    return lambda _, state: merge(*state[0])


def average(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


def in_mode(mode: str, merge: Merge, other: Merge, sequences: bool = True) -> Case:
    """A mode, against another one."""
    take = merged if sequences else merged_state
    return Case(
        f"bidirectional_{mode}{'' if sequences else '_last'}",
        around(merge=mode, return_sequences=sequences),
        lambda w: Module(w, take=take(merge)),
        {"other_mode": wrong(lambda w: Module(w, take=take(other)), "rnn")},
    )


def unlike(k: Any) -> Any:
    """An LSTM there, a GRU back."""
    x = inputs = k.Input((7, 5))
    x = k.layers.Dense(6, "relu", name="pre")(x)
    back = k.layers.GRU(4, return_sequences=True, go_backwards=True)
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), backward_layer=back, name="rnn")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Unlike(Between):
    def __init__(self, w: Weights, order: Sequence[int] = R_Z_N) -> None:
        super().__init__(w)
        own = w["rnn"]
        self.there, self.back = rnn(nn.LSTM, own[:3]), rnn(nn.GRU, own[3:], order=order)

    def recur(self, x: Tensor) -> Tensor:
        return torch.cat([self.there(x)[0], self.back(x.flip(1))[0].flip(1)], dim=2)


def translation(k: Any) -> Any:
    """The states of both directions begin a decoder."""
    source, target = k.Input((7, 5), name="source"), k.Input((6, 3), name="target")
    encoder = k.layers.Bidirectional(k.layers.LSTM(4, return_state=True), name="encoder")
    _, forward_h, forward_c, backward_h, backward_c = encoder(source)
    h = k.layers.Concatenate(name="h")([forward_h, backward_h])
    c = k.layers.Concatenate(name="c")([forward_c, backward_c])
    out = k.layers.LSTM(8, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return k.Model([source, target], k.layers.Dense(5, name="head")(out))


class Translation(nn.Module):
    def __init__(self, w: Weights, exchanged: bool = False, order: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.encoder = rnn(nn.LSTM, *halves(w["encoder"]), bidirectional=True, order=order)
        self.decoder, self.head, self.exchanged = rnn(nn.LSTM, w["decoder"]), linear(w["head"]), exchanged

    def forward(self, source: Tensor, target: Tensor) -> Any:
        _, (h, c) = self.encoder(source)
        if self.exchanged:
            h = h.flip(0)
        h, c = torch.cat([h[0], h[1]], dim=-1), torch.cat([c[0], c[1]], dim=-1)
        out, _ = self.decoder(target, (h[None], c[None]))
        return self.head(out)


def both_states(k: Any) -> Any:
    inputs = k.Input((7, 5))
    layer = k.layers.Bidirectional(k.layers.GRU(4, return_sequences=True, return_state=True), name="rnn")
    steps, forward, backward = layer(inputs)
    states = k.layers.Concatenate(name="states")([forward, backward])
    return k.Model(inputs, [k.layers.Dense(3, name="each")(steps), k.layers.Dense(2, name="head")(states)])


class Flattened(nn.Module):
    """The states of both directions joined by a movement of the one value that torch gives."""

    def __init__(self, w: Weights, order: Sequence[int] = R_Z_N) -> None:
        super().__init__()
        self.rnn = rnn(nn.GRU, *halves(w["rnn"]), bidirectional=True, order=order)
        self.each, self.head = linear(w["each"]), linear(w["head"])

    def forward(self, x: Tensor) -> Any:
        steps, states = self.rnn(x)
        return self.each(steps), self.head(states.transpose(0, 1).flatten(1))


CASES = [
    Case(
        "bidirectional_unlike",
        unlike,
        Unlike,
        {"gate_order": wrong(lambda w: Unlike(w, (0, 1, 2)), "rnn")},
    ),
    Case(
        "bidirectional_states",
        translation,
        Translation,
        {
            "exchanged": wrong(lambda w: Translation(w, exchanged=True), "encoder"),
            "gate_order": wrong(lambda w: Translation(w, order=(0, 1, 3, 2)), "encoder"),
        },
    ),
    Case(
        "bidirectional_states_flattened",
        both_states,
        Flattened,
        {"gate_order": wrong(lambda w: Flattened(w, (0, 1, 2)), "rnn")},
    ),
    Case(
        "bidirectional_sequences",
        around(return_sequences=True),
        Module,
        {
            "exchanged": wrong(lambda w: Module(w, exchanged=True), "rnn"),
            "gate_order": wrong(lambda w: Module(w, order=(0, 1, 3, 2)), "rnn"),
            "over_the_batch": wrong(lambda w: Module(w, batch_first=False), "rnn"),
        },
    ),
    Case(
        "bidirectional_last",
        around(),
        lambda w: Module(w, take=state_of),
        {
            "last_step_of_both": wrong(lambda w: Module(w, take=lambda out, _: out[:, -1]), "rnn"),
            "exchanged": wrong(lambda w: Module(w, take=state_of, exchanged=True), "rnn"),
        },
    ),
    Case(
        "bidirectional_gru",
        around("GRU"),
        lambda w: Module(w, nn.GRU, take=state_of, order=R_Z_N),
        {
            "gate_order": wrong(lambda w: Module(w, nn.GRU, take=state_of), "rnn"),
            "last_step_of_both": wrong(lambda w: Module(w, nn.GRU, take=lambda out, _: out[:, -1], order=R_Z_N), "rnn"),
        },
    ),
    Case(
        "bidirectional_ends",
        around("SimpleRNN"),
        lambda w: Module(w, nn.RNN, take=lambda out, _: torch.cat([out[:, -1, :4], out[:, 0, 4:]], 1)),
        {
            "ends_exchanged": wrong(
                lambda w: Module(w, nn.RNN, take=lambda out, _: torch.cat([out[:, 0, :4], out[:, -1, 4:]], 1)), "rnn"
            )
        },
    ),
    in_mode("sum", torch.add, average),
    in_mode("mul", torch.mul, torch.add),
    in_mode("ave", average, torch.mul),
    in_mode("sum", torch.add, average, sequences=False),
    in_mode("mul", torch.mul, torch.add, sequences=False),
    in_mode("ave", average, torch.mul, sequences=False),
    Case(
        "bidirectional_none",
        around(merge=None, return_sequences=True),
        lambda w: Module(w, take=merged(torch.sub)),
        {
            "exchanged": wrong(lambda w: Module(w, take=merged(torch.sub), exchanged=True), "rnn"),
            "added": wrong(lambda w: Module(w, take=merged(torch.add)), "minus"),
        },
    ),
    Case(
        "bidirectional_none_last",
        around(merge=None),
        lambda w: Module(w, take=merged_state(torch.sub)),
        {"last_step_of_both": wrong(lambda w: Module(w, take=lambda out, _: out[:, -1, :4] - out[:, -1, 4:]), "rnn")},
    ),
    Case(
        "bidirectional_two_modules",
        around(return_sequences=True),
        lambda w: TwoModules(w, lambda a, b: torch.cat([a, b], -1)),
        {
            "not_turned_back": wrong(lambda w: TwoModules(w, lambda a, b: torch.cat([a, b], -1), turn=False), "rnn"),
            "halves_exchanged": wrong(lambda w: TwoModules(w, lambda a, b: torch.cat([b, a], -1)), "rnn"),
        },
    ),
    Case(
        "bidirectional_two_modules_sum",
        around(merge="sum"),
        lambda w: TwoModules(w, lambda a, b: a[:, -1] + b[:, 0]),
        {"last_step_of_both": wrong(lambda w: TwoModules(w, lambda a, b: a[:, -1] + b[:, -1]), "rnn")},
    ),
]
