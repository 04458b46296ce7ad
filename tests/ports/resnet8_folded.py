"""ResNet8 in module style with the BatchNorms folded into the convolutions; the shortcuts have none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._h5 import PathLike, Weights, conv_kernel, fold_batch_norm, frozen, read_weights, tensor


def _convolution(weights: Weights, conv: str, norm: str | None, stride: int = 1) -> nn.Conv2d:
    """A convolution without padding, sized and filled from a Keras layer and the BatchNorm after it."""
    kernel, bias = conv_kernel(weights[conv]["kernel"]), weights[conv]["bias"]
    channels_out, channels_in, size, _ = kernel.shape
    convolution = nn.Conv2d(channels_in, channels_out, size, stride)
    if norm is None:
        convolution.load_state_dict({"weight": tensor(kernel), "bias": tensor(bias)})
    else:
        weight, shift = fold_batch_norm(kernel, bias, weights[norm])
        convolution.load_state_dict({"weight": weight, "bias": shift})
    return convolution


class Stage(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: the identity, or a 1x1 convolution at stride 2."""

    def __init__(
        self, weights: Weights, first: tuple[str, str], second: tuple[str, str], shortcut: str | None = None
    ) -> None:
        super().__init__()
        stride = 2 if shortcut else 1
        self.pad_before = nn.ZeroPad2d((0, 1, 0, 1) if shortcut else 1)
        self.before = _convolution(weights, *first, stride)
        self.pad_after = nn.ZeroPad2d(1)
        self.after = _convolution(weights, *second)
        self.shortcut = _convolution(weights, shortcut, None, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.before(self.pad_before(x)))
        return torch.relu(torch.add(self.shortcut(x), self.after(self.pad_after(y))))


class FoldedResNet8(nn.Module):
    """Takes (batch, 3, 32, 32) raw pixels and returns the probabilities of 10 classes."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(1)
        self.entry = _convolution(weights, "conv2d", "batch_normalization")
        self.stage1 = Stage(weights, ("conv2d_1", "batch_normalization_1"), ("conv2d_2", "batch_normalization_2"))
        self.stage2 = Stage(
            weights, ("conv2d_3", "batch_normalization_3"), ("conv2d_4", "batch_normalization_4"), "conv2d_5"
        )
        self.stage3 = Stage(
            weights, ("conv2d_6", "batch_normalization_5"), ("conv2d_7", "batch_normalization_6"), "conv2d_8"
        )
        dense = weights["dense"]
        self.scores = nn.Linear(*dense["kernel"].shape)
        self.scores.load_state_dict({"weight": tensor(dense["kernel"].T), "bias": tensor(dense["bias"])})

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.entry(self.pad(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        x = x.mean(dim=(2, 3), keepdim=True).flatten(1)
        return torch.softmax(self.scores(x), dim=1)


def build(keras_path: PathLike) -> nn.Module:
    """The folded net; the folding is computed in float64 and stored as float32."""
    return frozen(FoldedResNet8(read_weights(keras_path)))
