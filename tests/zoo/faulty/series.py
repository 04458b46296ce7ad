"""A series through causal convolutions and GRUs of both kinds, with a forecast, an alarm and a residual connection."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Weights, load
from tests.zoo.faulty import fault as made
from tests.zoo.faulty.fault import Fault, Net, Subject, Variant
from tests.zoo.gates import R_Z_N, rnn
from tests.zoo.layers import batch_norm, dense, layer_norm


def series(k: Any) -> Any:
    x = inputs = k.Input((10, 10))
    x = k.layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="tanh", name="conv")(x)
    x = k.layers.BatchNormalization(name="bn")(x)
    x = k.layers.GRU(8, return_sequences=True, name="new")(x)
    x = y = k.layers.LayerNormalization(name="ln")(x)
    y = k.layers.GRU(8, return_sequences=True, reset_after=False, name="old")(y)
    x = k.layers.Add(name="res")([x, y])
    s = k.layers.GRU(6, go_backwards=True, name="back")(x)
    f = k.layers.Dense(3, name="forecast")(x)
    return k.Model(inputs, [f, k.layers.Dense(3, activation="sigmoid", name="alarm")(s)], name="series")


class Old(Net):
    """A GRU with reset_after=False, gates in Keras's order."""

    def __init__(self, weights: list[Tensor], faults: Collection[str]) -> None:
        super().__init__(faults)
        self.kernel, self.recurrent, self.bias = (nn.Parameter(t) for t in weights)

    def forward(self, x: Tensor) -> Any:
        gate = F.hardsigmoid if self.has("hard_sigmoid") else torch.sigmoid
        function = torch.relu if self.has("relu") else torch.tanh
        projected, (to_z, to_r, to_h) = x @ self.kernel + self.bias, self.recurrent.chunk(3, 1)
        h = x.new_zeros(len(x), len(self.recurrent))
        out = []
        for t in range(x.shape[1]):
            z, r, n = projected[:, t].chunk(3, 1)
            z, r = (gate(z + h @ to_z), gate(r + h @ to_r))
            n = function(n + (r * (h @ to_h) if self.has("reset_after") else (r * h) @ to_h))
            h = z * h + (1 - z) * n
            out.append(h)
        return torch.stack(out, 1)


class Series(Net):
    """Modules, and one cell by hand."""

    def __init__(self, w: Weights, faults: Collection[str] = ()) -> None:
        super().__init__(faults)
        kernel, bias = w["conv"]
        self.conv, self.bn = nn.Conv1d(10, 8, 3, dilation=2), batch_norm(w["bn"], module=nn.BatchNorm1d)
        load(self.conv, weight=kernel.permute(2, 1, 0), bias=bias)
        self.new, self.back = (rnn(nn.GRU, w[name], order=R_Z_N) for name in ("new", "back"))
        self.ln, self.old = layer_norm(w["ln"]), Old(w["old"], faults)
        self.forecast, self.alarm = dense(w["forecast"]), dense(w["alarm"])

    def forward(self, x: Tensor) -> Any:
        x = x / 255 if self.has("to_1") else x.flip(1) if self.has("reversed") else x
        before = 2 if self.has("dilation") or self.has("symmetric") else 4
        x = self.conv(F.pad(x.transpose(1, 2), (before, 2 if self.has("symmetric") else 0)))
        x = self.bn(x if self.has("no_tanh") else torch.tanh(x)).transpose(1, 2)
        x = self.ln(self.new(x)[0])
        y = self.old(x)
        x = x * y if self.has("product") else y if self.has("no_residual") else x + y
        out, (state,) = self.back(x if self.has("not_reversed") else x.flip(1))
        state = out[:, 0] if self.has("first_step") else out.mean(1) if self.has("mean") else state
        return self.forecast(x), torch.sigmoid(self.alarm(state))


class Cells(Series):
    """Causal by a cut, cells for the modules, the last one counting down."""

    def forward(self, x: Tensor) -> Any:
        x = F.conv1d(x.mT, self.conv.weight, self.conv.bias, padding=4, dilation=2)[:, :, :-4]
        x = self.bn(x.tanh()).mT
        x = F.layer_norm(self.run(self.new, x, range(10)), (8,), self.ln.weight, self.ln.bias, 1e-3)
        x = torch.add(x, self.old(x))
        state = self.run(self.back, x, range(9, -1, -1))[:, -1]
        return x @ self.forecast.weight.T + self.forecast.bias, 1 / (1 + torch.exp(-self.alarm(state)))

    def run(self, module: nn.RNNBase, x: Tensor, steps: range) -> Tensor:
        own = list(module.parameters())
        h = x.new_zeros(len(x), module.hidden_size)
        out = [h := torch.gru_cell(x[:, t], h, *own) for t in steps]
        return torch.stack(out, 1)


def module_for_old(net: Any) -> None:
    """nn.GRU, which resets after the product."""
    weights = [net.old.kernel, net.old.recurrent, torch.stack([net.old.bias, torch.zeros_like(net.old.bias)])]
    module = rnn(nn.GRU, weights, order=R_Z_N)

    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = module

        def forward(self, x: Tensor) -> Any:
            return self.gru(x)[0]

    net.old = Outputs()


FAULTS = {
    "to_1": Fault("conv", "input-scale"),
    "reversed": Fault("conv", "extra-layer"),
    "symmetric": Fault("conv", "causal-padding"),
    "dilation": Fault("conv", "dilation", module=lambda net: setattr(net.conv, "dilation", (1,))),
    "no_tanh": Fault("conv", "missing-layer"),
    "eps": Fault("ln", "eps", module=lambda net: setattr(net.ln, "eps", 1e-5)),
    "gamma_beta": Fault("ln", "bn-slots-exchanged", made.ordered("ln", 1, 0)),
    "back_gates": Fault("back", "gru-gate-order", made.reordered("back", 2, 1, 0)),
    "batch_second": Fault("new", "permute", module=lambda net: setattr(net.new, "batch_first", False)),
    "old_gates": Fault("old", "gru-gate-order", made.reordered("old", 1, 0, 2)),
    "hard_sigmoid": Fault("old", "recurrent-activation"),
    "relu": Fault("old", "activation-kind"),
    "reset_after": Fault("old", "gru-reset-after"),
    "module": Fault("old", "gru-reset-after", module=module_for_old),
    "product": Fault("res", "merge-mode"),
    "no_residual": Fault("res", "missing-layer"),
    "not_reversed": Fault("back", "rnn-direction"),
    "first_step": Fault("back", "rnn-return"),
    "mean": Fault("back", "rnn-return"),
}
PAIRS = {
    "back_gates_and_not_reversed": "",
    "hard_sigmoid_and_old_gates": "?recurrent-activation",
    "eps_and_module": "",
}
SUBJECT = Subject("faulty_series", series, Series, FAULTS, PAIRS, {"cells": Variant(Cells)}, ".keras")
