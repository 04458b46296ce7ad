"""Positional embeddings: learned ones through Embedding of a range, sinusoids, rotations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.attention import multihead
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import dense, embedding, layer_norm


def learned(k: Any) -> Any:
    tokens, places = k.Input((6,), dtype="int32", name="tokens"), k.Input((6,), dtype="int32", name="places")
    x = k.layers.Embedding(20, 8, name="word")(tokens)
    x = k.layers.Add(name="sum")([x, k.layers.Embedding(6, 8, name="place")(places)])
    x = k.layers.LayerNormalization(name="norm")(x)
    x = k.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    return k.Model([tokens, places], k.layers.Dense(3, name="head")(x))


class Learned(nn.Module):
    """Positions are an input, as in BERT."""

    def __init__(self, w: Weights, times: int = 1) -> None:
        super().__init__()
        self.word, self.place, self.norm = embedding(w["word"]), embedding(w["place"]), layer_norm(w["norm"])
        self.mha, self.head, self.times = multihead(w["mha"]), dense(w["head"]), times

    def forward(self, tokens: Tensor, places: Tensor) -> Any:
        x = self.norm(self.word(tokens) + self.times * self.place(places))
        return self.head(self.mha(x, x, x)[0])


def counted(k: Any) -> Any:
    tokens = k.Input((6,), dtype="int32")
    places = k.ops.cumsum(k.ops.ones_like(tokens), axis=1) - 1
    x = k.layers.Embedding(20, 8, name="word")(tokens)
    x = k.layers.Add(name="sum")([x, k.layers.Embedding(6, 8, name="place")(places)])
    return k.Model(tokens, k.layers.Dense(3, name="head")(x))


class Counted(nn.Module):
    """Positions are counted; in torch they depend on no input."""

    def __init__(self, w: Weights, first: int = 0) -> None:
        super().__init__()
        self.word, self.place, self.head = embedding(w["word"]), embedding(w["place"]), dense(w["head"])
        self.first = first

    def forward(self, tokens: Tensor) -> Any:
        places = (torch.arange(tokens.shape[1], device=tokens.device) + self.first) % 6
        return self.head(self.word(tokens) + self.place(places))


def sinusoids(length: int = 6, width: int = 8) -> Any:
    """The table of Vaswani and others (2017), as float32."""
    angles = np.arange(length)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


def constant(k: Any) -> Any:
    tokens = k.Input((6,), dtype="int32")
    x = k.layers.Embedding(20, 8, name="word")(tokens)
    x = k.layers.Rescaling(math.sqrt(8), name="scale")(x)
    x = k.ops.add(x, k.ops.convert_to_tensor(sinusoids()))
    return k.Model(tokens, k.layers.Dense(3, activation="relu", name="head")(x))


class Sinusoidal(nn.Module):
    """The module of torch's tutorials: a buffer, sines and cosines interleaved."""

    pe: Tensor

    def __init__(self, w: Weights, halves: bool = False) -> None:
        super().__init__()
        self.word, self.head = embedding(w["word"]), dense(w["head"])
        position = torch.arange(6).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, 8, 2) * (-math.log(10000.0) / 8))
        pe = torch.zeros(1, 6, 8)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        if halves:
            pe = torch.cat([pe[..., 0::2], pe[..., 1::2]], -1)
        self.register_buffer("pe", pe)

    def forward(self, tokens: Tensor) -> Any:
        x = self.word(tokens) * math.sqrt(8)
        return F.relu(self.head(x + self.pe[:, : tokens.size(1)]))


CASES = [
    Case("positions_learned", learned, Learned, {"twice": wrong(lambda w: Learned(w, 2), "sum")}),
    Case(
        "positions_counted",
        counted,
        Counted,
        {"from_one": wrong(lambda w: Counted(w, 1), "sum")},
        loaders=("keras",),
        suffix=".keras",
        declared=frozenset({"ones_like", "cumsum", "subtract", "place"}),
    ),
    Case(
        "positions_sinusoidal",
        constant,
        Sinusoidal,
        {"halves": wrong(lambda w: Sinusoidal(w, True), "add")},
        loaders=("keras",),
        suffix=".keras",
    ),
]
