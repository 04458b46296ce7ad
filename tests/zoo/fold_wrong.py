"""Ports that fold every BatchNormalization into the layer before it, and do one thing wrong in doing so."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, Wrong, wrong

Layer = tuple[list[Tensor], list[Tensor]]
"""Weights of a layer with a kernel, as Keras has them: kernel, bias; and of its normalisation."""
Mistake = Callable[[Layer], Layer]


def block(k: Any) -> Any:
    def normal(x: Any, layer: Any) -> Any:
        return k.layers.BatchNormalization(name=f"{layer.name}_bn")(layer(x))

    x = inputs = k.Input((10, 12, 3))
    x = k.layers.ReLU(name="relu1")(normal(x, k.layers.Conv2D(8, 3, padding="same", name="stem")))
    y = k.layers.ReLU(name="relu2")(normal(x, k.layers.Conv2D(8, 3, 2, padding="same", name="first")))
    y = normal(y, k.layers.Conv2D(8, 3, padding="same", name="second"))
    z = normal(x, k.layers.Conv2D(8, 1, 2, use_bias=False, name="short"))
    x = k.layers.ReLU(name="relu3")(k.layers.Add(name="add")([y, z]))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def mobile(k: Any) -> Any:
    def normal(x: Any, layer: Any, **config: Any) -> Any:
        x = k.layers.BatchNormalization(name=f"{layer.name}_bn", **config)(layer(x))
        return k.layers.ReLU(name=f"{layer.name}_relu")(x)

    x = inputs = k.Input((11, 10, 4))
    x = normal(x, k.layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2, name="dw"))
    x = normal(x, k.layers.Conv2D(8, 1, name="pw"))
    x = normal(x, k.layers.Conv2D(8, 3, padding="same", dilation_rate=2, name="wide"))
    x = normal(x, k.layers.Conv2D(8, 3, groups=2, name="grouped"))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    x = normal(x, k.layers.Dense(8, use_bias=False, name="square"), epsilon=1e-2)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def fold(
    kernel: Tensor, bias: Tensor | float, norm: list[Tensor], depthwise: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """Torch's kernel and bias of a layer of Keras with a BatchNormalization behind it."""
    gamma, beta, mean, variance = norm
    scale = gamma / torch.sqrt(variance + eps)
    if kernel.ndim == 2:
        moved = kernel.T
    elif depthwise:
        moved = kernel.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
    else:
        moved = kernel.permute(3, 2, 0, 1)
    return moved * scale.reshape(-1, *[1] * (moved.ndim - 1)), beta + (bias - mean) * scale


def padded(k: Any) -> Any:
    x = inputs = k.Input((10, 12, 3))
    x = k.layers.Conv2D(8, 3, name="stem")(k.layers.ZeroPadding2D(2, name="pad")(x))
    x = k.layers.ReLU(name="relu")(k.layers.BatchNormalization(name="stem_bn")(x))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Folded(nn.Module):
    """Folded layers by name; ``done`` is what a port does with a kernel after folding, ``taken`` with what it takes."""

    layers: tuple[str, ...] = ()

    def __init__(
        self,
        w: Weights,
        taken: Mapping[str, Mistake] | None = None,
        done: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        eps: Mapping[str, float] | None = None,
        biases: bool = True,
        **config: Any,
    ) -> None:
        super().__init__()
        self.config, parameters = config, {}
        for name in self.layers:
            own, norm = w[name], w[f"{name}_bn"]
            if taken and name in taken:
                own, norm = taken[name]((own, norm))
            epsilon = (eps or {}).get(name, 1e-2 if name == "square" else 1e-3)
            bias = own[1] if len(own) > 1 else 0.0
            kernel, shift = fold(own[0], bias, norm, name == "dw", epsilon)
            kernel = done[name](kernel) if done and name in done else kernel
            parameters[name] = nn.Parameter(kernel.contiguous())
            parameters[f"{name}_bias"] = nn.Parameter(shift if biases or name != self.layers[0] else 0 * shift)
        self.w = nn.ParameterDict(parameters)
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.head.weight.copy_(w["head"][0].T)
            self.head.bias.copy_(w["head"][1])

    def conv(self, x: Tensor, name: str, **config: Any) -> Tensor:
        """A convolution, with what the port states of it otherwise."""
        return F.conv2d(x, self.w[name], self.w[f"{name}_bias"], **{**config, **self.config.get(name, {})})


class Block(Folded):
    layers = ("stem", "first", "second", "short")

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(x.flip(1) if self.config.get("bgr") else x, "stem", padding=1))
        y = x if "padding" in self.config.get("first", {}) else F.pad(x, self.config.get("pad", (0, 1, 0, 1)))
        y = self.conv(F.relu(self.conv(y, "first", stride=2)), "second", padding=1)
        shift = self.config.get("shift", 0)
        x = F.relu(y + self.conv(x[:, :, shift:, shift:], "short", stride=2))
        return self.head(x.mean((2, 3)))


class Padded(Folded):
    layers = ("stem",)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.conv(x, "stem", padding=2)).mean((2, 3)))


class Mobile(Folded):
    layers = ("dw", "pw", "wide", "grouped", "square")

    def forward(self, x: Tensor) -> Any:
        pad = self.config.get("pad", (0, 1, 1, 1))
        x = F.relu(self.conv(F.pad(x, pad), "dw", stride=2, groups=4))
        x = F.relu(self.conv(x, "pw"))
        x = F.relu(self.conv(x, "wide", padding=2, dilation=2))
        x = F.relu(self.conv(x, "grouped", groups=2))
        x = F.relu(F.linear(x.mean((2, 3)), self.w["square"], self.w["square_bias"]))
        return self.head(x)


def fresh(kernel: Tensor) -> Tensor:
    """Values of no layer of the model, as before loading."""
    return torch.rand(kernel.shape, generator=torch.Generator().manual_seed(1)) - 0.5


def half(kernel: Tensor) -> Tensor:
    return kernel.half().float()


def rotated(kernel: Tensor) -> Tensor:
    return kernel.flip(2, 3)


def without_gamma(layer: Layer) -> Layer:
    own, (gamma, *rest) = layer
    return own, [torch.ones_like(gamma), *rest]


def without_bias(layer: Layer) -> Layer:
    return layer[0][:1], layer[1]


def exchanged(first: int, second: int) -> Mistake:
    """Two numbers of the normalisation in each other's place."""

    def mistake(layer: Layer) -> Layer:
        own, norm = layer[0], list(layer[1])
        norm[first], norm[second] = norm[second].clone(), norm[first].clone()
        return own, norm

    return mistake


def deviation(layer: Layer) -> Layer:
    own, norm = layer
    return own, [*norm[:3], norm[3].sqrt()]


def statistics(layer: Layer) -> Layer:
    own, (gamma, beta, mean, variance) = layer
    return own, [gamma, beta, torch.zeros_like(mean), torch.ones_like(variance)]


def kernels(port: type[Folded], layer: str, **mistakes: Callable[[Tensor], Tensor]) -> dict[str, Wrong]:
    """Mistakes in a kernel that was folded."""
    return {n: wrong(functools.partial(port, done={layer: m}), f"{layer}_bn") for n, m in mistakes.items()}


def numbers(port: type[Folded], layer: str, **mistakes: Mistake) -> dict[str, Wrong]:
    """Mistakes in what is folded."""
    return {n: wrong(functools.partial(port, taken={layer: m}), f"{layer}_bn") for n, m in mistakes.items()}


def other_kernel(w: Weights, port: type[Folded], layer: str, other: str) -> nn.Module:
    """The folded weights of another layer."""
    made = port(w)
    with torch.no_grad():
        for end in ("", "_bias"):
            made.w[layer + end].copy_(made.w[other + end])
    return made


def swapped(w: Weights, port: type[Folded], layer: str, other: str) -> nn.Module:
    """The folded weights of two layers, each in the other's place."""
    made = port(w)
    for end in ("", "_bias"):
        made.w[layer + end], made.w[other + end] = made.w[other + end], made.w[layer + end]
    return made


CASES = [
    Case(
        "fold_padded",
        padded,
        Padded,
        {
            "padding": wrong(lambda w: Padded(w, stem={"padding": 1}), "stem_bn"),
            **kernels(Padded, "stem", rows=lambda k: k.transpose(2, 3)),
        },
        declared=frozenset({"pad", "stem"}),
    ),
    Case(
        "fold_block",
        block,
        Block,
        {
            **kernels(
                Block,
                "second",
                rows=lambda k: k.transpose(2, 3),
                in_out=lambda k: k.transpose(0, 1),
                rotated=rotated,
                fresh=fresh,
                half=half,
                one=lambda k: k.index_fill(0, torch.tensor(2), 0.1),
            ),
            **numbers(
                Block,
                "first",
                gamma=without_gamma,
                gamma_beta=exchanged(0, 1),
                deviation=deviation,
                statistics=statistics,
                bias=without_bias,
            ),
            "rows_of_all": wrong(
                lambda w: Block(w, done=dict.fromkeys(("stem", "first", "second"), lambda k: k.transpose(2, 3))),
                "stem_bn first_bn second_bn",
            ),
            "eps": wrong(lambda w: Block(w, eps={"second": 1e-5}), "second_bn"),
            "no_bias": wrong(lambda w: Block(w, biases=False), "stem_bn"),
            "symmetric": wrong(lambda w: Block(w, first={"padding": 1}), "first_bn"),
            "pad_before": wrong(lambda w: Block(w, pad=(1, 0, 1, 0)), "first_bn"),
            "stride": wrong(
                lambda w: Block(w, short={"stride": 1}, first={"stride": 1, "padding": 1}), "short_bn first_bn"
            ),
            "other_pixels": wrong(lambda w: Block(w, shift=1), "short_bn"),
            "bgr": wrong(lambda w: Block(w, bgr=True), "stem_bn"),
            "of_another": wrong(lambda w: other_kernel(w, Block, "second", "first"), "second_bn"),
            "swapped": wrong(lambda w: swapped(w, Block, "second", "first"), "second_bn first_bn"),
        },
        declared=frozenset({"stem", "first", "second", "short"}),
    ),
    Case(
        "fold_mobile",
        mobile,
        Mobile,
        {
            **kernels(
                Mobile,
                "dw",
                rows=lambda k: k.transpose(2, 3),
                rotated=rotated,
                half=half,
                fresh=fresh,
                multiplier=lambda k: k.reshape(4, 2, 1, 3, 3).transpose(0, 1).reshape(k.shape),
            ),
            **{
                f"{n}_dense": one
                for n, one in kernels(Mobile, "square", transposed=lambda k: k.T, half=half, fresh=fresh).items()
            },
            **{
                f"{n}_dense": one
                for n, one in numbers(Mobile, "square", gamma=without_gamma, mean_variance=exchanged(2, 3)).items()
            },
            "eps_dense": wrong(lambda w: Mobile(w, eps={"square": 1e-3}), "square_bn"),
            "gamma": wrong(lambda w: Mobile(w, taken={"dw": without_gamma}), "dw_bn"),
            "symmetric": wrong(lambda w: Mobile(w, pad=(1, 1, 1, 1)), "dw_bn"),
            "dilation": wrong(lambda w: Mobile(w, wide={"dilation": 1, "padding": 1}), "wide_bn"),
            "in_out": wrong(lambda w: Mobile(w, done={"pw": lambda k: k.transpose(0, 1)}), "pw_bn"),
        },
        declared=frozenset({"dw", "pw", "wide", "grouped", "square"}),
    ),
]
