"""Tokens with padding through an Embedding and masked LSTMs: gates, biases, directions, states, masks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.case import Weights
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Given, Net, Subject, Variant
from tests.zoo.gates import rnn
from tests.zoo.layers import dense, embedding

STEPS = 8


def text(k: Any) -> Any:
    x = inputs = k.Input((STEPS,), dtype="int32")
    x = k.layers.Embedding(20, 6, mask_zero=True, name="emb")(x)
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), name="both")(x)
    x = k.layers.LSTM(8, name="last")(x)
    x = k.layers.Dense(8, activation="relu", name="fc1")(x)
    x = k.layers.Dropout(0.3, name="drop")(x)
    x = k.layers.Dense(8, activation="tanh", name="fc2")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="out")(x))


class Text(Net):
    """Packed sequences through nn.LSTM."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.emb, own = embedding(w["emb"]), w["both"]
        self.both = rnn(nn.LSTM, own[:3], own[3:], bidirectional=True)
        self.last = rnn(nn.LSTM, w["last"])
        self.fc1, self.fc2, self.out = dense(w["fc1"]), dense(w["fc2"]), dense(w["out"])

    def forward(self, tokens: Tensor) -> Any:
        x = self.state(self.emb(tokens), (tokens != 0).sum(1).cpu())
        x = self.fc1(x)
        x = F.dropout(x if self.has("no_relu") else F.relu(x), 0.3, training=self.has("dropout"))
        x = self.fc2(x)
        x = self.out(torch.tanh(x))
        return torch.sigmoid(x) if self.has("sigmoids") else x.softmax(1)

    def state(self, x: Any, lengths: Tensor) -> Any:
        if self.has("no_mask"):
            x = self.both(x)[0]
        else:
            x = self.both(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0]
            x = pad_packed_sequence(x, batch_first=True, total_length=STEPS)[0]
        if self.has("last_not_masked"):
            return self.last(x)[1][0][0]
        h, c = self.last(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1]
        return c[0] if self.has("cell_state") else h[0]


class Cells(nn.Module):
    """Cells by hand; a state stays as it is where the mask is off."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        names = ("emb", "both", "last", "fc1", "fc2", "out")
        self.w = {name: w[name] for name in names}  # plain tensors, of which nobody is told

    def run(self, x: Tensor, mask: Tensor, weights: list[Tensor], back: bool = False) -> Tensor:
        kernel, recurrent, bias = weights
        h = c = x.new_zeros(len(x), len(recurrent))
        out = []
        for t in reversed(range(STEPS)) if back else range(STEPS):
            i, f, g, o = (x[:, t] @ kernel + h @ recurrent + bias).chunk(4, 1)
            new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            on = mask[:, t, None]
            h, c = torch.where(on, torch.sigmoid(o) * torch.tanh(new), h), torch.where(on, new, c)
            out.append(h)
        return torch.stack(out[::-1] if back else out, 1)

    def forward(self, tokens: Tensor) -> Any:
        mask, x, own = tokens != 0, F.embedding(tokens, self.w["emb"][0]), list(self.w["both"])
        x = torch.cat([self.run(x, mask, own[:3]), self.run(x, mask, own[3:], back=True)], 2)
        x = self.run(x, mask, list(self.w["last"]))[:, -1]
        for name, function in (("fc1", torch.relu), ("fc2", torch.tanh)):
            x = function(x @ self.w[name][0] + self.w[name][1])
        return torch.softmax(x @ self.w["out"][0] + self.w["out"][1], -1)


def steps_first(w: Weights) -> nn.Module:
    class Port(Text):
        def forward(self, tokens: Tensor) -> Any:
            x = self.emb(tokens.T)
            x = self.both(pack_padded_sequence(x, (tokens > 0).sum(1).cpu(), enforce_sorted=False))[0]
            x = torch.relu(self.fc1(self.last(x)[1][0].squeeze(0)))
            return F.softmax(self.out(torch.tanh(self.fc2(x))), dim=-1)

    port: Any = Port(w)
    port.both.batch_first = port.last.batch_first = False
    return port  # type: ignore[no-any-return]


def halves(weights: Weights, name: str) -> list[Tensor]:
    """The two directions hold each other's weights."""
    return weights[name][3:] + weights[name][:3] if name == "both" else weights[name]


def one_way_twice(weights: Weights, name: str) -> list[Tensor]:
    """The second direction holds the weights of the first."""
    return weights[name][:3] * 2 if name == "both" else weights[name]


def each_gate_transposed(recurrent: Tensor) -> Tensor:
    return torch.cat([block.T for block in recurrent.chunk(4, 1)], 1)


def doubled(module: Any) -> None:
    module.bias_hh_l0.copy_(module.bias_ih_l0)


def everything_half(layer: str) -> Given:
    return lambda weights, name: [made.half(t) if name == layer else t for t in weights[name]]


FAULTS = {
    "shifted": Fault("emb", "embedding-row", made.changed("emb", lambda table: table.roll(1, 0))),
    "gates": Fault("both", "lstm-gate-order", made.reordered("both", 0, 1, 3, 2, last=6)),
    "last_gates": Fault("last", "lstm-gate-order", made.reordered("last", 0, 2, 1, 3)),
    "doubled": Fault("last", "lstm-bias-doubled", module=lambda net: doubled(net.last)),
    "halves": Fault("both", "bidirectional-order", halves),
    "no_bias": Fault("last", "bias-missing", made.changed("last", torch.zeros_like, 2)),
    "recurrent": Fault("last", "dense-transposed", made.changed("last", each_gate_transposed, 1)),
    "half": Fault("last", "weights-rounded", everything_half("last")),
    "fresh": Fault("last", "weights-not-loaded", module=lambda net: net.last.reset_parameters()),
    "no_mask": Fault("both", "masking"),
    "last_not_masked": Fault("last", "masking"),
    "cell_state": Fault("last", "rnn-return"),
    "one_way_twice": Fault("both", "weights-of-other-layer", one_way_twice),
    "swapped": Fault("fc1 fc2", "weights-swapped", made.exchanged("fc1", "fc2")),
    "of_another": Fault("fc2", "weights-of-other-layer", made.taken(fc2="fc1")),
    "not_transposed": Fault("fc1", "dense-transposed", made.changed("fc1", made.in_out)),
    "no_relu": Fault("fc1", "missing-layer"),
    "dropout": Fault("drop", "train-mode"),
    "sigmoids": Fault("out", "softmax"),
}
PAIRS = {
    "last_gates_and_doubled": "",
    "not_transposed_and_no_relu": "",
    "cell_state_and_doubled": "",
    "shifted_and_sigmoids": "",
}
VARIANTS = {"cells": Variant(Cells), "steps_first": Variant(steps_first, "both")}
SUBJECT = Subject("faulty_text", text, Text, FAULTS, PAIRS, VARIANTS)
