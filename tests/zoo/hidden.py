"""Wrong ports whose fault the probe inputs hardly show: behind a maximum, or in rows that no probe names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.layers import dense, layer_norm


def text(k: Any) -> Any:
    x = inputs = k.Input((30, 4))
    x = k.layers.Conv1D(5, 3, activation="relu", name="conv")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.GlobalMaxPooling1D(name="most")(x)))


class Text(nn.Module):
    """The ReLU stands behind the maximum."""

    def __init__(self, w: Weights, activation: Any = F.relu, cut: slice = slice(None), pad: int = 0) -> None:
        super().__init__()
        self.activation, self.cut = activation, cut
        self.conv, self.head = nn.Conv1d(4, 5, 3, padding=pad), dense(w["head"])
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])

    def forward(self, x: Tensor) -> Any:
        return self.head(self.activation(self.conv(x.mT[:, :, self.cut]).amax(2)))


def tables(k: Any) -> Any:
    ids = k.Input((3,), dtype="int32")
    columns = [k.layers.Embedding(size, 4, name=f"e{n}")(ids[:, n]) for n, size in enumerate((10, 300, 25))]
    return k.Model(ids, k.layers.Dense(2, name="head")(k.layers.Concatenate(name="join")(columns)))


class Tables(nn.Module):
    def __init__(self, w: Weights, rows: slice = slice(None), clamp: int | None = None) -> None:
        super().__init__()
        self.clamp, self.head = clamp, dense(w["head"])
        self.tables = nn.ModuleList([nn.Embedding.from_pretrained(w[f"e{n}"][0]) for n in range(3)])  # type: ignore[no-untyped-call]
        self.tables[1] = nn.Embedding.from_pretrained(w["e1"][0][rows])  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor) -> Any:
        ids = ids if self.clamp is None else ids.clamp(max=self.clamp)
        return self.head(torch.cat([table(ids[:, n]) for n, table in enumerate(self.tables)], 1))


def steps(k: Any) -> Any:
    x = inputs = k.Input((4, 6))
    x = k.layers.TimeDistributed(k.layers.LayerNormalization(epsilon=1e-6), name="norm")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


class Steps(nn.Module):
    def __init__(self, w: Weights, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm, self.head = layer_norm(w["norm"], eps), dense(w["head"])

    def forward(self, x: Tensor) -> Any:
        return self.head(self.norm(x))


def positive(k: Any) -> Any:
    x = inputs = k.Input((4,))
    x = k.layers.Dense(5, activation="softplus", name="first")(x)
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def all_positive(model: Any) -> None:
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([abs(kernel), abs(bias)])


class Positive(nn.Module):
    """What the last layer gives is above 0, so that a rectifier behind it changes nothing."""

    def __init__(self, w: Weights, last: Any = lambda x: x) -> None:
        super().__init__()
        self.first, self.head, self.last = dense(w["first"]), dense(w["head"]), last

    def forward(self, x: Tensor) -> Any:
        return self.last(self.head(F.softplus(self.first(x))))


CASES = [
    Case(
        "hidden_rectifier",
        positive,
        Positive,
        {
            "relu": wrong(lambda w: Positive(w, F.relu), "", "head:hyper"),
            "clamp": wrong(lambda w: Positive(w, lambda x: x.clamp(min=0)), "", "head:hyper"),
        },
        prepare=all_positive,
    ),
    Case(
        "hidden_text",
        text,
        Text,
        {
            "relu6": wrong(lambda w: Text(w, F.relu6), "conv head"),
            "one_step_less": wrong(lambda w: Text(w, cut=slice(0, -1)), "conv"),
            "padded": wrong(lambda w: Text(w, pad=1), "conv"),
        },
        declared=frozenset({"conv"}),
    ),
    Case(
        "hidden_rows",
        tables,
        Tables,
        {"rows_lost": wrong(lambda w: Tables(w, slice(0, 290)), "", "e1:weights")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case("hidden_eps", steps, Steps, {"eps": wrong(lambda w: Steps(w, 1.2e-6), "", "norm:eps")}),
]
