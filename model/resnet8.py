"""ResNet8 of the MLCommons Tiny image classification benchmark, written by hand in PyTorch.

The port follows the Keras model layer by layer; `model.convert` holds the map between the names of the two.

Source of the architecture: ``resnet_v1_eembc`` in ``benchmark/training/image_classification/keras_model.py``
of https://github.com/mlcommons/tiny, and the ``model_config`` attribute of its ``pretrainedResnet.h5``.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEFAULT_WEIGHTS = Path(__file__).with_name("resnet8.h5")

# Keras's defaults. That of torch's eps is 1e-5: a difference that outputs may hide and no weight shows.
# torch's momentum is the share of the new batch, Keras's (0.99) that of the old; inference uses neither.
BN_EPS = 1e-3
BN_MOMENTUM = 1 - 0.99


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns how many zeros Keras's ``padding='same'`` puts before and after one axis.

    The output has ``ceil(size / stride)`` elements, and an odd zero goes *after*: a 3-wide kernel at stride 2
    pads an even axis by (0, 1), which torch's ``padding=1``, that is (1, 1), does not reproduce.

    Source: "Notes on padding" of https://www.tensorflow.org/api_docs/python/tf/nn.

    Args:
        size: Elements of the axis.
        kernel: Width of the kernel along it.
        stride: Stride along it.

    Returns:
        Zeros before and after.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Returns a batch normalisation over `channels` channels with Keras's constants."""
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class SameConv2d(nn.Conv2d):
    """A convolution that pads as Keras's 'same' does, at any stride and input size.

    torch's own ``padding="same"`` refuses strides other than 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (N, in, H, W) to (N, out, ceil(H / stride), ceil(W / stride))."""
        rows = same_padding(input.shape[2], self.kernel_size[0], self.stride[0])
        columns = same_padding(input.shape[3], self.kernel_size[1], self.stride[1])
        return super().forward(F.pad(input, (*columns, *rows)))  # F.pad begins with the last axis


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the sum is rectified.

    The shortcut is the input itself or, where the block halves the resolution, a 1×1 convolution of stride 2.
    Unlike in the paper's ResNet, no batch normalisation follows that convolution, and all have a bias.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Builds the block, untrained.

        Args:
            inputs: Channels of the input.
            outputs: Channels of the output; equal to `inputs` at stride 1.
            stride: Stride, in pixels, of the first convolution and of the shortcut.
        """
        super().__init__()
        self.conv1 = SameConv2d(inputs, outputs, kernel_size=3, stride=stride)
        self.bn1 = batch_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1)  # at stride 1, 'same' is symmetric
        self.bn2 = batch_norm(outputs)
        # A 1×1 kernel needs no padding at any stride: both frameworks read the pixels 0, 2, 4, …
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(self.shortcut(x) + y)


class ResNet8(nn.Module):
    """ResNet8 with untrained weights; `build` returns it with those of a Keras file."""

    def __init__(self, classes: int = 10) -> None:
        """Builds the model, untrained, with an output of `classes` probabilities."""
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.conv = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.stem.bn = batch_norm(16)
        self.b1 = ResidualBlock(16, 16, stride=1)
        self.b2 = ResidualBlock(16, 32, stride=2)
        self.b3 = ResidualBlock(32, 64, stride=2)
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classifies images.

        Args:
            x: (N, 3, 32, 32), the raw pixel values 0..255 in RGB order. The model was trained on them
                unscaled; divided by 255 they are classified at chance.

        Returns:
            (N, classes), probabilities: the softmax is part of the Keras model, so it is part of the port.
        """
        x = F.relu(self.stem(x))
        x = self.b3(self.b2(self.b1(x)))
        x = F.avg_pool2d(x, kernel_size=8)
        # Keras flattens (H, W, C), torch (C, H, W). The pooled map is 1×1, so here the two orders are one.
        x = torch.flatten(x, 1)
        return torch.softmax(self.fc(x), dim=1)


def build(keras_path: str | os.PathLike[str] | None = None) -> nn.Module:
    """Returns the port with the weights of a Keras file, ready for inference.

    Args:
        keras_path: A ResNet8 that Keras saved as ``.h5``; by default ``resnet8.h5`` beside this file.

    Returns:
        A float32 `ResNet8` on the CPU, in eval mode, with no parameter that requires a gradient.

    Raises:
        model.convert.ConversionError: If the file's weights are not exactly those the port needs.
    """
    from model.convert import convert  # here, because model.convert imports this module

    model = ResNet8()
    model.load_state_dict(convert(DEFAULT_WEIGHTS if keras_path is None else keras_path, model).state)
    return model.requires_grad_(False).eval()
