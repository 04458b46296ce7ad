"""ResNet8 without a single layer module: ParameterDict, buffers, functional calls, relu_ and += in place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ._h5 import KERAS_EPSILON, PathLike, Weights, conv_kernel, frozen, numbered, read_weights, tensor

CONVOLUTIONS = 9
NORMALISATIONS = 7


class FunctionalResNet8(nn.Module):
    """Takes (batch, 3, 32, 32) raw pixels and returns the probabilities of 10 classes."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        parameters: dict[str, Tensor] = {}
        for index in range(CONVOLUTIONS):
            conv = weights[numbered("conv2d", index)]
            parameters[f"w{index}"] = tensor(conv_kernel(conv["kernel"]))
            parameters[f"b{index}"] = tensor(conv["bias"])
        for index in range(NORMALISATIONS):
            norm = weights[numbered("batch_normalization", index)]
            parameters[f"gamma{index}"] = tensor(norm["gamma"])
            parameters[f"beta{index}"] = tensor(norm["beta"])
            self.register_buffer(f"mean{index}", tensor(norm["moving_mean"]))
            self.register_buffer(f"var{index}", tensor(norm["moving_variance"]))
        parameters["fc_w"] = tensor(weights["dense"]["kernel"].T)
        parameters["fc_b"] = tensor(weights["dense"]["bias"])
        self.p = nn.ParameterDict({name: nn.Parameter(value) for name, value in parameters.items()})

    def _conv(self, x: Tensor, index: int, stride: int = 1) -> Tensor:
        weight, bias = self.p[f"w{index}"], self.p[f"b{index}"]
        if weight.shape[-1] == 3:
            x = F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        return F.conv2d(x, weight, bias, stride)

    def _norm(self, x: Tensor, index: int) -> Tensor:
        mean, var = self.get_buffer(f"mean{index}"), self.get_buffer(f"var{index}")
        gamma, beta = self.p[f"gamma{index}"], self.p[f"beta{index}"]
        return F.batch_norm(x, mean, var, gamma, beta, training=False, eps=KERAS_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = self._norm(self._conv(x, 0), 0).relu_()

        y = self._norm(self._conv(x, 1), 1).relu_()
        y = self._norm(self._conv(y, 2), 2)
        y += x
        x = y.relu_()

        y = self._norm(self._conv(x, 3, stride=2), 3).relu_()
        y = self._norm(self._conv(y, 4), 4)
        y += self._conv(x, 5, stride=2)
        x = y.relu_()

        y = self._norm(self._conv(x, 6, stride=2), 5).relu_()
        y = self._norm(self._conv(y, 7), 6)
        y += self._conv(x, 8, stride=2)
        x = y.relu_()

        x = F.avg_pool2d(x, 8).flatten(1)
        return F.softmax(F.linear(x, self.p["fc_w"], self.p["fc_b"]), dim=1)


def build(keras_path: PathLike) -> nn.Module:
    """The net with the weights of the Keras file."""
    return frozen(FunctionalResNet8(read_weights(keras_path)))
