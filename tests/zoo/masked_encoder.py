"""A Transformer block over padded words: what it makes of padding is read by nothing."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.attention import multihead
from tests.zoo.case import Case, Weights, wrong
from tests.zoo.layers import dense, embedding, layer_norm


def encoder(k: Any) -> Any:
    tokens = k.Input((9,), dtype="int32", name="tokens")
    x = k.layers.Embedding(30, 8, mask_zero=True, name="words")(tokens)
    attended = k.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    x = k.layers.LayerNormalization(epsilon=1e-6, name="norm")(k.layers.Add(name="add")([x, attended]))
    x = k.layers.Dense(8, activation="relu", name="ffn")(x)
    return k.Model(tokens, k.layers.Dense(3, name="head")(k.layers.GlobalAveragePooling1D(name="pool")(x)))


class Encoder(nn.Module):
    def __init__(self, w: Weights, mask: bool = True, pool: bool = True, inverted: bool = False) -> None:
        super().__init__()
        self.words, self.mha = embedding(w["words"]), multihead(w["mha"])
        self.norm, self.ffn, self.head = layer_norm(w["norm"], 1e-6), dense(w["ffn"]), dense(w["head"])
        self.mask, self.pool, self.inverted = mask, pool, inverted

    def forward(self, tokens: Tensor) -> Any:
        padding = tokens == 0
        x = self.words(tokens)
        attended, _ = self.mha(x, x, x, key_padding_mask=(padding != self.inverted) if self.mask else None)
        x = F.relu(self.ffn(self.norm(x + attended)))
        keep = (~padding if self.pool else torch.ones_like(padding)).unsqueeze(-1).to(x.dtype)
        return self.head((x * keep).sum(1) / keep.sum(1))


CASES = [
    Case(
        "masked_encoder",
        encoder,
        Encoder,
        {
            "keys_not_masked": wrong(lambda w: Encoder(w, mask=False), "mha"),
            "keys_inverted": wrong(lambda w: Encoder(w, inverted=True), "mha"),
            "pool_not_masked": wrong(lambda w: Encoder(w, pool=False), "pool"),
        },
        loaders=("keras",),
        suffix=".keras",
    ),
]
