"""BatchNormalization folded into the layer before it, or the one after it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, Weights, wrong


def after(k: Any) -> Any:
    x = inputs = k.Input((9, 8, 3))
    x = k.layers.Conv2D(4, 3, 2, name="conv")(x)
    x = k.layers.ReLU(name="relu1")(k.layers.BatchNormalization(name="bn1")(x))
    x = k.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="dw")(x)
    x = k.layers.ReLU(name="relu2")(k.layers.BatchNormalization(name="bn2")(x))
    x = k.layers.Conv2DTranspose(3, 2, 2, name="up")(x)
    x = k.layers.Activation("tanh", name="tanh")(k.layers.BatchNormalization(name="bn3")(x))
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    x = k.layers.Dense(6, use_bias=False, name="fc")(x)
    x = k.layers.ReLU(name="relu3")(k.layers.BatchNormalization(scale=False, name="bn4")(x))
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


def factors(norm: list[Tensor], eps: float = 1e-3) -> tuple[Tensor, Tensor]:
    """A BatchNormalization as a product and a sum."""
    gamma, beta, mean, variance = norm if len(norm) == 4 else (torch.ones_like(norm[0]), *norm)
    scale = gamma / torch.sqrt(variance + eps)
    return scale, beta - mean * scale


class After(nn.Module):
    """Kernels (…, out) times the factor of the normalisation behind them."""

    def __init__(self, w: Weights, eps: dict[str, float] | None = None, shift: bool = True) -> None:
        super().__init__()
        norms = {name: factors(w[name], (eps or {}).get(name, 1e-3)) for name in ("bn1", "bn2", "bn3", "bn4")}
        parameters = {}
        for layer, name in (("conv", "bn1"), ("dw", "bn2"), ("up", "bn3"), ("fc", "bn4")):
            kernel, *bias = w[layer]
            scale, offset = norms[name]
            if layer == "dw":
                kernel = (kernel.flatten(2) * scale).unsqueeze(2)
            else:
                kernel = kernel * (scale[:, None] if layer == "up" else scale)
            parameters[f"{layer}_kernel"] = nn.Parameter(kernel)
            parameters[f"{layer}_bias"] = nn.Parameter(bias[0] * scale + offset if bias and shift else offset)
        parameters["head_kernel"], parameters["head_bias"] = map(nn.Parameter, w["head"])
        self.w = nn.ParameterDict(parameters)

    def forward(self, x: Tensor) -> Any:
        w = self.w
        x = F.relu(F.conv2d(x, w["conv_kernel"].permute(3, 2, 0, 1), w["conv_bias"], stride=2))
        x = F.relu(F.conv2d(x, w["dw_kernel"].permute(3, 2, 0, 1), w["dw_bias"], padding=1, groups=4))
        x = torch.tanh(F.conv_transpose2d(x, w["up_kernel"].permute(3, 2, 0, 1), w["up_bias"], stride=2))
        x = F.relu(F.linear(x.mean((2, 3)), w["fc_kernel"].T, w["fc_bias"]))
        return F.linear(x, w["head_kernel"].T, w["head_bias"])


def before(k: Any) -> Any:
    x = inputs = k.Input((9, 8, 3))
    x = k.layers.BatchNormalization(name="bn1")(x)
    x = k.layers.Conv2D(4, 3, 2, activation="relu", name="conv")(x)
    x = k.layers.BatchNormalization(name="bn2")(x)
    x = k.layers.GlobalAveragePooling2D(name="gap")(x)
    x = k.layers.BatchNormalization(name="bn3")(x)
    return k.Model(inputs, k.layers.Dense(3, name="head")(x))


class Before(nn.Module):
    """The first and the last normalisation are part of the kernels that follow them."""

    def __init__(self, w: Weights, eps: float = 1e-3, offset: bool = True) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 3)
        self.bn = nn.BatchNorm2d(4, 1e-3)
        with torch.no_grad():
            for module, name, norm in ((self.conv, "conv", "bn1"), (self.fc, "head", "bn3")):
                scale, shift = factors(w[norm], eps)
                kernel, bias = w[name]
                moved = kernel * scale[:, None]
                constant = (kernel * shift[:, None]).flatten(0, -2).sum(0) if offset or norm == "bn1" else 0
                module.weight.copy_(moved.permute(3, 2, 0, 1) if moved.ndim == 4 else moved.T)
                assert module.bias is not None
                module.bias.copy_(bias + constant)
            for own, tensor in zip(
                (self.bn.weight, self.bn.bias, self.bn.running_mean, self.bn.running_var), w["bn2"], strict=True
            ):
                assert own is not None
                own.copy_(tensor)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.bn(F.relu(self.conv(x))).mean((2, 3)))


CASES = [
    Case(
        "fold_after",
        after,
        After,
        {
            "eps": wrong(lambda w: After(w, {"bn1": 1e-5}), "bn1"),
            "eps_of_depthwise": wrong(lambda w: After(w, {"bn2": 1e-5}), "bn2"),
            "eps_of_transposed": wrong(lambda w: After(w, {"bn3": 1e-5}), "bn3"),
            "eps_of_dense": wrong(lambda w: After(w, {"bn4": 1e-5}), "bn4"),
            "bias_lost": wrong(lambda w: After(w, shift=False), "bn1 bn3"),
        },
        declared=frozenset({"conv", "dw", "up", "fc"}),
    ),
    Case(
        "fold_before",
        before,
        Before,
        {
            "eps": wrong(lambda w: Before(w, 1e-2), "conv head"),
            "offset": wrong(lambda w: Before(w, offset=False), "head"),
        },
        declared=frozenset({"bn1", "bn3"}),
    ),
]
