"""Words and numbers: attention that pools, a highway, two towers that are compared, an output for each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights
from tests.zoo.faulty.fault import Fault, Net, Subject
from tests.zoo.gates import rnn
from tests.zoo.layers import batch_norm, dense, embedding, layer_norm


def reader(k: Any) -> Any:
    words, numbers = k.Input((7,), name="words"), k.Input((5,), name="numbers")
    x = k.layers.Embedding(20, 8, name="table")(words)
    x = k.layers.LayerNormalization(name="ln")(x)
    h = k.layers.LSTM(8, return_sequences=True, name="lstm")(x)
    x = k.layers.Add(name="res")([x, h])
    s = k.layers.Dense(6, activation="tanh", name="score1")(x)
    s = k.layers.Dense(1, name="score2")(s)
    a = k.layers.Softmax(axis=1, name="over_time")(s)
    x = k.layers.Dot(axes=1, name="pooled")([a, x])
    x = k.layers.Flatten(name="flat")(x)
    x = k.layers.Dense(8, activation="relu", name="text1")(x)
    x = k.layers.Dense(4, name="text2")(x)
    y = k.layers.BatchNormalization(name="bn")(numbers)
    y = k.layers.Dense(8, activation="selu", name="num1")(y)
    t = k.layers.Dense(8, activation="sigmoid", name="gate")(y)
    c = k.layers.Subtract(name="rest")([k.layers.Dense(8, activation="tanh", name="change")(y), y])
    y = k.layers.Add(name="highway")([y, k.layers.Multiply(name="moved")([t, c])])
    y = k.layers.Dense(4, name="num2")(y)
    z = k.layers.Dot(axes=1, normalize=True, name="cosine")([x, y])
    d = k.layers.Concatenate(name="all")([x, y, k.layers.Multiply(name="product")([x, y])])
    d = k.layers.Dropout(0.3, name="drop")(d)
    d = k.layers.Dense(6, activation="gelu", name="head1")(d)
    return k.Model([words, numbers], [z, k.layers.Dense(3, activation="softmax", name="head2")(d)])


OF_WORDS, OF_NUMBERS = ("score1", "score2", "text1", "text2"), ("num1", "gate", "change", "num2")


class Reader(Net):
    """Modules."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        self.table, self.ln = embedding(w["table"]), layer_norm(w["ln"])
        self.lstm = rnn(nn.LSTM, w["lstm"])
        self.score1, self.score2, self.text1, self.text2 = map(dense, map(w.__getitem__, OF_WORDS))
        self.num1, self.gate, self.change, self.num2 = map(dense, map(w.__getitem__, OF_NUMBERS))
        self.head1, self.head2 = dense(w["head1"]), dense(w["head2"])
        self.bn = batch_norm(w["bn"], module=nn.BatchNorm1d)

    def text(self, words: Tensor) -> Any:
        x = self.table(words)
        x = x * 8**0.5 if self.has("embedding_scaled") else x
        x = x if self.has("no_norm") else self.ln(x)
        x = F.normalize(x, dim=-1) if self.has("normalised_for_both") else x
        h = self.lstm(x)[0]
        x = h if self.has("no_residual") else self.ln(x + h) if self.has("normalised_again") else x + h
        s = self.score2(torch.tanh(self.score1(h if self.has("scores_of_states") else x)))
        s = s / 8**0.5 if self.has("scores_scaled") else s
        a = s.softmax(2 if self.has("over_features") else 1)
        a = torch.sigmoid(s) if self.has("sigmoid_scores") else a
        x = x[:, -1] if self.has("last_step") else x.mean(1) if self.has("mean") else (a * x).sum(1)
        x = F.relu(self.text1(x))
        return self.text2(x)

    def numbers(self, y: Tensor) -> Any:
        y = torch.log1p(y.abs()) if self.has("logarithm") else y
        y = F.selu(self.num1(y if self.has("no_bn") else self.bn(y)))
        y = F.elu(y) if self.has("elu_for_all") else y
        t, c = torch.sigmoid(self.gate(y)), torch.tanh(self.change(y))
        if self.has("gate_inverted"):
            return t * y + (1 - t) * c
        if self.has("no_carry"):
            return t * c
        return y + t * (c if self.has("no_difference") else c - y)

    def forward(self, words: Tensor, numbers: Tensor) -> Any:
        x, y = self.text(words), self.num2(self.numbers(numbers))
        x = F.normalize(x, dim=1) if self.has("unit_vectors") else x
        z = (x * y).sum(1, keepdim=True) if self.has("dot") else F.cosine_similarity(x, y)[:, None]
        d = x - y if self.has("difference") else x * y
        d = torch.cat([y, x, d] if self.has("other_order") else [x, y, d], 1)
        d = d / (1 - 0.3) if self.has("dropout_scale") else d
        d = F.gelu(self.head1(d), approximate="tanh" if self.has("tanh") else "none")
        d = self.head2(d)
        return z, torch.sigmoid(d) if self.has("sigmoid") else d.log_softmax(1) if self.has("log") else d.softmax(1)


FAULTS = {
    "embedding_scaled": Fault("ln", "extra-layer"),
    "no_norm": Fault("ln", "missing-layer"),
    "normalised_for_both": Fault("lstm", "extra-layer"),
    "no_residual": Fault("res", "missing-layer"),
    "normalised_again": Fault("score1", "extra-layer"),
    "scores_of_states": Fault("score1", "missing-layer"),
    "scores_scaled": Fault("over_time", "extra-layer"),
    "over_features": Fault("over_time", "softmax"),
    "sigmoid_scores": Fault("over_time", "softmax"),
    "last_step": Fault("pooled", "missing-layer", found="?missing-layer", blamed="pooled text1"),
    "mean": Fault("pooled", "missing-layer"),
    "logarithm": Fault("bn", "extra-layer"),
    "no_bn": Fault("bn", "missing-layer"),
    "elu_for_all": Fault("change", "extra-layer"),
    "gate_inverted": Fault("rest moved highway", "missing-layer extra-layer merge-mode"),
    "no_carry": Fault("rest highway", "missing-layer"),
    "no_difference": Fault("rest", "missing-layer"),
    "unit_vectors": Fault("product", "extra-layer"),
    "dot": Fault("cosine", "merge-mode"),
    "difference": Fault("product", "merge-mode"),
    "other_order": Fault("all", "concat-order"),
    "dropout_scale": Fault("head1", "extra-layer"),
    "tanh": Fault("head1", "activation-kind"),
    "sigmoid": Fault("head2", "softmax"),
    "log": Fault("head2", "softmax"),
}
SUBJECT = Subject("faulty_reader", reader, Reader, FAULTS)
