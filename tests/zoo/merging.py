"""Layers that join several values: sums, products, extremes, concatenations, dot products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, wrong
from tests.zoo.frames import conv, linear

Join = Callable[..., Tensor]


def branches(join: Callable[[Any], Any], number: int = 2, shape: tuple[int, ...] = (5,)) -> Callable[[Any], Any]:
    """Several Dense layers on one input, joined, and a Dense layer."""

    def build(k: Any) -> Any:
        inputs = k.Input(shape)
        values = [k.layers.Dense(6, name=f"branch{i}")(inputs) for i in range(number)]
        return k.Model(inputs, k.layers.Dense(3, name="last")(join(k)(values)))

    return build


class Branches(nn.Module):
    def __init__(self, w: Weights, join: Join) -> None:
        super().__init__()
        names = [f"branch{i}" for i in range(9) if f"branch{i}" in w]
        self.branches = nn.ModuleList([linear(*w[name]) for name in names])
        self.last = linear(*w["last"])
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        joined = self.join(*(branch(x) for branch in self.branches))
        return F.linear(joined, self.last.weight, self.last.bias)


def port(join: Join) -> Port:
    return lambda w: Branches(w, join)


def add_in_place(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


def dot(a: Tensor, b: Tensor, normalize: bool = False) -> Tensor:
    if normalize:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return (a * b).sum(-1, keepdim=True)


def images(axis: int) -> Callable[[Any], Any]:
    """Two convolutions of one image, concatenated along an axis, and a convolution."""

    def build(k: Any) -> Any:
        inputs = k.Input((6, 6, 3))
        values = [k.layers.Conv2D(4, 3, activation="relu", name=f"branch{i}")(inputs) for i in range(2)]
        return k.Model(inputs, k.layers.Conv2D(2, 1, name="last")(k.layers.Concatenate(axis, name="join")(values)))

    return build


class Images(nn.Module):
    def __init__(self, w: Weights, dim: int, first: int = 0) -> None:
        super().__init__()
        self.branch0, self.branch1, self.last = (conv(*w[name]) for name in ("branch0", "branch1", "last"))
        self.dim, self.first = dim, first

    def forward(self, x: Tensor) -> Tensor:
        values = [F.relu(self.branch0(x)), F.relu(self.branch1(x))]
        joined = torch.cat((values[self.first], values[1 - self.first]), self.dim)
        return F.conv2d(joined, self.last.weight, self.last.bias)


CASES = [
    Case(
        "add",
        branches(lambda k: k.layers.Add(name="join")),
        port(add_in_place),
        {
            "subtract": wrong(port(lambda a, b: a - b), "join"),
            "average": wrong(port(lambda a, b: (a + b) / 2), "join"),
            "maximum": wrong(port(torch.maximum), "join"),
            "twice_the_first": wrong(port(lambda a, b: a + a), "join"),
            "scaled": wrong(port(lambda a, b: torch.add(a, b, alpha=0.5)), "join"),
            "relu": wrong(port(lambda a, b: F.relu(a + b)), "last"),
        },
    ),
    Case(
        "add_3",
        branches(lambda k: k.layers.Add(name="join"), 3),
        port(lambda a, b, c: c + a + b),
        {
            "one_lost": wrong(port(lambda a, b, c: a + b), "join"),
            "product": wrong(port(lambda a, b, c: a + b * c), "join"),
        },
    ),
    Case(
        "subtract",
        branches(lambda k: k.layers.Subtract(name="join")),
        port(lambda a, b: a - b),
        {
            "exchanged": wrong(port(lambda a, b: b - a), "join"),
            "absolute": wrong(port(lambda a, b: (a - b).abs()), "last"),
            "add": wrong(port(lambda a, b: a + b), "join"),
        },
    ),
    Case(
        "multiply",
        branches(lambda k: k.layers.Multiply(name="join")),
        port(lambda a, b: b.mul_(a)),
        {
            "add": wrong(port(lambda a, b: a + b), "join"),
            "divide": wrong(port(lambda a, b: a / b), "join"),
            "gate": wrong(port(lambda a, b: a * torch.sigmoid(b)), "join"),
        },
    ),
    Case(
        "average",
        branches(lambda k: k.layers.Average(name="join"), 3),
        port(lambda *values: torch.stack(values).mean(0)),
        {
            "sum": wrong(port(lambda a, b, c: a + b + c), "join"),
            "halved": wrong(port(lambda a, b, c: (a + b + c) / 2), "join"),
            "pairs": wrong(port(lambda a, b, c: ((a + b) / 2 + c) / 2), "join"),
        },
    ),
    Case(
        "average_2",
        branches(lambda k: k.layers.Average(name="join")),
        port(lambda a, b: (a + b) / 2),
        {
            "sum": wrong(port(lambda a, b: a + b), "join"),
            "uneven": wrong(port(lambda a, b: torch.lerp(a, b, 0.25)), "join"),
        },
    ),
    Case(
        "maximum",
        branches(lambda k: k.layers.Maximum(name="join"), 3),
        port(lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        {
            "minimum": wrong(port(lambda a, b, c: torch.minimum(torch.minimum(a, b), c)), "join"),
            "mixed": wrong(port(lambda a, b, c: torch.maximum(torch.minimum(a, b), c)), "join"),
            "one_lost": wrong(port(lambda a, b, c: torch.maximum(a, c)), "join"),
        },
    ),
    Case(
        "minimum",
        branches(lambda k: k.layers.Minimum(name="join")),
        port(lambda a, b: torch.stack((a, b), -1).amin(-1)),
        {
            "maximum": wrong(port(lambda a, b: torch.stack((a, b), -1).amax(-1)), "join"),
            "where": wrong(port(lambda a, b: torch.where(a > b, a, b)), "join"),
        },
    ),
    Case(
        "minimum_where",
        branches(lambda k: k.layers.Minimum(name="join")),
        port(lambda a, b: torch.where(a < b, a, b)),
        {"maximum": wrong(port(lambda a, b: torch.where(a > b, a, b)), "join")},
    ),
    Case(
        "concatenate",
        branches(lambda k: k.layers.Concatenate(name="join"), 3),
        port(lambda *values: torch.cat(values, 1)),
        {
            "exchanged": wrong(port(lambda a, b, c: torch.cat((b, a, c), 1)), "join"),
            "woven": wrong(port(lambda *values: torch.stack(values, 2).flatten(1)), "join"),
            "last_twice": wrong(port(lambda a, b, c: torch.cat((a, c, c), 1)), "join"),
        },
    ),
    Case(
        "concatenate_steps",
        branches(lambda k: k.layers.Concatenate(1, name="join"), 2, (4, 5)),
        port(lambda a, b: torch.hstack((a, b))),
        {"exchanged": wrong(port(lambda a, b: torch.hstack((b, a))), "join")},
    ),
    *(
        Case(
            f"concatenate_images_{axis}",
            images(axis),
            functools.partial(Images, dim=dim),
            {
                "exchanged": wrong(functools.partial(Images, dim=dim, first=1), "join"),
                **({} if dim == 1 else {"other_axis": wrong(functools.partial(Images, dim=5 - dim), "join")}),
            },
        )
        for axis, dim in ((3, 1), (-1, 1), (1, 2), (2, 3), (-2, 3))
    ),
    Case(
        "dot",
        branches(lambda k: k.layers.Dot(1, name="join")),
        port(dot),
        {
            "normalized": wrong(port(lambda a, b: dot(a, b, True)), "join"),
            "mean": wrong(port(lambda a, b: (a * b).mean(-1, keepdim=True)), "join"),
        },
    ),
    Case(
        "dot_normalized",
        branches(lambda k: k.layers.Dot(-1, normalize=True, name="join")),
        port(lambda a, b: dot(a, b, True)),
        {
            "plain": wrong(port(dot), "join"),
            "halved": wrong(port(lambda a, b: dot(F.normalize(a), b)), "join"),
        },
    ),
    Case(
        "dot_cosine",
        branches(lambda k: k.layers.Dot(1, normalize=True, name="join")),
        port(lambda a, b: F.cosine_similarity(a, b)[:, None]),
        {"distance": wrong(port(lambda a, b: 1 - F.cosine_similarity(a, b)[:, None]), "join")},
    ),
    Case(
        "dot_features",
        branches(lambda k: k.layers.Dot(2, name="join"), 2, (4, 5)),
        port(lambda a, b: torch.bmm(a, b.transpose(1, 2))),
        {
            "exchanged": wrong(port(lambda a, b: b @ a.transpose(1, 2)), "join"),
            "scaled": wrong(port(lambda a, b: a @ b.transpose(1, 2) / 6**0.5), "join"),
        },
    ),
    Case(
        "dot_steps",
        branches(lambda k: k.layers.Dot((1, 1), name="join"), 2, (4, 5)),
        port(lambda a, b: torch.einsum("nti,ntj->nij", a, b)),
        {"exchanged": wrong(port(lambda a, b: torch.einsum("nti,ntj->nji", a, b)), "join")},
    ),
]
