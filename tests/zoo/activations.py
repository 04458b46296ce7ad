"""Activation functions by name, inside a Dense layer and as a layer of their own, written with torch and by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, load, wrong

Function = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """Dense with the activation inside, Dense, the activation as a layer, Dense."""

    def __init__(self, w: Weights, inside: Function, own: Function) -> None:
        super().__init__()
        self.hidden, self.mix, self.out = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        for name in ("hidden", "mix", "out"):
            kernel, bias = w[name]
            load(getattr(self, name), weight=kernel.T, bias=bias)
        self.inside, self.own = inside, own

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(self.hidden(x))
        return F.linear(self.own(self.mix(x)), self.out.weight, self.out.bias)


def net(activation: str) -> Callable[[Any], Any]:
    def build(k: Any) -> Any:
        inputs = k.Input((5,))
        x = k.layers.Dense(8, activation=activation, name="hidden")(inputs)
        x = k.layers.Dense(8, name="mix")(x)
        x = k.layers.Activation(activation, name="act")(x)
        return k.Model(inputs, k.layers.Dense(3, name="out")(x))

    return build


def small(model: Any) -> None:
    """Shrink what comes before the activations to a thousandth: there many functions are nearly equal."""
    for name in ("hidden", "mix"):
        layer = model.get_layer(name)
        layer.set_weights([array / 1000 for array in layer.get_weights()])


def same(x: Tensor) -> Tensor:
    return x


def leaky(slope: float) -> Function:
    return lambda x: F.leaky_relu(x, slope)


def sparse_plus(x: Tensor) -> Tensor:
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, 0.25 * (x + 1) ** 2, x))


def sparsemax(x: Tensor) -> Tensor:
    ordered, _ = x.sort(-1, descending=True)
    total = ordered.cumsum(-1)
    rank = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    inside = ordered - (total - 1) / rank > 0
    count = inside.to(x.dtype).sum(-1, keepdim=True)
    tau = ((total * inside).sum(-1, keepdim=True) - 1) / count
    return torch.clamp(x - tau, min=0)


def softmax_by_hand(x: Tensor) -> Tensor:
    e = torch.exp(x - x.max(-1, keepdim=True).values)
    return e / e.sum(-1, keepdim=True)


def gelu_tanh_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


BOTH = ("keras", "tf_keras")
OF_SEVERAL = frozenset({"softmax", "log_softmax", "sparsemax"})
"""Functions of more than one element, which no table of values describes."""


def case(
    name: str,
    own: Function,
    by_hand: Function,
    loaders: tuple[str, ...] = ("keras",),
    tiny: bool = False,
    activation: str = "",
    **others: Function,
) -> Case:
    """A function as torch has it for the layer and by hand inside Dense; every other one is wrong in either place.

    Those called ``far…`` differ only where the probe inputs do not come.
    """
    activation = activation or name.removesuffix("_small")
    ports = {
        "missing_in_hidden": wrong(functools.partial(Net, inside=same, own=own), "hidden"),
        "missing_in_act": wrong(functools.partial(Net, inside=by_hand, own=same), "act"),
    }
    for what, other in others.items():
        seen, table = not tiny and not what.startswith("far"), activation not in OF_SEVERAL
        for layer, functions in (("hidden", (other, own)), ("act", (by_hand, other))):
            port = functools.partial(Net, inside=functions[0], own=functions[1])
            ports[f"{what}_in_{layer}"] = wrong(port, layer * seen, f"{layer}:hyper" * table)
    return Case(
        f"activation_{name}",
        net(activation),
        lambda w: Net(w, by_hand, own),
        ports,
        loaders=loaders,
        prepare=small if tiny else None,
    )


CASES = [
    case("relu", F.relu, lambda x: x.clamp(min=0), BOTH, far_6=F.relu6, leaky=leaky(0.01)),
    case("relu6", F.relu6, lambda x: x.clamp(0, 6), far=F.relu, far_5=lambda x: x.clamp(0, 5)),
    case(
        "leaky_relu",
        leaky(0.2),
        lambda x: torch.where(x > 0, x, 0.2 * x),
        of_layer=leaky(0.3),
        of_torch=nn.LeakyReLU(),
        by_maximum=lambda x: torch.maximum(x, 0.1 * x),
    ),
    case("elu", F.elu, lambda x: torch.where(x > 0, x, torch.expm1(x)), BOTH, selu=F.selu, half=nn.ELU(0.5)),
    case("celu", F.celu, lambda x: x.clamp(min=0) + torch.expm1(x.clamp(max=0)), half=nn.CELU(0.5), relu=F.relu),
    case(
        "selu",
        F.selu,
        lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x)),
        BOTH,
        elu=F.elu,
        unscaled=lambda x: torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x)),
    ),
    case(
        "softplus",
        F.softplus,
        lambda x: torch.log(1 + torch.exp(x)),
        BOTH,
        beta=lambda x: F.softplus(x, beta=2),
        relu=F.relu,
        far=lambda x: F.softplus(x, threshold=5),
    ),
    case("softsign", F.softsign, lambda x: x / (1 + x.abs()), BOTH, tanh=torch.tanh, square=lambda x: x / (1 + x * x)),
    case(
        "squareplus",
        lambda x: (x + torch.sqrt(x * x + 4)) / 2,
        lambda x: 0.5 * x + 0.5 * (x.square() + 4).sqrt(),
        b=lambda x: (x + torch.sqrt(x * x + 2)) / 2,
        softplus=F.softplus,
    ),
    case(
        "soft_shrink",
        F.softshrink,
        lambda x: x.sign() * (x.abs() - 0.5).clamp(min=0),
        hard=F.hardshrink,
        at_1=nn.Softshrink(1.0),
    ),
    case("hard_shrink", F.hardshrink, lambda x: x * (x.abs() > 0.5), soft=F.softshrink, at_1=nn.Hardshrink(1.0)),
    case("tanh_shrink", F.tanhshrink, lambda x: x - torch.tanh(x), tanh=torch.tanh),
    case(
        "sparse_plus",
        sparse_plus,
        lambda x: torch.where(x < 1, 0.25 * (x.clamp(min=-1) + 1) ** 2, x),
        relu=F.relu,
        softplus=F.softplus,
    ),
    case(
        "sparse_sigmoid",
        lambda x: (0.5 * (x + 1)).clamp(0, 1),
        lambda x: F.hardtanh(x) / 2 + 0.5,
        hard=F.hardsigmoid,
        sigmoid=torch.sigmoid,
    ),
    case("silu", F.silu, lambda x: x * torch.sigmoid(x), hard=F.hardswish, gelu=F.gelu, sigmoid=torch.sigmoid),
    case(
        "swish",
        nn.SiLU(inplace=True),
        lambda x: x / (1 + torch.exp(-x)),
        BOTH,
        hard=F.hardswish,
        steep=lambda x: x * torch.sigmoid(1.702 * x),
    ),
    case(
        "gelu",
        F.gelu,
        lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        BOTH,
        tanh=nn.GELU("tanh"),
        tanh_by_hand=gelu_tanh_by_hand,
        quick=lambda x: x * torch.sigmoid(1.702 * x),
    ),
    case("mish", F.mish, lambda x: x * torch.tanh(F.softplus(x)), BOTH, silu=F.silu),
    case("tanh", torch.tanh, lambda x: 2 * torch.sigmoid(2 * x) - 1, BOTH, hard=F.hardtanh, sigmoid=torch.sigmoid),
    case("sigmoid", torch.sigmoid, lambda x: 1 / (1 + torch.exp(-x)), BOTH, hard=F.hardsigmoid, tanh=torch.tanh),
    case("hard_tanh", F.hardtanh, lambda x: x.clamp(-1, 1), tanh=torch.tanh, wide=nn.Hardtanh(-2, 2)),
    case(
        "hard_sigmoid",
        F.hardsigmoid,
        lambda x: F.relu6(x + 3) / 6,
        keras_2=lambda x: (0.2 * x + 0.5).clamp(0, 1),
        sigmoid=torch.sigmoid,
    ),
    case(
        "hard_sigmoid_2",
        lambda x: (0.2 * x + 0.5).clamp(0, 1),
        lambda x: F.hardtanh(0.2 * x + 0.5, 0, 1),
        ("tf_keras",),
        activation="hard_sigmoid",
        keras_3=F.hardsigmoid,
        sigmoid=torch.sigmoid,
    ),
    case("hard_silu", F.hardswish, lambda x: x * F.relu6(x + 3) / 6, silu=F.silu, sigmoid=F.hardsigmoid),
    case("hard_swish", F.hardswish, lambda x: x * F.hardsigmoid(x), activation="hard_swish", silu=F.silu),
    case("exponential", torch.exp, lambda x: math.e**x, BOTH, minus_one=torch.expm1),
    case("log_sigmoid", F.logsigmoid, lambda x: -F.softplus(-x), sigmoid=torch.sigmoid, softplus=F.softplus),
    case(
        "softmax",
        nn.Softmax(-1),
        softmax_by_hand,
        BOTH,
        log=nn.LogSoftmax(-1),
        sigmoid=torch.sigmoid,
        batch=nn.Softmax(0),
        twice=lambda x: x.softmax(-1).softmax(-1),
    ),
    case(
        "log_softmax",
        nn.LogSoftmax(-1),
        lambda x: x - x.logsumexp(-1, keepdim=True),
        plain=nn.Softmax(-1),
        sigmoid=F.logsigmoid,
    ),
    case("sparsemax", sparsemax, sparsemax, softmax=nn.Softmax(-1)),
    case(
        "tanh_small",
        torch.tanh,
        lambda x: 2 * torch.sigmoid(2 * x) - 1,
        BOTH,
        tiny=True,
        hard=F.hardtanh,
        softsign=lambda x: x / (1 + x * x / 3),
    ),
    case("relu_small", F.relu, lambda x: x.clamp(min=0), BOTH, tiny=True, at_6=F.relu6),
    case(
        "gelu_small",
        F.gelu,
        lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        BOTH,
        tiny=True,
        tanh=nn.GELU("tanh"),
        tanh_by_hand=gelu_tanh_by_hand,
    ),
    case("silu_small", F.silu, lambda x: x * torch.sigmoid(x), tiny=True, gelu=lambda x: x / 2 + x * x / 4),
    case(
        "sigmoid_small",
        torch.sigmoid,
        lambda x: 1 / (1 + torch.exp(-x)),
        BOTH,
        tiny=True,
        line=lambda x: (0.25 * x + 0.5).clamp(0, 1),
    ),
]
