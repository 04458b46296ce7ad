"""Streaming wake word net, modules kept in parallel ModuleLists and driven by a zip, dropouts kept."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ._h5 import (
    KERAS_EPSILON,
    PathLike,
    batch_norm_state,
    conv_kernel,
    depthwise_kernel,
    frozen,
    numbered,
    read_weights,
    tensor,
)

CHANNELS = (40, 128, 128, 128, 32)
TIME_STEPS = (3, 5, 10, 15)
CLASSES = 3


class WakeWord(nn.Module):
    """Takes (batch, 40 features, 30 time steps, 1): time is the height, the width is always 1."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(CHANNELS))
        self.over_time = nn.ModuleList(
            nn.Conv2d(channels, channels, (steps, 1), padding="valid", groups=channels, bias=False)
            for channels, steps in zip(CHANNELS[:-1], TIME_STEPS, strict=True)
        )
        self.over_channels = nn.ModuleList(
            nn.Conv2d(channels_in, channels_out, 1, bias=False) for channels_in, channels_out in pairs
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels_out, eps=KERAS_EPSILON) for _, channels_out in pairs)
        self.dropout = nn.Dropout(0.2)
        self.decide = nn.Linear(CHANNELS[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for over_time, over_channels, norm in zip(self.over_time, self.over_channels, self.norms, strict=True):
            x = self.dropout(norm(over_channels(over_time(x))).relu())
        return F.softmax(self.decide(x.reshape(x.shape[0], -1)), dim=1)


def build(keras_path: PathLike) -> nn.Module:
    """The net with the weights of the Keras file, assigned under the names of its state dict."""
    weights = read_weights(keras_path)
    model = WakeWord()
    state = {
        "decide.weight": tensor(weights["dense"]["kernel"].T),
        "decide.bias": tensor(weights["dense"]["bias"]),
    }
    for index in range(len(TIME_STEPS)):
        depthwise = weights[numbered("depthwise_conv2d", index)]["depthwise_kernel"]
        pointwise = weights[numbered("conv2d", index)]["kernel"]
        state[f"over_time.{index}.weight"] = tensor(depthwise_kernel(depthwise))
        state[f"over_channels.{index}.weight"] = tensor(conv_kernel(pointwise))
        norm = batch_norm_state(weights[numbered("batch_normalization", index)])
        state.update({f"norms.{index}.{name}": value for name, value in norm.items()})
    model.load_state_dict(state)
    return frozen(model)
