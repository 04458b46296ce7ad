"""MobileNetV1 0.25 that takes Keras's NHWC input and permutes inside, channels_last, nested Sequentials."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ._h5 import (
    KERAS_EPSILON,
    PathLike,
    Weights,
    batch_norm_state,
    conv_kernel,
    depthwise_kernel,
    frozen,
    numbered,
    read_weights,
    tensor,
)

BLOCK_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def _unit(weights: Weights, conv: str, norm: str, stride: int = 1) -> nn.Sequential:
    """One convolution with its normalisation and rectifier, sized and filled from the Keras weights."""
    layer = weights[conv]
    is_depthwise = "depthwise_kernel" in layer
    kernel = depthwise_kernel(layer["depthwise_kernel"]) if is_depthwise else conv_kernel(layer["kernel"])
    channels_out, group_size, size, _ = kernel.shape
    groups = channels_out if is_depthwise else 1
    convolution = nn.Conv2d(group_size * groups, channels_out, size, stride, groups=groups)
    convolution.load_state_dict({"weight": tensor(kernel), "bias": tensor(layer["bias"])})
    normalisation = nn.BatchNorm2d(channels_out, eps=KERAS_EPSILON)
    normalisation.load_state_dict(batch_norm_state(weights[norm]))
    unit = nn.Sequential()
    if size == 3:
        unit.append(nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1))
    return unit.extend([convolution, normalisation, nn.ReLU(inplace=True)])


class ChannelsLastPersonDetector(nn.Module):
    """Takes (batch, 96, 96, 3), laid out as Keras lays it out, and computes in channels_last memory."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        units: OrderedDict[str, nn.Module] = OrderedDict(
            entry=_unit(weights, "conv2d", "batch_normalization", stride=2)
        )
        for index, stride in enumerate(BLOCK_STRIDES):
            depthwise, pointwise = numbered("depthwise_conv2d", index), numbered("conv2d", index + 1)
            first, second = (numbered("batch_normalization", 2 * index + n) for n in (1, 2))
            units[f"dw{index:02}"] = _unit(weights, depthwise, first, stride)
            units[f"pw{index:02}"] = _unit(weights, pointwise, second)
        self.features = nn.Sequential(units)
        self.gap = nn.AdaptiveAvgPool2d(1)
        dense = weights["dense"]
        self.classifier = nn.Linear(*dense["kernel"].shape)
        self.classifier.load_state_dict({"weight": tensor(dense["kernel"].T), "bias": tensor(dense["bias"])})

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x = self.gap(self.features(x)).flatten(start_dim=1)
        logits: Tensor = self.classifier(x)
        return logits.softmax(dim=1)


def build(keras_path: PathLike) -> nn.Module:
    """The detector with the weights of the Keras file, its kernels in channels_last memory."""
    model = ChannelsLastPersonDetector(read_weights(keras_path))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return frozen(model)
