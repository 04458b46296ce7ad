"""Rows of a table through Dense layers: normalisations, activation functions, a join, two heads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights, load
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.layers import batch_norm, dense

MEAN, VARIANCE = (0.5, -1.0, 0.25, 0.0, 2.0, -0.5), (0.25, 4.0, 1.5, 0.5, 9.0, 2.0)


def tabular(k: Any) -> Any:
    def normal(x: Any, units: int, name: str, **config: Any) -> Any:
        x = k.layers.Dense(units, use_bias=config.get("center", True), name=name)(x)
        return k.layers.BatchNormalization(name=f"{name}_bn", **config)(x)

    x = inputs = k.Input((6,))
    x = k.layers.Normalization(mean=MEAN, variance=VARIANCE, name="prepare")(x)
    x = y = k.layers.LeakyReLU(negative_slope=0.2, name="leaky")(normal(x, 12, "d1"))
    x = k.layers.ELU(alpha=0.7, name="elu")(normal(x, 12, "d2", epsilon=1e-2))
    x = k.layers.Add(name="sum")([k.layers.Dropout(0.5, name="drop")(x), y])
    x = k.layers.Dense(12, activation="gelu", name="d3")(x)
    x = k.layers.Dense(12, activation="hard_sigmoid", name="d4")(normal(x, 12, "d5", center=False))
    y = k.layers.PReLU(name="prelu")(k.layers.Dense(6, name="d6")(x))
    x = k.layers.Concatenate(name="cat")([k.layers.Dense(6, activation="softsign", name="d7")(x), y])
    classes = k.layers.Dense(3, activation="softmax", name="classes")(x)
    return k.Model(inputs, [classes, k.layers.Dense(1, name="value")(x)])


class Tabular(Net):
    """Modules in order."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        for name in ("d1", "d2", "d3", "d4", "d5", "d6", "d7", "classes", "value"):
            setattr(self, name, dense(w[name]))
        self.d1_bn = batch_norm(w["d1_bn"], module=nn.BatchNorm1d)
        self.d2_bn = batch_norm(w["d2_bn"], 1e-2, nn.BatchNorm1d)
        gamma, *statistics = w["d5_bn"]
        zeros = torch.zeros_like(gamma)
        slots = [torch.ones_like(gamma), gamma] if self.has("shifted") else [gamma, zeros]
        self.d5_bn = batch_norm([*slots, *statistics], module=nn.BatchNorm1d)
        self.prelu, self.drop = nn.PReLU(6), nn.Dropout(0.5)
        load(self.prelu, weight=w["prelu"][0])

    def forward(self, x: Tensor) -> Any:
        net: Any = self
        x = y = self.first(net.d1(self.prepared(x)))
        x = net.d2_bn(net.d2(x))
        x = self.drop(F.elu(x, 1.0 if self.has("alpha") else 0.7))
        x = net.d3(x * y if self.has("product") else x + y)
        x = net.d5_bn(net.d5(F.relu(x) if self.has("relu") else F.gelu(x)))
        x = net.d4(x)
        x = torch.clamp(0.2 * x + 0.5, 0, 1) if self.has("keras_2") else F.hardsigmoid(x)
        x, y = F.softsign(net.d7(x)), self.prelu(net.d6(x))
        x = torch.cat([y, x] if self.has("other_order") else [x, y], 1)
        classes, value = net.classes(x), net.value(x)
        return classes.softmax(1), torch.tanh(value) if self.has("bounded") else value

    def prepared(self, x: Tensor) -> Tensor:
        mean, variance = torch.tensor(MEAN), torch.tensor(VARIANCE)
        return (x - mean) / (variance if self.has("variance") else variance.sqrt())

    def first(self, x: Tensor) -> Any:
        net: Any = self
        slope = 0.01 if self.has("slope") else 0.2
        return net.d1_bn(F.leaky_relu(x, slope)) if self.has("relu_first") else F.leaky_relu(net.d1_bn(x), slope)


class ByHand(nn.Module):
    """Formulas, and two Dense layers in one product."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        names = ("d1", "d1_bn", "d2", "d2_bn", "d3", "d4", "d5", "d5_bn", "d6", "d7", "prelu", "classes", "value")
        self.w = {name: w[name] for name in names}

    def product(self, x: Tensor, *names: str) -> Tensor:
        kernels = [self.w[name] for name in names]
        bias = torch.cat([own[1] for own in kernels]) if len(kernels[0]) > 1 else 0
        return x @ torch.cat([own[0] for own in kernels], 1) + bias

    def norm(self, x: Tensor, name: str, eps: float = 1e-3) -> Tensor:
        gamma, *beta, mean, variance = self.w[f"{name}_bn"]
        x = (self.product(x, name) - mean) * torch.rsqrt(variance + eps) * gamma
        return x + beta[0] if beta else x

    def forward(self, x: Tensor) -> Any:
        x = self.norm((x - torch.tensor(MEAN)) / torch.tensor(VARIANCE).sqrt(), "d1")
        x = y = torch.where(x > 0, x, 0.2 * x)
        x = self.norm(x, "d2", 1e-2)
        x = torch.where(x > 0, x, 0.7 * torch.expm1(x)) + y
        x = self.product(x, "d3")
        x = self.norm(x * 0.5 * (1 + torch.erf(x / 2**0.5)), "d5")
        x = torch.clamp(self.product(x, "d4") / 6 + 0.5, 0, 1)
        x, y = self.product(x, "d7", "d6").chunk(2, 1)
        x = torch.cat([x / (1 + x.abs()), y.clamp(min=0) + self.w["prelu"][0] * y.clamp(max=0)], 1)
        e = torch.exp(self.product(x, "classes"))
        return e / e.sum(1, keepdim=True), self.product(x, "value")


FAULTS = {
    "variance": Fault("prepare", "rescaling"),
    "eps": Fault("d1_bn", "eps", module=lambda net: setattr(net.d1_bn, "eps", 1e-5)),
    "eps_of_default": Fault("d2_bn", "eps", module=lambda net: setattr(net.d2_bn, "eps", 1e-3)),
    "deviation": Fault("d1_bn", "bn-slots-exchanged", made.changed("d1_bn", torch.sqrt, 3)),
    "statistics": Fault("d2_bn", "bn-stats-not-loaded", module=lambda net: net.d2_bn.reset_running_stats()),
    "norm_of_another": Fault("d2_bn", "weights-of-other-layer", made.taken(d2_bn="d1_bn")),
    "shifted": Fault("d5_bn", "bn-scale-center"),
    "relu_first": Fault("d1_bn leaky", "layer-order"),
    "slope": Fault("leaky", "activation-slope"),
    "alpha": Fault("elu", "activation-slope"),
    "product": Fault("sum", "merge-mode"),
    "relu": Fault("d3", "activation-kind"),
    "keras_2": Fault("d4", "activation-kind"),
    "not_transposed": Fault("d2", "dense-transposed", made.changed("d2", made.in_out)),
    "no_bias": Fault("d3", "bias-missing", made.changed("d3", torch.zeros_like, 1)),
    "fresh": Fault("d5", "weights-not-loaded", module=lambda net: net.d5.reset_parameters()),
    "swapped": Fault("d3 d4", "weights-swapped", made.exchanged("d3", "d4")),
    "one_element": Fault("d6", "weights-differ", made.changed("d6", made.one_element)),
    "other_order": Fault("cat", "concat-order"),
    "bounded": Fault("value", "extra-layer"),
}
PAIRS = {
    "eps_and_deviation": "",
    "eps_of_default_and_statistics": "",
    "slope_and_alpha": "",
    "no_bias_and_relu": "",
}
SUBJECT = Subject("faulty_tabular", tabular, Tabular, FAULTS, PAIRS, {"by_hand": Variant(ByHand)})
