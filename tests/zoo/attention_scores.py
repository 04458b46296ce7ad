"""Attention, AdditiveAttention and GroupQueryAttention: layers of few weights or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.attention import linear, output, projection
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import dense, embedding

Scores = Callable[[Tensor, Tensor], Tensor]
"""Scores (N, queries, keys) of queries and keys (N, steps, elements)."""


def model(layer: str, three: bool = False, call: dict[str, Any] | None = None, **config: Any) -> Callable[[Any], Any]:
    """Two sequences; the first attends to the second. With ``three``, the keys are a third tensor."""

    def build(k: Any) -> Any:
        first, second = k.Input((5, 6), name="first"), k.Input((5 if call else 4, 3), name="second")
        query, value = k.layers.Dense(4, name="query")(first), k.layers.Dense(4, name="value")(second)
        tensors = [query, value, k.layers.Dense(4, activation="tanh", name="key")(second)] if three else [query, value]
        x = getattr(k.layers, layer)(**config, name="attention")(tensors, **(call or {}))
        x = k.layers.Concatenate(name="both")([query, x])
        return k.Model([first, second], k.layers.Dense(3, name="head")(x))

    return build


class Attend(nn.Module):
    """The port: scores, softmax, and the mean of the values that it weighs."""

    def __init__(self, w: Weights, scores: Scores, dim: int = -1, causal: bool = False, key: bool = False) -> None:
        super().__init__()
        self.query, self.value, self.head = dense(w["query"]), dense(w["value"]), dense(w["head"])
        self.key = dense(w["key"]) if key else None
        self.scores, self.dim, self.causal = scores, dim, causal

    def forward(self, first: Tensor, second: Tensor) -> Any:
        query, value = self.query(first), self.value(second)
        key = value if self.key is None else self.key(second).tanh()
        scores = self.scores(query, key)
        if self.causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        attended = torch.bmm(torch.softmax(scores, self.dim), value)
        return self.head(torch.cat([query, attended], -1))


class KeysAsValues(Attend):
    """Keras takes [query, value, key], not [query, key, value]."""

    def __init__(self, w: Weights) -> None:
        super().__init__(w, dot)
        self.key_of = dense(w["key"])

    def forward(self, first: Tensor, second: Tensor) -> Any:
        query, value, key = self.query(first), self.value(second), torch.tanh(self.key_of(second))
        attended = torch.bmm(torch.softmax(self.scores(query, value), -1), key)
        return self.head(torch.cat([query, attended], -1))


def dot(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(1, 2)


def dot_scaled(w: Weights) -> Scores:
    """Keras has one scale, a weight."""
    scale = nn.Parameter(w["attention"][0])
    return lambda query, key: scale * torch.einsum("bqd,bkd->bqk", query, key)


def concat(w: Weights, root: bool = False) -> Scores:
    """``score_mode="concat"``: the sum of tanh of scaled sums, times a weight.

    Source: keras/src/layers/attention/attention.py, ``_calculate_scores``.
    """
    scale, weight = w["attention"]

    def scores(query: Tensor, key: Tensor) -> Tensor:
        both = query.unsqueeze(2) + key.unsqueeze(1)
        return weight * torch.tanh(both if root else scale * both).sum(-1)

    return scores


def additive(w: Weights | None, wrong: bool = False) -> Scores:
    """Bahdanau's scores, with a scale for each element or none."""
    scale = None if w is None else nn.Parameter(w["attention"][0])

    def scores(query: Tensor, key: Tensor) -> Tensor:
        both = torch.tanh(query[:, :, None] + key[:, None]) if not wrong else (query[:, :, None] + key[:, None]).relu()
        return (both if scale is None else both * scale).sum(dim=-1)

    return scores


class Fused(Attend):
    """``scaled_dot_product_attention``, whose own scale Keras does not have."""

    def __init__(self, w: Weights, scale: float | None = 1.0, key: bool = False, causal: bool = False) -> None:
        super().__init__(w, dot, key=key)
        self.scale, self.is_causal = scale, causal

    def forward(self, first: Tensor, second: Tensor) -> Any:
        query, value = self.query(first), self.value(second)
        key = value if self.key is None else self.key(second).tanh()
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.is_causal, scale=self.scale)
        return self.head(torch.cat([query, attended], -1))


def itself(k: Any) -> Any:
    inputs = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(9, 4, name="embed")(inputs)
    x = k.layers.Attention(name="attention")([x, x])
    x = k.layers.GlobalAveragePooling1D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="head")(x))


class Itself(nn.Module):
    """A text classifier: tokens attend to each other."""

    def __init__(self, w: Weights, scale: float = 1.0) -> None:
        super().__init__()
        self.embed, self.head, self.scale = embedding(w["embed"]), dense(w["head"]), scale

    def forward(self, tokens: Tensor) -> Any:
        x = self.embed(tokens)
        weights = F.softmax(x @ x.mT * self.scale, dim=2)
        return self.head((weights @ x).mean(dim=1)).softmax(-1)


# -- grouped queries ---------------------------------------------------------------------------------------------------


def grouped(**config: Any) -> Callable[[Any], Any]:
    def build(k: Any) -> Any:
        inputs = k.Input((5, 6))
        x = k.layers.Dense(8, name="embed")(inputs)
        x = k.layers.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=2, name="gqa", **config)(
            x, x
        )
        return k.Model(inputs, k.layers.Dense(3, name="head")(x))

    return build


class Grouped(nn.Module):
    """Each key head serves two query heads that stand side by side; ``tiled`` puts them two apart."""

    def __init__(self, w: Weights, bias: bool = True, tiled: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.embed, self.head, self.tiled, self.causal = dense(w["embed"]), dense(w["head"]), tiled, causal
        q, k, v, o = w["gqa"][::2] if bias else w["gqa"]
        qb, kb, vb, ob = w["gqa"][1::2] if bias else [None] * 4
        self.q, self.k, self.v = linear(projection(q), qb), linear(projection(k), kb), linear(projection(v), vb)
        self.o = linear(output(o), ob)

    def spread(self, x: Tensor) -> Tensor:
        x = x.view(*x.shape[:-1], 2, 3).transpose(1, 2)
        return x.repeat(1, 2, 1, 1) if self.tiled else x.repeat_interleave(2, dim=1)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        q = self.q(x).view(*x.shape[:-1], 4, 3).transpose(1, 2)
        k, v = self.spread(self.k(x)), self.spread(self.v(x))
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.head(self.o(x.transpose(1, 2).flatten(2)))


class GroupedNatively(Grouped):
    """torch spreads the heads itself."""

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        q, k, v = (part(x).view(-1, 5, part.out_features // 3, 3).transpose(1, 2) for part in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.head(self.o(x.transpose(1, 2).flatten(2)))


CAUSAL = {"use_causal_mask": True}
CASES = [
    Case(
        "attention_dot",
        model("Attention"),
        lambda w: Attend(w, dot),
        {
            "scaled": wrong(lambda w: Attend(w, lambda q, k: dot(q, k) / 2), "attention"),
            "softmax_axis": wrong(lambda w: Attend(w, dot, dim=1), "attention"),
        },
        suffix=".keras",
    ),
    Case(
        "attention_fused",
        model("Attention"),
        Fused,
        {"torchs_scale": wrong(lambda w: Fused(w, scale=None), "attention")},
        suffix=".keras",
    ),
    Case(
        "attention_three",
        model("Attention", three=True),
        lambda w: Attend(w, dot, key=True),
        {
            "exchanged": wrong(KeysAsValues, "attention"),
            "keys_are_values": wrong(lambda w: Attend(w, dot), "key attention", "key:weights"),
        },
        suffix=".keras",
    ),
    Case(
        "attention_scale",
        model("Attention", use_scale=True),
        lambda w: Attend(w, dot_scaled(w)),
        {"missing": wrong(lambda w: Attend(w, dot), "attention")},
        suffix=".keras",
    ),
    Case(
        "attention_concat",
        model("Attention", use_scale=True, score_mode="concat"),
        lambda w: Attend(w, concat(w)),
        {"scale": wrong(lambda w: Attend(w, concat(w, root=True)), "attention")},
    ),
    Case(
        "attention_causal",
        model("Attention", call=CAUSAL),
        lambda w: Attend(w, dot, causal=True),
        {"not_causal": wrong(lambda w: Attend(w, dot), "attention")},
        suffix=".keras",
    ),
    Case(
        "attention_causal_fused",
        model("Attention", call=CAUSAL),
        lambda w: Fused(w, causal=True),
        {"not_causal": wrong(Fused, "attention")},
        suffix=".keras",
    ),
    Case(
        "attention_additive",
        model("AdditiveAttention"),
        lambda w: Attend(w, additive(w)),
        {
            "no_scale": wrong(lambda w: Attend(w, additive(None)), "attention"),
            "relu": wrong(lambda w: Attend(w, additive(w, wrong=True)), "attention"),
            "scaled": wrong(lambda w: Attend(w, lambda q, k: additive(w)(q, k) / 2), "attention"),
        },
    ),
    Case(
        "attention_additive_plain",
        model("AdditiveAttention", three=True, use_scale=False),
        lambda w: Attend(w, additive(None), key=True),
        {"softmax_axis": wrong(lambda w: Attend(w, additive(None), dim=1, key=True), "attention")},
    ),
    Case(
        "attention_itself",
        itself,
        Itself,
        {"scaled": wrong(lambda w: Itself(w, scale=0.5), "attention")},
        suffix=".keras",
    ),
    Case(
        "gqa",
        grouped(),
        Grouped,
        {
            "tiled": wrong(lambda w: Grouped(w, tiled=True), "gqa"),
            "causal": wrong(lambda w: Grouped(w, causal=True), "gqa"),
        },
        loaders=("keras",),
        suffix=".keras",
    ),
    Case("gqa_no_bias", grouped(use_bias=False), lambda w: GroupedNatively(w, bias=False), loaders=("keras",)),
]
