"""States of recurrent layers: given back, given as inputs, handed from an encoder to a decoder, kept between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.gates import R_Z_N, linear, rnn


def all_of_it(kind: str, sequences: bool = False) -> Callable[[Any], Any]:
    """The output and all states are used: joined, or as outputs of the model."""

    def build(k: Any) -> Any:
        inputs = k.Input((6, 5))
        out, *states = getattr(k.layers, kind)(4, return_sequences=sequences, return_state=True, name="rnn")(inputs)
        if sequences:
            return k.Model(inputs, [k.layers.Dense(3, name="head")(out), *states])
        return k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.Concatenate(name="join")([out, *states])))

    return build


class AllOfIt(nn.Module):
    def __init__(self, w: Weights, kind: type[nn.RNNBase], take: Callable[..., Any], order: Any = (0,)) -> None:
        super().__init__()
        self.rnn, self.head, self.take = rnn(kind, w["rnn"], order=order), linear(w["head"]), take

    def forward(self, x: Tensor) -> Any:
        return self.take(self.head, *self.rnn(x))


def joined(head: nn.Module, out: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    return head(torch.cat([out[:, -1], state[0][-1], state[1][-1]], 1))


def joined_wrongly(head: nn.Module, out: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    return head(torch.cat([out[:, -1], state[1][-1], state[0][-1]], 1))


def apart(head: nn.Module, out: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    return head(out), state[0].squeeze(0), state[1].squeeze(0)


def apart_wrongly(head: nn.Module, out: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    return head(out), state[1].squeeze(0), state[0].squeeze(0)


def one_state(head: nn.Module, out: Tensor, state: Tensor) -> Any:
    return head(torch.cat([out[:, -1], state[0]], dim=1))


def given(k: Any) -> Any:
    """The initial state comes from a second and a third input."""
    x, h, c = k.Input((6, 5), name="x"), k.Input((4,), name="h"), k.Input((4,), name="c")
    out = k.layers.LSTM(4, return_sequences=True, name="rnn")(x, initial_state=[h, c])
    return k.Model([x, h, c], k.layers.Dense(3, name="head")(out))


class Given(nn.Module):
    def __init__(self, w: Weights, exchanged: bool = False, zeros: bool = False) -> None:
        super().__init__()
        self.rnn, self.head = rnn(nn.LSTM, w["rnn"]), linear(w["head"])
        self.exchanged, self.zeros = exchanged, zeros

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        if self.exchanged:
            h, c = c, h
        out, _ = self.rnn(x) if self.zeros else self.rnn(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return self.head(out)


def translation(k: Any) -> Any:
    """An encoder whose states begin a decoder."""
    source, target = k.Input((7, 5), name="source"), k.Input((6, 3), name="target")
    _, h, c = k.layers.LSTM(4, return_state=True, name="encoder")(source)
    out = k.layers.LSTM(4, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return k.Model([source, target], k.layers.Dense(5, "softmax", name="head")(out))


class Translation(nn.Module):
    def __init__(self, w: Weights, state: Callable[[Any], Any] = lambda state: state, wrong: str = "") -> None:
        super().__init__()
        orders = {wrong: (0, 1, 3, 2)}
        self.encoder = rnn(nn.LSTM, w["encoder"], order=orders.get("encoder", (0,)))
        self.decoder = rnn(nn.LSTM, w["decoder"], order=orders.get("decoder", (0,)))
        self.head, self.state = linear(w["head"]), state

    def forward(self, source: Tensor, target: Tensor) -> Any:
        _, state = self.encoder(source)
        out, _ = self.decoder(target, self.state(state))
        return torch.softmax(self.head(out), dim=-1)


def gru_translation(k: Any) -> Any:
    """As above with one state, through a dense layer."""
    source, target = k.Input((7, 5), name="source"), k.Input((6, 3), name="target")
    _, h = k.layers.GRU(4, return_sequences=True, return_state=True, name="encoder")(source)
    h = k.layers.Dense(4, "tanh", name="bridge")(h)
    out = k.layers.GRU(4, return_sequences=True, name="decoder")(target, initial_state=h)
    return k.Model([source, target], k.layers.Dense(5, name="head")(out))


class GruTranslation(nn.Module):
    def __init__(self, w: Weights, bridge: bool = True, order: Any = R_Z_N) -> None:
        super().__init__()
        self.encoder = rnn(nn.GRU, w["encoder"], order=R_Z_N)
        self.decoder = rnn(nn.GRU, w["decoder"], order=order)
        self.bridge, self.head, self.active = linear(w["bridge"]), linear(w["head"]), bridge

    def forward(self, source: Tensor, target: Tensor) -> Any:
        _, h = self.encoder(source)
        h = self.bridge(h)
        out, _ = self.decoder(target, torch.tanh(h) if self.active else h)
        return self.head(out)


def kept(k: Any) -> Any:
    """A stateful layer, whose first call begins with zeros."""
    inputs = k.Input(batch_shape=(3, 7, 5))
    x = k.layers.LSTM(4, stateful=True, return_sequences=True, name="rnn")(inputs)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Kept(nn.Module):
    def __init__(self, w: Weights, order: Any = (0,)) -> None:
        super().__init__()
        self.rnn, self.head = rnn(nn.LSTM, w["rnn"][:3], order=order), linear(w["head"])

    def forward(self, x: Tensor) -> Any:
        return self.head(self.rnn(x)[0])


CASES = [
    Case(
        "states_joined",
        all_of_it("LSTM"),
        lambda w: AllOfIt(w, nn.LSTM, joined),
        {
            "exchanged": wrong(lambda w: AllOfIt(w, nn.LSTM, joined_wrongly), "rnn"),
            "gate_order": wrong(lambda w: AllOfIt(w, nn.LSTM, joined, (0, 1, 3, 2)), "rnn"),
        },
    ),
    Case(
        "states_as_outputs",
        all_of_it("LSTM", sequences=True),
        lambda w: AllOfIt(w, nn.LSTM, apart),
        {"exchanged": wrong(lambda w: AllOfIt(w, nn.LSTM, apart_wrongly), "rnn")},
    ),
    Case(
        "states_of_gru",
        all_of_it("GRU"),
        lambda w: AllOfIt(w, nn.GRU, one_state, R_Z_N),
        {"gate_order": wrong(lambda w: AllOfIt(w, nn.GRU, one_state), "rnn")},
    ),
    Case(
        "states_given",
        given,
        Given,
        {
            "exchanged": wrong(lambda w: Given(w, exchanged=True), "rnn"),
            "zeros": wrong(lambda w: Given(w, zeros=True), "rnn"),
        },
    ),
    Case(
        "encoder_decoder",
        translation,
        Translation,
        {
            "encoder": wrong(lambda w: Translation(w, wrong="encoder"), "encoder"),
            "decoder": wrong(lambda w: Translation(w, wrong="decoder"), "decoder"),
            "exchanged": wrong(lambda w: Translation(w, state=lambda s: s[::-1]), "encoder"),
        },
    ),
    Case(
        "encoder_decoder_gru",
        gru_translation,
        GruTranslation,
        {
            "bridge": wrong(lambda w: GruTranslation(w, bridge=False), "bridge"),
            "decoder": wrong(lambda w: GruTranslation(w, order=(0, 1, 2)), "decoder"),
        },
    ),
    Case(
        "stateful",
        kept,
        Kept,
        {"gate_order": wrong(lambda w: Kept(w, (0, 1, 3, 2)), "rnn")},
    ),
]
