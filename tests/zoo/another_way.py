"""Right ports that compute some layers in another way, so that no value in between is what a layer gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Port, Weights, load, wrong
from tests.zoo.layers import conv2d, dense, layer_norm


class Function(nn.Module):
    """A port as one function of its input, with the layers' modules by name."""

    def __init__(self, layers: dict[str, nn.Module], forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        for name, module in layers.items():
            self.add_module(name, module)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def written(made: Callable[[list[Tensor]], nn.Module], names: str, forward: Callable[[Any, Tensor], Any]) -> Port:
    return lambda w: Function({name: made(w[name]) for name in names.split()}, forward)


def gate(k: Any) -> Any:
    """MobileNetV3's hard sigmoid, as layers."""
    x = inputs = k.Input((5,))
    x = k.layers.Rescaling(1.0, 3.0, name="plus")(k.layers.Dense(4, name="fc")(x))
    x = k.layers.Rescaling(1 / 6, name="sixth")(k.layers.ReLU(6.0, name="relu6")(x))
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def glu(k: Any) -> Any:
    x = k.Input((5,))
    both = [k.layers.Dense(4, name="value")(x), k.layers.Dense(4, activation="sigmoid", name="gate")(x)]
    return k.Model(x, k.layers.Dense(2, name="head")(k.layers.Multiply(name="product")(both)))


def merged_glu(w: Weights, order: tuple[str, str] = ("value", "gate")) -> nn.Module:
    kernels, biases = zip(*(w[name] for name in order), strict=True)
    both = nn.Linear(5, 8)
    load(both, weight=torch.cat(kernels, 1).T, bias=torch.cat(biases))
    return Function({"both": both, "head": dense(w["head"])}, lambda m, x: m.head(F.glu(m.both(x))))


def fire(k: Any) -> Any:
    """SqueezeNet's expansion."""
    x = inputs = k.Input((7, 6, 5))
    one = k.layers.Conv2D(3, 1, activation="relu", name="one")(x)
    three = k.layers.Conv2D(4, 3, padding="same", activation="relu", name="three")(x)
    x = k.layers.GlobalAveragePooling2D(name="mean")(k.layers.Concatenate(name="join")([one, three]))
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def fire_port(activation: Any, padding: int = 1) -> Port:
    def build(w: Weights) -> nn.Module:
        layers = {"one": conv2d(w["one"]), "three": conv2d(w["three"], padding=padding), "head": dense(w["head"])}
        size = (slice(None), slice(None), slice(0, 7), slice(0, 6))
        return Function(
            layers,
            lambda m, x: (
                m.head(activation(torch.cat([m.one(x), m.three(x)[size]], 1)).mean((2, 3)))
                if padding == 1
                else m.head(activation(torch.cat([m.one(x), F.pad(m.three(x), (0, 2, 0, 2))], 1)).mean((2, 3)))
            ),
        )

    return build


def highway(k: Any) -> Any:
    x = inputs = k.Input((5,))
    h = k.layers.Dense(5, activation="tanh", name="h")(x)
    t = k.layers.Dense(5, activation="sigmoid", name="t")(x)
    carried = k.layers.Multiply(name="carried")([x, k.layers.Rescaling(-1.0, 1.0, name="rest")(t)])
    x = k.layers.Add(name="sum")([k.layers.Multiply(name="gated")([h, t]), carried])
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def highway_port(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Port:
    return written(dense, "h t head", lambda m, x: m.head(function(x, torch.tanh(m.h(x)), torch.sigmoid(m.t(x)))))


def mixer(k: Any) -> Any:
    """Patches of an image, mixed beside themselves."""
    inputs = k.Input((6, 4, 3))
    x = k.layers.Conv2D(5, 2, strides=2, name="patches")(inputs)
    x = k.layers.Reshape((6, 5), name="tokens")(x)
    y = k.layers.Dense(5, activation="gelu", name="mix")(k.layers.LayerNormalization(epsilon=1e-6, name="norm")(x))
    x = k.layers.GlobalAveragePooling1D(name="mean")(k.layers.Add(name="add")([x, y]))
    return k.Model(inputs, k.layers.Dense(2, name="head")(x))


def mixer_port(w: Weights, order: tuple[int, ...] = (0, 2, 4, 3, 5, 1)) -> nn.Module:
    kernel, bias = w["patches"]
    patches = nn.Linear(12, 5)
    load(patches, weight=kernel.reshape(12, 5).T, bias=bias)
    layers = {"patches": patches, "norm": layer_norm(w["norm"], 1e-6), "mix": dense(w["mix"]), "head": dense(w["head"])}

    def forward(m: Any, x: Tensor) -> Any:
        x = x.reshape(len(x), 3, 3, 2, 2, 2).permute(order).reshape(len(x), 6, 12)
        x = m.patches(x)
        return m.head((x + F.gelu(m.mix(m.norm(x)))).mean(1))

    return Function(layers, forward)


CASES = [
    Case(
        "another_gate",
        gate,
        written(dense, "fc head", lambda m, x: m.head(F.hardsigmoid(m.fc(x)))),
        declared=frozenset({"plus", "relu6", "sixth"}),
    ),
    Case("another_glu", glu, merged_glu, declared=frozenset({"value", "gate", "product"})),
    Case("another_fire", fire, fire_port(F.relu), declared=frozenset({"one", "three"})),
    Case(
        "another_highway",
        highway,
        highway_port(lambda x, h, t: x + t * (h - x)),
        {"sign": wrong(highway_port(lambda x, h, t: h * t + x * (t - 1)), "rest")},
        declared=frozenset({"carried", "gated", "rest"}),
    ),
    Case("another_mixer", mixer, mixer_port, declared=frozenset({"patches", "tokens"})),
]
