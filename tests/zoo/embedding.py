"""Embeddings: alone, several, shared by two inputs; indices are drawn within the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong
from tests.zoo.gates import linear


def table(weights: list[Tensor], shift: int = 0, **more: Any) -> nn.Embedding:
    """nn.Embedding of Keras's table, its rows shifted by so many."""
    module = nn.Embedding(*weights[0].shape, **more)
    load(module, weight=weights[0].roll(shift, 0))
    return module


def bag(k: Any) -> Any:
    tokens = k.Input((9,), dtype="int32")
    x = k.layers.Embedding(30, 6, name="words")(tokens)
    x = k.layers.GlobalAveragePooling1D(name="pool")(x)
    return k.Model(tokens, k.layers.Dense(3, name="head")(x))


class Bag(nn.Module):
    def __init__(self, w: Weights, shift: int = 0, summed: bool = False, last: bool = False, **more: Any) -> None:
        super().__init__()
        self.words, self.head = table(w["words"], shift, **more), linear(w["head"])
        self.summed, self.last = summed, last

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens)
        return self.head(x.sum(1) if self.summed else x[:, -1] if self.last else x.mean(1))


class PaddingRow(Bag):
    """padding_idx=0 made the row of the padding zero, as a fresh nn.Embedding has it; Keras's row is not."""

    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        with torch.no_grad():
            self.words.weight[0] = 0


class Exchanged(Bag):
    """Two rows, which no probe input names, are in each other's place."""

    def __init__(self, w: Weights, first: int = 3, second: int = 22) -> None:
        super().__init__(w)
        with torch.no_grad():
            self.words.weight[[first, second]] = self.words.weight[[second, first]]


class OneHot(nn.Module):
    """The lookup as a product."""

    def __init__(self, w: Weights, shift: int = 0) -> None:
        super().__init__()
        self.table, self.head = nn.Parameter(w["words"][0].roll(shift, 0)), linear(w["head"])

    def forward(self, tokens: Tensor) -> Any:
        return self.head((F.one_hot(tokens, 30).to(self.table.dtype) @ self.table).mean(dim=1))


class Indexed(OneHot):
    """The lookup as an index."""

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.table[tokens].mean(dim=1))


def convolved(k: Any) -> Any:
    tokens = k.Input((None,), dtype="int32")
    x = k.layers.Embedding(30, 6, name="words")(tokens)
    x = k.layers.Conv1D(5, 3, activation="relu", name="conv")(x)
    return k.Model(tokens, k.layers.Dense(3, name="head")(k.layers.GlobalMaxPooling1D(name="pool")(x)))


class Convolved(nn.Module):
    def __init__(self, w: Weights, shift: int = 0) -> None:
        super().__init__()
        self.words, self.conv, self.head = table(w["words"], shift), nn.Conv1d(6, 5, 3), linear(w["head"])
        load(self.conv, weight=w["conv"][0].permute(2, 1, 0), bias=w["conv"][1])

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens).transpose(1, 2)
        return self.head(F.relu(self.conv(x)).amax(dim=2))


def several(k: Any) -> Any:
    user, item = k.Input((1,), dtype="int32", name="user"), k.Input((1,), dtype="int32", name="item")
    a = k.layers.Flatten(name="flat_user")(k.layers.Embedding(20, 5, name="users")(user))
    b = k.layers.Flatten(name="flat_item")(k.layers.Embedding(30, 5, name="items")(item))
    x = k.layers.Concatenate(name="join")([a, b, k.layers.Multiply(name="product")([a, b])])
    return k.Model([user, item], k.layers.Dense(1, "sigmoid", name="head")(x))


class Several(nn.Module):
    def __init__(self, w: Weights, shift: int = 0, added: bool = False) -> None:
        super().__init__()
        self.users, self.items, self.head = table(w["users"]), table(w["items"], shift), linear(w["head"])
        self.added = added

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        a, b = self.users(user).squeeze(1), self.items(item).flatten(1)
        product = a + b if self.added else a * b
        return torch.sigmoid(self.head(torch.cat([a, b, product], dim=1)))


def shared(k: Any) -> Any:
    first, second = k.Input((6,), dtype="int32", name="first"), k.Input((8,), dtype="int32", name="second")
    words = k.layers.Embedding(30, 6, name="words")
    a = k.layers.GlobalAveragePooling1D(name="pool")(words(first))
    b = k.layers.GlobalMaxPooling1D(name="peak")(words(second))
    return k.Model([first, second], k.layers.Dense(3, name="head")(k.layers.Subtract(name="minus")([a, b])))


class Shared(nn.Module):
    def __init__(self, w: Weights, second: int = 0, both: int = 0) -> None:
        super().__init__()
        self.words, self.head = table(w["words"], both), linear(w["head"])
        self.other = table(w["words"], second) if second else self.words

    def forward(self, first: Tensor, second: Tensor) -> Any:
        return self.head(self.words(first).mean(1) - self.other(second).max(dim=1).values)


CASES = [
    Case(
        "embedding_bag",
        bag,
        Bag,
        {
            "rows_shifted": wrong(lambda w: Bag(w, shift=1), "words", "words:weights"),
            "rows_exchanged": wrong(Exchanged, "", "words:weights"),
            "padding_row": wrong(PaddingRow, "words", "words:weights"),
            "summed": wrong(lambda w: Bag(w, summed=True), "pool"),
            "last": wrong(lambda w: Bag(w, last=True), "pool"),
        },
    ),
    Case(
        "embedding_one_hot",
        bag,
        OneHot,
        {"rows_shifted": wrong(lambda w: OneHot(w, 1), "words", "words:weights")},
    ),
    Case(
        "embedding_indexed",
        bag,
        Indexed,
        {"rows_shifted": wrong(lambda w: Indexed(w, 1), "words", "words:weights")},
    ),
    Case(
        "embedding_convolved",
        convolved,
        Convolved,
        {"rows_shifted": wrong(lambda w: Convolved(w, -1), "words", "words:weights")},
    ),
    Case(
        "embeddings",
        several,
        Several,
        {
            "rows_shifted": wrong(lambda w: Several(w, shift=1), "items", "items:weights"),
            "added": wrong(lambda w: Several(w, added=True), "product"),
        },
    ),
    Case(
        "embedding_shared",
        shared,
        Shared,
        {
            "rows_shifted": wrong(lambda w: Shared(w, both=1), "words words@1", "words:weights words@1:weights"),
            # Keras runs the branch of the second input first.
            "second_shifted": wrong(lambda w: Shared(w, second=1), "words@1", "words@1:weights"),
        },
    ),
]
