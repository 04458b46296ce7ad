"""Factors and offsets folded into tables, behind a Flatten, and into each of two layers that take the same."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.fold_chains import Layers, fold, norm, one_element, spoilt, standard

UNSEEN = 9
"""A word that no probe input has."""


def words(k: Any) -> Any:
    first, second = k.Input((6,), dtype="int32", name="words"), k.Input((6,), dtype="int32", name="places")
    x = k.layers.Rescaling(4.0, name="scale")(k.layers.Embedding(20, 8, name="word")(first))
    y = k.layers.BatchNormalization(name="bn1")(k.layers.Embedding(20, 8, name="place")(second))
    x = k.layers.Add(name="add")([x, y])
    z = k.layers.Rescaling(0.5, 0.1, name="half")(k.layers.Embedding(20, 8, name="again")(first))
    z = k.layers.BatchNormalization(name="bn2")(z)
    x = k.layers.Concatenate(name="concat")([x, z])
    x = k.layers.GlobalAveragePooling1D(name="gap")(k.layers.Activation("tanh", name="tanh")(x))
    return k.Model([first, second], k.layers.Dense(3, name="head")(x))


class Words(nn.Module):
    """All that is done to what an embedding gives is a part of its table."""

    def __init__(
        self,
        w: Weights,
        spoilt: str = "",
        row: int = 0,
        factor: float = 4.0,
        eps: float = 1e-3,
        shift: float = 0.1,
    ) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        scale, offset = norm(w["bn1"])
        one, two = norm(w["bn2"], eps)
        tables = {
            "word": w["word"][0] * factor,
            "place": w["place"][0] * scale + offset,
            "again": (w["again"][0] * 0.5 + shift) * one + two,
        }
        self.tables = nn.ModuleDict({name: nn.Embedding(20, 8) for name in tables})
        with torch.no_grad():
            self.head.weight.copy_(w["head"][0].T)
            self.head.bias.copy_(w["head"][1])
            for name, rows in tables.items():
                self.tables[name].weight.copy_(rows)  # type: ignore[operator]
            if spoilt:
                one_element(self.tables[spoilt].weight[row])  # type: ignore[index]

    def forward(self, words: Tensor, places: Tensor) -> Any:
        x = self.tables["word"](words) + self.tables["place"](places)
        x = torch.cat([x, self.tables["again"](words)], -1)
        return self.head(torch.tanh(x).mean(1))


def shared(k: Any) -> Any:
    x = inputs = k.Input((8, 9, 3))
    x = k.layers.Rescaling(1 / 255, name="scale")(x)
    y = k.layers.BatchNormalization(name="bn")(k.layers.Conv2D(8, 3, name="first")(x))
    z = k.layers.Conv2D(8, 3, name="second")(x)
    x = k.layers.ReLU(name="relu")(k.layers.Concatenate(name="concat")([y, z]))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Shared(Layers):
    """Both convolutions have the scale of the pixels in their kernels."""

    def __init__(self, w: Weights, scale: float = 1 / 255, **config: Any) -> None:
        super().__init__(
            first=fold(w["first"], [(1 / 255, 0.0)], [norm(w["bn"])]),
            second=fold(w["second"], [(scale, 0.0)], []),
            head=fold(w["head"], [], []),
            **config,
        )

    def forward(self, x: Tensor) -> Any:
        x = F.relu(torch.cat([self.conv(x, "first"), self.conv(x, "second")], 1))
        return self.dense(x.mean((2, 3)), "head")


def flat(k: Any) -> Any:
    x = inputs = k.Input((4, 5, 3))
    x = k.layers.Flatten(name="flatten")(k.layers.Normalization(name="norm")(x))
    x = k.layers.BatchNormalization(name="bn")(k.layers.Dense(8, name="dense")(x))
    return k.Model(inputs, k.layers.Dense(3, name="head")(k.layers.ReLU(name="relu")(x)))


class Flat(Layers):
    """The normalisation of the channels is in the kernel over all pixels."""

    def __init__(self, w: Weights, eps: float = 1e-3, **config: Any) -> None:
        scale, shift = (torch.as_tensor(a).repeat(20) for a in standard(w["norm"]))
        super().__init__(
            dense=fold(w["dense"], [(scale, shift)], [norm(w["bn"], eps)]), head=fold(w["head"], [], []), **config
        )

    def forward(self, x: Tensor) -> Any:
        return self.dense(F.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1), "dense")), "head")


CASES = [
    Case(
        "fold_chain_embedding",
        words,
        Words,
        {
            "element": wrong(lambda w: Words(w, spoilt="word"), "scale"),
            "element_of_place": wrong(lambda w: Words(w, spoilt="place"), "bn1"),
            "element_of_again": wrong(lambda w: Words(w, spoilt="again"), "bn2"),
            "scale": wrong(lambda w: Words(w, factor=2.0), "scale"),
            "unseen": wrong(lambda w: Words(w, spoilt="word", row=UNSEEN), "", "word:weights"),
            "unseen_of_place": wrong(lambda w: Words(w, spoilt="place", row=UNSEEN), "", "bn1:weights"),
            "eps": wrong(lambda w: Words(w, eps=1e-5), "bn2"),
            "offset": wrong(lambda w: Words(w, shift=0.0), "bn2"),
        },
        declared=frozenset({"word", "place", "again", "half"}),
    ),
    Case(
        "fold_chain_shared",
        shared,
        Shared,
        {
            "element": spoilt(Shared, "first_kernel", one_element, "bn"),
            "element_of_second": spoilt(Shared, "second_kernel", one_element, "second"),
            "scale": wrong(lambda w: Shared(w, scale=1 / 256), "second"),
        },
        declared=frozenset({"scale", "first"}),
    ),
    Case(
        "fold_chain_flat",
        flat,
        Flat,
        {
            "element": spoilt(Flat, "dense_kernel", one_element, "bn"),
            "eps": wrong(lambda w: Flat(w, eps=1e-5), "bn"),
        },
        declared=frozenset({"norm", "flatten", "dense"}),
    ),
]
