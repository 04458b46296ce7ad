"""MobileNetV1 0.25 with every BatchNorm folded into its convolution, functional, rectified in place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ._h5 import (
    PathLike,
    Weights,
    conv_kernel,
    depthwise_kernel,
    fold_batch_norm,
    frozen,
    numbered,
    read_weights,
    tensor,
)

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class FoldedPersonDetector(nn.Module):
    """Takes (batch, 3, 96, 96); two lists of tensors and a loop, no layer objects at all."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.kernels = nn.ParameterList()
        self.biases = nn.ParameterList()
        stem = weights["conv2d"]
        self._add(*fold_batch_norm(conv_kernel(stem["kernel"]), stem["bias"], weights["batch_normalization"]))
        for index in range(len(STRIDES)):
            depthwise = weights[numbered("depthwise_conv2d", index)]
            norm = weights[numbered("batch_normalization", 2 * index + 1)]
            kernel = depthwise_kernel(depthwise["depthwise_kernel"])
            self._add(*fold_batch_norm(kernel, depthwise["bias"], norm))
            pointwise = weights[numbered("conv2d", index + 1)]
            norm = weights[numbered("batch_normalization", 2 * index + 2)]
            self._add(*fold_batch_norm(conv_kernel(pointwise["kernel"]), pointwise["bias"], norm))
        self._add(tensor(weights["dense"]["kernel"].T), tensor(weights["dense"]["bias"]))

    def _add(self, kernel: Tensor, bias: Tensor) -> None:
        self.kernels.append(nn.Parameter(kernel))
        self.biases.append(nn.Parameter(bias))

    def forward(self, x: Tensor) -> Tensor:
        layers = iter(zip(self.kernels, self.biases, strict=True))
        kernel, bias = next(layers)
        x = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, bias, stride=2)
        F.relu_(x)
        for stride in STRIDES:
            kernel, bias = next(layers)
            if stride == 2:
                x = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, bias, stride=2, groups=x.shape[1])
            else:
                x = F.conv2d(x, kernel, bias, padding=1, groups=x.shape[1])
            F.relu_(x)
            kernel, bias = next(layers)
            x = F.conv2d(x, kernel, bias)
            F.relu_(x)
        x = F.avg_pool2d(x, 3).flatten(1)
        kernel, bias = next(layers)
        return F.softmax(F.linear(x, kernel, bias), dim=-1)


def build(keras_path: PathLike) -> nn.Module:
    """The folded detector; the folding is computed in float64 and stored as float32."""
    return frozen(FoldedPersonDetector(read_weights(keras_path)))
