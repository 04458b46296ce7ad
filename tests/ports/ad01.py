"""Autoencoder for anomaly detection, as one flat nn.Sequential filled by position."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ._h5 import KERAS_EPSILON, PathLike, batch_norm_state, frozen, numbered, read_weights, tensor

WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)


def build(keras_path: PathLike) -> nn.Module:
    """Takes (batch, 640) log-mel frames and returns their reconstruction."""
    weights = read_weights(keras_path)
    layers: list[nn.Module] = []
    last = len(WIDTHS) - 2
    for index, (width_in, width_out) in enumerate(pairwise(WIDTHS)):
        dense = weights[numbered("dense", index)]
        linear = nn.Linear(width_in, width_out)
        linear.load_state_dict({"weight": tensor(dense["kernel"].T), "bias": tensor(dense["bias"])})
        layers.append(linear)
        if index != last:
            norm = nn.BatchNorm1d(width_out, eps=KERAS_EPSILON)
            norm.load_state_dict(batch_norm_state(weights[numbered("batch_normalization", index)]))
            layers += [norm, nn.ReLU()]
    return frozen(nn.Sequential(*layers))
