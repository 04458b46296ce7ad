"""MobileNetV1 0.25 in module style: a depthwise-separable block class, explicit padding, names of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._h5 import (
    KERAS_EPSILON,
    Array,
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

STEM_CHANNELS = 8
# Output channels and stride of every separable block.
BLOCKS = (
    (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2),
    (128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1),
)  # fmt: skip


def pad_like_keras(x: Tensor, stride: int) -> Tensor:
    """Keras's "same" for a 3x3 kernel: one pixel all around; at stride 2 on even sizes only at the end."""
    return F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


class SeparableBlock(nn.Module):
    """A 3x3 convolution per channel, then a 1x1 convolution across them, each normalised and rectified."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.spatial = nn.Conv2d(channels_in, channels_in, 3, stride, groups=channels_in)
        self.spatial_norm = nn.BatchNorm2d(channels_in, eps=KERAS_EPSILON)
        self.mix = nn.Conv2d(channels_in, channels_out, 1)
        self.mix_norm = nn.BatchNorm2d(channels_out, eps=KERAS_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.spatial_norm(self.spatial(pad_like_keras(x, self.stride))))
        return F.relu(self.mix_norm(self.mix(x)))


class PersonDetector(nn.Module):
    """Takes (batch, 3, 96, 96) and returns the probabilities of "no person" and "person"."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2)
        self.stem_norm = nn.BatchNorm2d(STEM_CHANNELS, eps=KERAS_EPSILON)
        self.blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for channels_out, stride in BLOCKS:
            self.blocks.append(SeparableBlock(channels, channels_out, stride))
            channels = channels_out
        self.pool = nn.AvgPool2d(3)
        self.head = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(pad_like_keras(x, stride=2))))
        for block in self.blocks:
            x = block(x)
        x = torch.flatten(self.pool(x), 1)
        return torch.softmax(self.head(x), dim=1)


def _conv_state(kernel: Array, bias: Array) -> Mapping[str, Tensor]:
    return {"weight": tensor(kernel), "bias": tensor(bias)}


def _state_dict(weights: Weights) -> dict[str, Tensor]:
    modules = {
        "stem": _conv_state(conv_kernel(weights["conv2d"]["kernel"]), weights["conv2d"]["bias"]),
        "stem_norm": batch_norm_state(weights["batch_normalization"]),
        "head": _conv_state(weights["dense"]["kernel"].T, weights["dense"]["bias"]),
    }
    for index in range(len(BLOCKS)):
        block = f"blocks.{index}"
        spatial = weights[numbered("depthwise_conv2d", index)]
        mix = weights[numbered("conv2d", index + 1)]
        spatial_norm, mix_norm = (weights[numbered("batch_normalization", 2 * index + n)] for n in (1, 2))
        modules |= {
            f"{block}.spatial": _conv_state(depthwise_kernel(spatial["depthwise_kernel"]), spatial["bias"]),
            f"{block}.spatial_norm": batch_norm_state(spatial_norm),
            f"{block}.mix": _conv_state(conv_kernel(mix["kernel"]), mix["bias"]),
            f"{block}.mix_norm": batch_norm_state(mix_norm),
        }
    return {f"{module}.{name}": value for module, state in modules.items() for name, value in state.items()}


def build(keras_path: PathLike) -> nn.Module:
    """The detector with the weights of the Keras file."""
    model = PersonDetector()
    model.load_state_dict(_state_dict(read_weights(keras_path)))
    return frozen(model)
