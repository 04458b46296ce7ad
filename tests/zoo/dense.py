"""Dense and EinsumDense: on inputs of two to four dimensions, as linear, as 1×1 convolution, as einsum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong
from tests.zoo.frames import Build, linear


def two(shape: tuple[int, ...], units: int = 5, **options: Any) -> Build:
    """Two Dense layers; the first has a square kernel where it can."""

    def build(k: Any) -> Any:
        inputs = k.Input(shape)
        x = k.layers.Dense(units, name="dense", **options)(inputs)
        return k.Model(inputs, k.layers.Dense(3, activation="tanh", name="last")(x))

    return build


class Net(nn.Module):
    """A product of the input and Keras's kernel and bias, then ``last``."""

    def __init__(self, w: Weights, product: Callable[..., Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(t) for t in w["dense"]])
        self.last = linear(*w["last"])
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        x = self.product(x, *self.weights)
        return torch.tanh(self.last(x))


def port(product: Callable[..., Tensor]) -> Callable[[Weights], nn.Module]:
    return functools.partial(Net, product=product)


class Modules(nn.Module):
    def __init__(self, w: Weights, bias: bool = True, act: nn.Module | None = None, transpose: bool = True) -> None:
        super().__init__()
        kernel, *rest = w["dense"]
        self.dense = linear(kernel if transpose else kernel.T.contiguous(), *(rest if bias else []))
        self.act = act or nn.Identity()
        self.last = linear(*w["last"])

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(self.act(self.dense(x))))


class AsConvolution(nn.Module):
    """Dense on (N, H, W, C) as a 1×1 convolution on (N, C, H, W)."""

    def __init__(self, w: Weights, transpose: bool = True) -> None:
        super().__init__()
        kernel, bias = w["dense"]
        kernel = kernel.T if transpose else kernel
        self.conv = nn.Conv2d(5, 5, 1)
        self.conv.weight.data, self.conv.bias.data = kernel[:, :, None, None].contiguous(), bias  # type: ignore[union-attr]
        last, last_bias = w["last"]
        self.last = nn.Conv2d(5, 3, 1)
        self.last.weight.data, self.last.bias.data = last.T[:, :, None, None].contiguous(), last_bias  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(F.relu(self.conv(x))))


def conv_model(k: Any) -> Any:
    inputs = k.Input((4, 3, 5))
    x = k.layers.Conv2D(6, 1, activation="relu", name="conv")(inputs)
    x = k.layers.GlobalAveragePooling2D(name="pool")(x)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="last")(x))


class AsLinear(nn.Module):
    """A 1×1 convolution as nn.Linear on (N, H, W, C)."""

    def __init__(self, w: Weights, bias: bool = True, softmax: bool = True) -> None:
        super().__init__()
        kernel, own = w["conv"]
        self.conv = linear(kernel[0, 0], *([own] if bias else []))
        self.last = linear(*w["last"])
        self.softmax = softmax

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(x.permute(0, 2, 3, 1))).mean((1, 2))
        return self.last(x).softmax(-1) if self.softmax else self.last(x)


def heads(k: Any) -> Any:
    inputs = k.Input((4, 5))
    x = k.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", name="dense")(inputs)
    return k.Model(inputs, k.layers.EinsumDense("abde,def->abf", (None, 6), bias_axes="f", name="last")(x))


class Heads(nn.Module):
    """Two EinsumDense layers as two nn.Linear."""

    def __init__(self, w: Weights, exchanged: bool = False, bias: bool = True) -> None:
        super().__init__()
        kernel, own = w["dense"]
        out, out_bias = w["last"]
        if exchanged:
            kernel = kernel.transpose(1, 2)
        self.dense = linear(kernel.reshape(5, 6), own.reshape(6) if bias else torch.zeros(6))
        self.last = linear(out.reshape(6, 6), out_bias)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.dense(x))


CASES = [
    Case(
        "dense",
        two((5,), activation="relu"),
        functools.partial(Modules, act=nn.ReLU()),
        {
            "not_transposed": wrong(functools.partial(Modules, act=nn.ReLU(), transpose=False), "dense"),
            "no_bias": wrong(functools.partial(Modules, act=nn.ReLU(), bias=False), "dense", "dense:weights"),
            "no_relu": wrong(Modules, "dense"),
            "leaky": wrong(functools.partial(Modules, act=nn.LeakyReLU()), "dense", "dense:hyper"),
        },
    ),
    Case(
        "dense_matmul",
        two((5,), activation="sigmoid"),
        port(lambda x, kernel, bias: torch.sigmoid(x @ kernel + bias)),
        {
            "not_transposed": wrong(port(lambda x, kernel, bias: torch.sigmoid(x @ kernel.T + bias)), "dense"),
            "minus": wrong(port(lambda x, kernel, bias: torch.sigmoid(x @ kernel - bias)), "dense"),
        },
    ),
    Case(
        "dense_no_bias",
        two((5,), use_bias=False),
        Modules,
        {"relu": wrong(functools.partial(Modules, act=nn.ReLU()), "last")},
    ),
    Case(
        "dense_steps",
        two((4, 5), activation="tanh"),
        functools.partial(Modules, act=nn.Tanh()),
        {
            "not_transposed": wrong(functools.partial(Modules, act=nn.Tanh(), transpose=False), "dense"),
            "no_bias": wrong(functools.partial(Modules, act=nn.Tanh(), bias=False), "dense", "dense:weights"),
        },
    ),
    Case(
        "dense_steps_einsum",
        two((5, 5)),
        port(lambda x, kernel, bias: torch.einsum("ntc,cd->ntd", x, kernel) + bias),
        {"transposed": wrong(port(lambda x, k, b: torch.einsum("ntc,dc->ntd", x, k) + b), "dense")},
    ),
    Case(
        "dense_pixels",
        two((4, 3, 5), activation="relu"),
        AsConvolution,
        {"not_transposed": wrong(functools.partial(AsConvolution, transpose=False), "dense")},
    ),
    Case(
        "dense_pixels_linear",
        two((4, 3, 5), activation="softmax"),
        port(lambda x, kernel, bias: F.linear(x.permute(0, 2, 3, 1), kernel.T, bias).softmax(-1)),
        {
            "rows": wrong(port(lambda x, k, b: F.linear(x.permute(0, 2, 3, 1), k.T, b).softmax(1)), "dense"),
            "no_softmax": wrong(port(lambda x, k, b: F.linear(x.permute(0, 2, 3, 1), k.T, b)), "dense"),
        },
    ),
    Case(
        "convolution_as_linear",
        conv_model,
        AsLinear,
        {
            "no_bias": wrong(functools.partial(AsLinear, bias=False), "conv", "conv:weights"),
            "no_softmax": wrong(functools.partial(AsLinear, softmax=False), "last"),
        },
    ),
    Case(
        "einsum_dense",
        heads,
        Heads,
        {
            "exchanged": wrong(functools.partial(Heads, exchanged=True), "dense", "dense:weights"),
            "no_bias": wrong(functools.partial(Heads, bias=False), "dense", "dense:weights"),
        },
    ),
]
